"""service.observability.merged: what several processes tell as one."""

import json

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from service.database import Database, DatabaseOptions, EndpointOptions
from service.observability.merged import Merged, lasting, summed, told_by
from service.observability.metrics import Metrics

NOWHERE = EndpointOptions(host="127.0.0.1", port=1)
OPTIONS = DatabaseOptions(write=NOWHERE, read=NOWHERE, name="none", user="nobody", held_most=1000)


def registry(requests: int, *, serving: int, held: int) -> CollectorRegistry:
    """Return what a process counts."""
    made = CollectorRegistry()
    counter = Counter("requests", "Requests.", ["route"], registry=made)
    counter.labels("/a").inc(requests)
    seconds = Histogram("seconds", "Durations.", buckets=(1, 10), registry=made)
    for _ in range(requests):
        seconds.observe(5)
    name = "holdfast_database_endpoint_serving"
    Gauge(name, "1 while it serves.", registry=made).set(serving)
    Gauge("held", "Units.", registry=made).set(held)
    Gauge("process_open_fds", "Files.", registry=made).set(held)
    return made


def values(merged: Merged) -> dict[tuple[str, str], float]:
    """Return all samples, by name and labels."""
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in merged.collect()
        for sample in family.samples
    }


def test_counts_are_summed_and_the_worst_is_told() -> None:
    """Of what is 1 while it is well the smallest; of processes each."""
    told = [
        told_by(registry(3, serving=1, held=5), 0),
        json.loads(json.dumps(told_by(registry(4, serving=0, held=6), 1))),  # as it travels
    ]

    found = values(Merged(summed([*told[0], *told[1]])))

    assert found["requests_total", "/a"] == 7
    assert found["seconds_bucket", "1.0"] == 0
    assert found["seconds_bucket", "10.0"] == found["seconds_count", ""] == 7
    assert found["seconds_sum", ""] == 35
    assert found["held", ""] == 11
    assert found["holdfast_database_endpoint_serving", ""] == 0
    assert (found["process_open_fds", "0"], found["process_open_fds", "1"]) == (5, 6)


def test_of_a_process_that_ended_its_counts_are_left() -> None:
    """Not what it was like."""
    left = {name for name, *_ in lasting(told_by(registry(3, serving=1, held=5), 0))}

    assert left == {"requests", "seconds"}


def test_a_sum_counts_from_the_latest_beginning() -> None:
    """Whoever needs all since a moment sees that something may be missing before."""
    one, other = (told_by(registry(1, serving=1, held=0), each) for each in range(2))
    begun = [
        value
        for family in (*one, *other)
        for name, _, value in family[3]
        if name == "requests_created"
    ]

    found = values(Merged(summed([*one, *other])))

    assert begun[0] < begun[1]
    assert found["requests_created", "/a"] == begun[1]


@pytest.mark.parametrize(("moments", "told"), [((5, 3), 3), ((0, 3), 3), ((3, 0), 3), ((0, 0), 0)])
def test_of_moments_the_earliest_is_told(moments: tuple[int, int], told: int) -> None:
    """0 is no moment: it has not come yet."""
    name = "holdfast_database_background_last_turn_timestamp_seconds"
    families = []
    for worker, moment in enumerate(moments):
        made = CollectorRegistry()
        Gauge(name, "When.", registry=made).set(moment)
        families += told_by(made, worker)
    assert values(Merged(summed(families)))[name, ""] == told


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("holdfast_database_units_held", 900),
        ("holdfast_database_units_held_limit", 2000),  # each has its part of the whole
        ("holdfast_database_callers", 3),
        ("holdfast_database_caller_units_most", 890),
        ("holdfast_database_sent_away_total", 7),
        ("holdfast_database_refused_total", 12),
        ("holdfast_database_keys_purged_timestamp_seconds", 0.0),
    ],
)
async def test_fair_shares_of_an_instance(name: str, told: float) -> None:
    """A flood at two workers reads as one: its callers are not counted twice, its units are."""
    databases = [Database(OPTIONS), Database(OPTIONS)]
    shares: list[dict[str, int]] = [{"flood": 450, "a": 5, "b": 5}, {"flood": 440}]
    families = []
    for worker, (database, units) in enumerate(zip(databases, shares, strict=True)):
        for caller, number in units.items():
            for _ in range(number):
                database.admission.begin(caller)
        database.admission.sent_away, database.admission.refused = 3 + worker, 6
        metrics = Metrics()
        metrics.watch(database)
        families += told_by(metrics.registry, worker)

    assert values(Merged(summed(families)))[name, ""] == told


@pytest.mark.parametrize(("moments", "told"), [((5, 3), 5), ((0, 3), 3), ((0, 0), 0)])
def test_keys_are_purged_when_one_process_did(moments: tuple[int, int], told: int) -> None:
    """The others find its lock, or nothing to do."""
    name = "holdfast_database_keys_purged_timestamp_seconds"
    families = []
    for worker, moment in enumerate(moments):
        made = CollectorRegistry()
        Gauge(name, "When.", registry=made).set(moment)
        families += told_by(made, worker)
    assert values(Merged(summed(families)))[name, ""] == told


def test_one_alone_is_written_as_prometheus_does() -> None:
    """Names, types, order; but for the label of a process."""
    made = registry(3, serving=1, held=5)

    text = generate_latest(Merged(summed(told_by(made, 0)))).decode()

    assert text.replace('{worker="0"}', "") == generate_latest(made).decode()
