"""Who may be the primary of a cluster that nobody knows: by what the nodes' volumes say."""

from __future__ import annotations

import pytest

from ops import forgotten
from ops.cluster import Container
from ops.console import StackError

CONTROL = """pg_control version number:            1700
Database cluster state:               {state}
Latest checkpoint location:           0/{checkpoint}
Latest checkpoint's REDO location:    0/1000000
Latest checkpoint's TimeLineID:       {timeline}
Latest checkpoint's PrevTimeLineID:   1
Minimum recovery ending location:     0/{end}
Min recovery ending loc's timeline:   {end_timeline}
"""


def primary(timeline: int) -> str:
    """Return what is left of a primary that was killed."""
    return CONTROL.format(
        state="in production", checkpoint="3000000", timeline=timeline, end="0", end_timeline=0
    )


def standby(timeline: int, end: str = "3000100", checkpoint_timeline: int = 1) -> str:
    """Return what is left of a standby, whose last restart point may be of an older timeline."""
    return (
        CONTROL.format(
            state="in archive recovery", checkpoint="2000000", timeline=checkpoint_timeline,
            end=end, end_timeline=timeline,
        )
        + "standby\n"
    )  # fmt: skip


@pytest.fixture
def volumes(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What nodes answer when they are looked at, by name."""
    there: dict[str, str] = {}
    monkeypatch.setattr(
        forgotten.cluster, "containers", lambda: [Container(name, "running", "") for name in there]
    )
    monkeypatch.setattr(forgotten.cluster, "ask", lambda node, *_: there[node])
    return there


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (primary(3), standby(3)),  # the standby has no more than its primary
        (primary(4), primary(3)),  # the promoted one, and the one that it replaced
        (standby(4), primary(3)),  # a standby of the promoted one
        (standby(3), standby(3)),  # of two standbys each will do
        (primary(3), "empty\n"),
    ],
)
def test_who_has_most_may_be_chosen(volumes: dict[str, str], first: str, second: str) -> None:
    """It is shown beside what the others have."""
    volumes |= {"postgres1": first, "postgres2": second}
    choice = forgotten.choose("postgres1")
    assert choice.node == "postgres1"
    assert choice.remains[0].node == "postgres1"
    assert ("postgres2" in choice.words) == (second != "empty\n")


@pytest.mark.parametrize(
    ("first", "second"),
    [(standby(3), primary(3)), (primary(3), primary(4)), (primary(3), standby(4))],
)
def test_who_lacks_something_is_refused(volumes: dict[str, str], first: str, second: str) -> None:
    """With the name of the one that has more, and what to do if that is beyond repair."""
    volumes |= {"postgres1": first, "postgres2": second}
    with pytest.raises(StackError, match=r"make postgres2 the primary.*docker rm -f postgres2"):
        forgotten.choose("postgres1")


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ({"postgres2": primary(1)}, "there is no data node postgres1; there are postgres2"),
        ({"postgres1": "empty\n", "postgres2": primary(1)}, "postgres1 has no data"),
        ({"postgres1": primary(1), "postgres2": ""}, "docker start postgres2"),
    ],
)
def test_what_is_not_known_is_not_guessed(
    volumes: dict[str, str], there: dict[str, str], words: str
) -> None:
    """A node that is down may have more; one without data has nothing to lead with."""
    volumes |= there
    with pytest.raises(StackError, match=words):
        forgotten.choose("postgres1")
