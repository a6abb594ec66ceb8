"""service.database.deadline and .unit: one bound for everything below."""

import time

import pytest

from service.database.deadline import Deadline
from service.database.unit import calling, current_unit, unit_of_work
from service.errors import CommitInDoubt, CommitUnresolved


def test_deadline_counts_down() -> None:
    """What remains shrinks with time, and goes below nothing."""
    assert 9 < Deadline.after(10).remaining() <= 10
    assert Deadline(time.monotonic() - 1).remaining() <= -1


def test_units_nest_and_end() -> None:
    """The innermost unit of work counts, and none is left behind."""
    assert current_unit() is None
    with unit_of_work(10) as outer:
        with unit_of_work(5) as inner:
            assert current_unit() is inner
        assert current_unit() is outer
    assert current_unit() is None


def test_unit_ends_with_an_error() -> None:
    """Also when the block fails."""
    with pytest.raises(KeyError), unit_of_work(1):
        raise KeyError
    assert current_unit() is None


def test_patience_shortens_and_never_lengthens() -> None:
    """A caller's patience bounds the units within; the service's own deadline stands."""
    with calling() as caller:
        caller.patience = Deadline.after(1)
        with unit_of_work(10) as unit:
            assert unit.deadline.remaining() <= 1
        with calling(), unit_of_work(10) as unit:
            assert unit.deadline.remaining() > 9
    with calling() as caller:
        caller.patience = Deadline.after(100)
        with unit_of_work(10) as unit:
            assert unit.deadline.remaining() <= 10
    with unit_of_work(10) as unit:
        assert unit.deadline.remaining() > 9


def test_doubt_stays_until_it_is_resolved() -> None:
    """A lost COMMIT lets the unit of work go on, and is not forgotten meanwhile."""
    error = CommitInDoubt("gone", kind="timeout")
    with unit_of_work(10) as unit:
        unresolved = unit.doubt(error)
        assert isinstance(unresolved, CommitUnresolved)
        assert unresolved.kind == "timeout"
        assert unit.in_doubt is error
        unit.resolve()
        assert unit.in_doubt is None
