"""The histogram is within 1 % of the exact percentiles, and loses nothing on its way."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.load.histogram import HIGHEST, Histogram

DURATIONS = st.lists(st.floats(1e-5, HIGHEST), min_size=1, max_size=200)


@given(DURATIONS, st.floats(0, 100))
def test_percentiles_are_within_one_percent(durations: list[float], percent: float) -> None:
    """Of the exact one, by nearest rank."""
    rank = max(1, math.ceil(len(durations) * percent / 100))
    exact = sorted(durations)[rank - 1]
    assert Histogram(durations).percentile(percent) == pytest.approx(exact, rel=0.01)


@given(DURATIONS, DURATIONS)
def test_merging_is_counting_all(some: list[float], others: list[float]) -> None:
    """Two halves make the same histogram as the whole."""
    merged = Histogram(some)
    merged.merge(Histogram(others))
    assert merged == Histogram([*some, *others])


@given(DURATIONS)
def test_a_stored_histogram_is_the_same(durations: list[float]) -> None:
    """JSON and back."""
    histogram = Histogram(durations)
    assert Histogram.from_dict(json.loads(json.dumps(histogram.to_dict()))) == histogram


def test_the_ends_are_exact() -> None:
    """The longest is known even beyond the highest bucket; below 0 is 0; none is 0."""
    assert Histogram([1.0, 500.0]).percentile(100) == 500.0
    assert Histogram([-1.0]).longest == 0.0
    assert Histogram().percentile(99) == 0.0


def test_what_does_not_fit_is_refused() -> None:
    """Another layout's counts would mean other durations."""
    with pytest.raises(ValueError, match="another layout"):
        Histogram.from_dict({**Histogram().to_dict(), "unit": 1e-6})
    with pytest.raises(ValueError, match="from 0 to 100"):
        Histogram().percentile(101)
