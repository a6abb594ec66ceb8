"""service.database.admission: how many units of work there may be."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext

import pytest

from service.database.admission import Admission
from service.database.unit import calling, current_caller
from service.errors import DatabaseError, Overloaded


@contextmanager
def admitted(admission: Admission) -> Iterator[None]:
    """Count a unit of work of the current caller's within the block."""
    caller = current_caller().name
    admission.begin(caller)
    try:
        yield
    finally:
        admission.end(caller)


def test_the_limit_is_kept_and_given_back() -> None:
    """As many as the limit, no more; what ends, also with an error, makes room."""
    admission = Admission(limit=2)
    with admitted(admission), admitted(admission):
        assert admission.held == 2
        with pytest.raises(Overloaded), admitted(admission):
            pass
        assert admission.held == 2
    with pytest.raises(KeyError), admitted(admission):
        raise KeyError
    assert admission.held == 0
    with admitted(admission), admitted(admission):
        pass


def held_by(admission: Admission, callers: str) -> ExitStack:
    """Begin a unit of work for each letter's caller."""
    held = ExitStack()
    for name in callers:
        with calling(name):
            held.enter_context(admitted(admission))
    return held


@pytest.mark.parametrize(
    ("others", "newcomer", "sent_away"),
    [
        ("aaab", "c", "a"),
        ("aaab", "b", "a"),
        ("aaab", "a", None),
        ("aabb", "a", None),
        ("ab", "b", None),
    ],
)
def test_whoever_has_most_makes_room(others: str, newcomer: str, sent_away: str | None) -> None:
    """Or the newcomer is refused, when nobody would have fewer than he."""
    asked: list[str] = []

    def send_away(caller: str, error: DatabaseError) -> bool:
        assert isinstance(error, Overloaded)
        asked.append(caller)
        return True

    admission = Admission(len(others), send_away)
    outcome = nullcontext() if sent_away else pytest.raises(Overloaded)
    with held_by(admission, others), calling(newcomer), outcome, admitted(admission):
        assert asked == [sent_away]
    assert (admission.sent_away, admission.refused) == ((1, 0) if sent_away else (0, 1))
    assert admission.held == admission.callers == admission.caller_most == 0


def test_without_a_waiter_to_send_away_the_newcomer_is_refused() -> None:
    """Those who are being served are not interrupted."""
    admission = Admission(3, lambda _, __: False)
    with held_by(admission, "aaa"), calling("b"), pytest.raises(Overloaded), admitted(admission):
        pass
    assert admission.held == 0
    assert (admission.sent_away, admission.refused) == (0, 1)


def test_shares_are_told() -> None:
    """How many callers there are, and how many units whoever has most has."""
    admission = Admission(limit=10)
    with held_by(admission, "aaabbc"):
        assert (admission.held, admission.callers, admission.caller_most) == (6, 3, 3)
    assert (admission.held, admission.callers, admission.caller_most) == (0, 0, 0)
