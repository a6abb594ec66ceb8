"""A report counts what clients saw, and says at its top when it is not to be trusted."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from rich.console import Console

from ops.load import wording
from ops.load.operation import Kind, Mark, Operation, Outcome
from ops.load.pauses import Pause, longest_pause
from ops.load.plan import Plan
from ops.load.report import summarize
from ops.load.run import Result
from ops.load.selfcheck import SelfCheck
from ops.load.text import render
from ops.load.timeline import MOST_STEPS, nice_step, timeline


def one(
    due: float,
    latency: float = 0.01,
    kind: Kind = Kind.CREATE,
    outcome: Outcome = Outcome.OK,
    late: float = 0.0,
) -> Operation:
    """An operation made by hand."""
    error = "" if outcome is Outcome.OK else "unavailable"
    sent, completed = due + late, due + latency
    return Operation(kind, "e", due, sent, completed, outcome, 200, error, instance="app1")


def result(*operations: Operation, seconds: float = 10.0, cpu: float = 0.2) -> Result:
    """A load that consisted of these."""
    checks = [SelfCheck(0, cpu=cpu)]
    return Result(Plan(seconds=seconds), 1e9, seconds, list(operations), [], checks, [])


def text(of: Result) -> str:
    """The report as a terminal shows it."""
    out = StringIO()
    Console(file=out, width=120).print(render(summarize(of)))
    return out.getvalue()


def test_a_pause_lies_between_two_completions() -> None:
    """Whenever the requests were due: here three waited, and were answered together."""
    held = [one(due, 5.0 - due) for due in (2.0, 3.0, 4.0)]
    pause = longest_pause([one(0.0), one(1.0), *held, one(6.0)], writes=True)
    assert pause is not None
    assert (pause.began, pause.seconds) == pytest.approx((1.01, 3.99))


def test_failures_end_no_pause() -> None:
    """They are no success, however fast they come."""
    failed = [one(due, outcome=Outcome.FAILED) for due in (1.0, 2.0, 3.0)]
    pause = longest_pause([one(0.0), *failed, one(4.0)], writes=True)
    assert pause is not None
    assert pause.seconds == pytest.approx(4.0)


def test_a_pause_may_reach_the_ends_of_the_load() -> None:
    """From the start to the first success; from the last to when the last request was due."""
    first = longest_pause([one(0.0, 3.0), one(4.0)], writes=True)
    assert first == Pause(0.0, 3.0)
    failed = [one(due, outcome=Outcome.UNKNOWN) for due in (2.0, 9.0)]
    last = longest_pause([one(0.0), *failed], writes=True)
    assert last is not None
    assert (last.began, last.seconds) == pytest.approx((0.01, 8.99))
    assert longest_pause([one(0.0, outcome=Outcome.FAILED), failed[1]], writes=True) == Pause(0, 9)


def test_writes_and_reads_pause_apart() -> None:
    """Creates and changes are both writes; a kind without requests has no pause."""
    operations = [one(0.0), one(1.0, kind=Kind.CHANGE), one(2.0), one(-5.0, kind=Kind.READ)]
    pause = longest_pause(operations, writes=True)
    assert pause is not None
    assert pause.seconds == pytest.approx(1.0)
    assert longest_pause(operations, writes=False) is None


def test_the_numbers() -> None:
    """Counts, latencies of the successes, errors; the preparation is left out."""
    report = summarize(
        result(
            one(-1.0),
            one(0.0),
            one(1.0, 0.2, Kind.CHANGE),
            one(2.0, 4.0, outcome=Outcome.UNKNOWN),
            one(3.0, kind=Kind.READ),
        )
    )
    assert report.outcomes("writes") == {"ok": 2, "failed": 0, "unknown": 1}
    assert (report.sent, report.failed) == (4, 1)
    assert report.kinds["writes"].latency.longest == pytest.approx(0.2)
    assert report.kinds["writes"].per_second == pytest.approx(0.2)
    assert report.longest_wait is not None
    assert report.longest_wait.latency == 4.0
    assert report.errors == {"write unknown: unavailable": 1}
    assert report.instances == {"app1": 4}


def test_a_pause_is_seen_in_the_timeline() -> None:
    """Requests are counted where they end; how long they took stands where they were due."""
    line = timeline([one(0.3, 0.5), one(0.39, 0.5), one(0.95, kind=Kind.READ)], seconds=1.0)
    assert [bucket.completed for bucket in line.writes] == [0, 0, 0, 0, 0, 0, 0, 0, 2, 0]
    assert (line.writes[3].p50, line.writes[3].longest) == pytest.approx((0.5, 0.5))
    assert line.reads[9].to_dict()["ok"] == 1
    assert line.reads[0].to_dict()["p50"] is None


def test_the_timeline_ends_with_the_last_answer() -> None:
    """A request that is answered after the load's end is not counted before it was."""
    line = timeline([one(0.9, 1.0)], seconds=1.0)
    assert (len(line.writes), line.seconds) == (19, pytest.approx(1.9))
    assert line.writes[18].completed == 1


