"""service.observability.tallies: what prometheus_client's own metrics would say."""

import re

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from service.observability.tallies import Spreads, Tallies

BUCKETS = (0.002, 0.25, 1, 20)
VALUES = (0.0, 0.002, 0.0020001, 0.3, 1, 5.5, 20, 20.5, 1000)


def told(registry: CollectorRegistry) -> str:
    """Return what a scrape would get, but for the moments of creation."""
    return re.sub(r"(_created\{.*\}) .*", r"\1", generate_latest(registry).decode())


def test_a_histogram_is_the_librarys_byte_for_byte() -> None:
    """Values on a bound and beyond the last, children without values, more than one child."""
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    labels = ("route", "status")
    library = Histogram("seconds", "How long.", labels, buckets=BUCKETS, registry=theirs)
    spreads = Spreads("seconds", "How long.", *labels, buckets=BUCKETS)
    ours.register(spreads)
    observed: tuple[tuple[str, tuple[float, ...]], ...] = (("/a", VALUES), ("/b", ()), ("/a", (3,)))
    for route, values in observed:
        for value in values:
            library.labels(route, "200").observe(value)
            spreads.labels(route, "200").observe(value)
        library.labels(route, "200")
        spreads.labels(route, "200")
    assert told(ours) == told(theirs)


def test_a_counter_is_the_librarys_byte_for_byte() -> None:
    """One that has counted, and one that has not."""
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    library = Counter("attempts", 'Tries, "all" of them.', ["route"], registry=theirs)
    tallies = Tallies("attempts", 'Tries, "all" of them.', "route")
    ours.register(tallies)
    library.labels("read").inc(3)
    tallies.labels("read").count += 3
    library.labels("write")
    tallies.labels("write")
    assert told(ours) == told(theirs)


def test_what_was_created_when_is_told() -> None:
    """So that a reset is seen."""
    tallies = Tallies("attempts", "Tries.", "route")
    tally = tallies.labels("read")
    (metric,) = tallies.collect()
    assert {each.name: each.value for each in metric.samples} == {
        "attempts_total": 0,
        "attempts_created": tally.created,
    }
