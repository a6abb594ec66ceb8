"""service.database.purger: when it purges."""

from typing import TYPE_CHECKING, cast

from service.database.observer import Observer
from service.database.purger import Purger

if TYPE_CHECKING:
    from service.database.pools import Pool


def test_instances_purge_at_different_moments_and_at_least_once_an_interval() -> None:
    """So that they seldom meet, and no key outlives its time by more than the interval."""
    purger = Purger(cast("Pool", None), Observer(), interval=60.0)
    for pauses in ([purger.pause() for _ in range(50)], [purger.first_pause() for _ in range(50)]):
        assert 0 < min(pauses) < max(pauses) <= 60
        assert len(set(pauses)) > 25
