"""A plan refuses what makes no sense; a schedule is fixed beforehand and shared without gaps."""

from __future__ import annotations

import itertools
import math
import time
from typing import Any

import pytest

from ops.load.plan import DEADLINE, Plan, PlanError, new_prefix
from ops.load.schedule import Schedule, until


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"base_url": "localhost:8080"}, "base_url is http://host:port"),
        ({"base_url": "http://localhost:8080/api"}, "without a path"),
        ({"writes_per_second": -1.0}, "writes_per_second is a number, 0 or more"),
        ({"reads_per_second": math.inf}, "reads_per_second is a number"),
        ({"writes_per_second": 0.0, "reads_per_second": 0.0}, "needs writes or reads"),
        ({"seconds": 0.0}, "seconds is above 0"),
        ({"changes": 1.5}, "changes is a share"),
        ({"processes": 0}, "processes is from 1"),
        ({"prefix": "No spaces"}, "prefix is 2 to 32"),
        ({"timeout": math.nan}, "timeout is above 0"),
    ],
)
def test_a_plan_says_what_is_wrong_with_it(wrong: dict[str, Any], sentence: str) -> None:
    """Each mistake has its sentence."""
    with pytest.raises(PlanError, match=sentence):
        Plan(**wrong)


def test_prefixes_differ_and_are_valid() -> None:
    """Two runs never write the same values."""
    assert new_prefix() != new_prefix()
    assert Plan(prefix=new_prefix()).rate == 100


def test_patience_is_the_longest_a_request_may_take() -> None:
    """Without retries one timeout, with them the deadline of all tries."""
    assert Plan(timeout=3.0).patience == 3.0
    assert Plan(timeout=3.0, retries=True).patience == DEADLINE


def test_processes_share_a_schedule() -> None:
    """Each arrival belongs to exactly one process, in turn."""
    shares = [list(Schedule(50, 2.0, number, 3).arrivals()) for number in range(3)]
    assert sorted(itertools.chain(*shares)) == [count / 50 for count in range(100)]
    assert shares[1][:2] == [1 / 50, 4 / 50]


def test_a_schedule_without_an_end_goes_on() -> None:
    """Until told to stop; one without a rate has no arrivals."""
    arrivals = Schedule(10, shift=0.5).arrivals()
    assert next(itertools.islice(arrivals, 10_000, None)) == 1000.05
    assert list(Schedule(0).arrivals()) == []


@pytest.mark.uvloop
async def test_nothing_leaves_before_its_time() -> None:
    """Also on uvloop, whose timers round."""
    for place in range(20):
        moment = time.monotonic() + place / 7000
        await until(moment)
        assert time.monotonic() >= moment