def test_long_loads_have_longer_steps() -> None:
    """As many as a screen can show."""
    assert nice_step(30) == 0.1
    assert all(seconds / nice_step(seconds) <= MOST_STEPS for seconds in (200, 3600, 86400))


LATE = [one(number / 10, 0.11, late=0.1) for number in range(100)]
HELD = [one(number / 10, max(0.01, 5.0 - number / 10) + 0.11, late=0.1) for number in range(100)]


@pytest.mark.parametrize(
    ("load", "sentence"),
    [
        (result(*[one(0.0)] * 200, one(1.0, 0.7, late=0.7)), "700 ms of 700 ms"),
        (result(one(0.0), one(0.1, 0.9, late=0.9), one(1.2)), "In the longest pause of writes"),
        (result(*LATE), "p99 of writes is 110 ms from when they were due, 10 ms from when they le"),
    ],
    ids=["the longest latency", "a pause", "p99"],
)
def test_lateness_that_changes_the_verdict_stands_at_the_top(load: Result, sentence: str) -> None:
    """In the text and in JSON; the page has its own test."""
    report = summarize(load)
    assert any(sentence in each for each in report.distortion.verdict)
    assert wording.STARVED.upper() in text(load).splitlines()[0]
    assert sentence in " ".join(text(load).split())
    assert next(iter(json.loads(report.to_json()).items()))[1] == report.distortion.verdict


def test_a_generator_without_a_core_to_spare_is_the_bottleneck() -> None:
    """Where its processes took little of a core and were late, it is the machine's lateness."""
    load = result(*LATE, cpu=0.97)
    assert wording.BOTTLENECK.upper() in text(load).splitlines()[0]
    assert wording.STARVED.upper() not in text(load)


def test_lateness_that_changes_nothing_is_a_quiet_line() -> None:
    """A tenth of a second in a pause of five; p99 is an aside where a fault struck."""
    load = result(*HELD)
    load.marks.append(Mark(1.0, "kill -9", "fault"))
    assert summarize(load).distortion.verdict == []
    shown = text(load)
    assert shown.startswith("0 of 100 requests failed")
    assert "Late, but not so that it changes the verdict: 1 % of the requests left" in shown
    load = result(*LATE)
    load.marks.append(Mark(1.0, "kill -9", "fault"))
    assert summarize(load).distortion.verdict == []
    assert "p99 of writes is 110 ms" in " ".join(text(load).split())


def test_a_slow_service_is_not_called_late() -> None:
    """However slow: its requests left on time."""
    report = summarize(result(*[one(number / 10, 0.9) for number in range(100)]))
    assert (report.distortion.verdict, report.distortion.aside) == ([], [])


def test_an_event_loop_that_lags_is_seen_in_p99() -> None:
    """Requests leave on time and answers are heard of late."""
    load = result(*[one(number / 10, 0.1) for number in range(100)])
    for _ in range(100):
        load.checks[0].lag.add(0.09)
    assert "the event loop lagged 90 ms" in summarize(load).distortion.verdict[0]


def test_a_machine_that_is_overloaded_stands_at_the_top() -> None:
    """What was measured before the load, in text and JSON."""
    report = summarize(result(one(0.0)), machine=["Overloaded.", "1 processor."])
    assert wording.warnings(report) == [("Overloaded.", ["1 processor."])]
    assert json.loads(report.to_json())["machine_overloaded"] == ["Overloaded.", "1 processor."]


def test_a_generator_that_kept_up_is_not_accused() -> None:
    """And what was missing is named."""
    load = result(one(0.0))
    assert wording.BOTTLENECK.upper() not in text(load)
    load.problems.append("Process 1 died.")
    assert "Process 1 died." in text(load)


def test_the_text_has_the_headline_and_the_marks() -> None:
    """What a person looks for first."""
    load = result(one(0.0), one(2.5, outcome=Outcome.FAILED))
    load.marks.append(Mark(1.0, "kill -9 [bold]postgres1", "fault"))
    assert "1 of 2 requests failed, longest write pause 2.5 s" in text(load)
    assert "kill -9 [bold]postgres1" in text(load)


def test_an_empty_load_has_a_report() -> None:
    """Nothing to divide by, nothing to find."""
    report = summarize(result())
    assert (report.sent, report.write_pause, report.longest_wait) == (0, None, None)
    assert json.loads(report.to_json())["kinds"]["writes"]["ok"] == 0
    assert text(result())


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "-"), (0.0, "0.0 µs"), (0.00085, "850 µs"), (0.0124, "12 ms"), (2.12, "2.1 s")],
)
def test_durations_in_words(seconds: float | None, words: str) -> None:
    """Two digits are enough."""
    assert wording.duration(seconds) == words
