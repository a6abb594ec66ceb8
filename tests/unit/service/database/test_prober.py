"""service.database.prober: how long a turn may take."""

import pytest

from service.database.observer import Observer, Role
from service.database.options import DatabaseOptions, EndpointOptions
from service.database.pools import Pool
from service.database.prober import SLACK, Prober

PATIENCE = 3.0  # seconds


@pytest.mark.parametrize(("floor", "exchanges"), [(0, 1), (4, 5)])
def test_a_turn_has_time_for_all_of_its_work(floor: int, exchanges: int) -> None:
    """Each may take as long as a probe is waited for: the probe, and the sessions of the floor."""
    endpoint = EndpointOptions(host="127.0.0.1", port=1, pool_min=floor)
    options = DatabaseOptions(write=endpoint, read=endpoint, name="holdfast", user="app")
    pool = Pool(Role.READ, endpoint, options, Observer())
    prober = Prober(pool, Observer(), interval=1.0, patience=PATIENCE)
    assert prober._bound == SLACK * exchanges * PATIENCE
    assert prober.name == "prober-read"
