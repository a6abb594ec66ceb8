"""service.database.deadline: one bound for everything below."""

import pytest

from service.database.deadline import Deadline, current_deadline, deadline_scope


def test_remaining_counts_down_past_zero() -> None:
    """What remains is what was given less what has passed, and negative afterwards."""
    assert Deadline.after(10).remaining() == pytest.approx(10, abs=0.1)
    assert Deadline.after(-1).remaining() < 0


def test_scope_ends() -> None:
    """The current deadline is the innermost one, and none outside of all."""
    outer, inner = Deadline.after(2), Deadline.after(1)

    assert current_deadline() is None
    with deadline_scope(outer):
        with deadline_scope(inner):
            assert current_deadline() is inner
        assert current_deadline() is outer
    assert current_deadline() is None


def test_scope_ends_with_an_error() -> None:
    """An error inside does not leave the deadline behind."""
    with pytest.raises(KeyError), deadline_scope(Deadline.after(1)):
        raise KeyError

    assert current_deadline() is None
