"""What a drill comes to: which requests count, what is added up, and what makes it fail."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ops.cli import drilled
from ops.cli.output import Exit
from ops.drills.faults import FAULTS, Fault, Targets
from ops.drills.history import History, HistoryError, Row, load, save
from ops.drills.markdown import machine, table, totals, verdict
from ops.drills.result import (
    FINDINGS_SHOWN,
    Judged,
    Measured,
    Totals,
    judge_all,
    measure,
    on_one_clock,
    total,
)
from ops.drills.runner import Drill
from ops.drills.session import Strike
from ops.drills.summary import Line, Spread, Verdict, by_fault
from ops.load.driver import UNSENT
from ops.load.operation import Kind, Operation, Outcome
from ops.load.plan import Plan
from ops.load.run import Result
from tests.unit import cases

if TYPE_CHECKING:
    from pathlib import Path

QUICK = 0.01  # seconds


def request(due: float, kind: Kind = Kind.CHANGE, took: float = QUICK, **more: Any) -> Operation:  # noqa: ANN401 - of an operation
    """A request that was sent when it was due."""
    return replace(
        Operation(kind, "e", due=due, sent=due, completed=due + took, outcome=Outcome.OK), **more
    )


def failing(due: float, kind: Kind = Kind.CHANGE, **more: Any) -> Operation:  # noqa: ANN401
    """A request that was answered wrongly."""
    return request(due, kind, outcome=Outcome.FAILED, **({"error": "unavailable"} | more))


def strike(moved: bool = False, **targets: Any) -> Strike:  # noqa: ANN401
    """A fault that struck at 9 s, is looked at from 10 s on, and ended at 20."""
    fault = Fault("f", "F.", lambda _: None, hold=1.0, targets=Targets(**targets))
    return Strike(fault, struck=9, measured=10, mended=14, whole=16.5, ended=20, moved=moved)


def steady(kind: Kind, *, but: range = range(0)) -> list[Operation]:
    """Ten requests a second from 5 s to 25 s, but not in some tenths of a second."""
    return [request(at / 10, kind) for at in range(50, 250) if at not in but]


def result(*operations: Operation, started: float = 1000.0, seconds: float = 10.0) -> Result:
    """What one client knows of a load."""
    return Result(Plan(), started, seconds, list(operations), [], [], [])


# ---------------------------------------------------------------- one fault
def test_the_window_begins_a_second_before_and_ends_with_the_fault() -> None:
    """By when a request was due."""
    for at, counts in ((8.9, 0), (9.0, 1), (19.9, 1), (20.0, 0)):
        assert measure(strike(), {"plain": [failing(at)]}).failed == {"plain": counts}


def test_pauses_begin_with_what_is_looked_at() -> None:
    """Of writes and of reads by themselves; only success ends one."""
    operations = [
        *steady(Kind.CHANGE, but=range(120, 140)),
        *steady(Kind.READ, but=range(150, 190)),
        failing(13.0),
        failing(17.0, Kind.READ),
    ]
    found = measure(strike(), {"plain": operations})
    assert found.write_pause == pytest.approx(2.1, abs=0.05)
    assert found.read_pause == pytest.approx(4.1, abs=0.05)
    late = [each for each in operations if not 9 <= each.due < 11]
    found = measure(strike(), {"plain": late})
    assert found.write_pause == pytest.approx(2.1, abs=0.05)
    assert measure(strike(), {"plain": steady(Kind.CHANGE)}).read_pause == pytest.approx(10)
    assert measure(strike(), {"plain": steady(Kind.READ)}).write_pause == pytest.approx(10)


def test_the_slowest_of_each_kind() -> None:
    """Over all clients, failed ones included; with none it is nothing."""
    slow = request(12, took=3.0), request(13, Kind.READ, took=2.0)
    found = measure(
        strike(), {"plain": [request(11), slow[0]], "careful": [slow[1], request(14, Kind.READ)]}
    )
    assert found.slowest_write == pytest.approx(3)
    assert found.slowest_read == pytest.approx(2)
    nothing = measure(strike(), {"plain": []})
    assert (nothing.slowest_write, nothing.slowest_read) == (0, 0)
    assert (nothing.fault, nothing.redundant_after, nothing.errors) == ("f", 2.5, {})


def test_what_failed_is_counted_by_client_and_by_answer() -> None:
    """What the generator did not send is nobody's failure."""
    unsent = failing(12, error=UNSENT)
    plain = [failing(11), failing(12), failing(13, error="gone"), unsent, request(14)]
    careful = [failing(15, Kind.READ), request(16, outcome=Outcome.UNKNOWN, error="?")]
    found = measure(strike(), {"plain": plain, "careful": careful})
    assert found.failed == {"plain": 3, "careful": 2}
    assert found.errors == {"unavailable": 3, "gone": 1, "?": 1}


@pytest.mark.parametrize(
    ("targets", "moved", "operations", "missed"),
    [
        ({}, True, {}, []),
        ({"failover": False}, True, {}, ["the primary's role moved"]),
        ({"failover": False}, False, {}, []),
        ({"failover": True}, True, {}, []),
        ({"writes": 9.0}, False, {}, ["writes paused for 10.00 s, more than 9.0"]),
        ({"writes": 10.0}, False, {}, []),
        ({"reads": 9.0}, False, {}, ["reads paused for 10.00 s, more than 9.0"]),
        ({"writes": 0.0}, False, {}, ["writes paused for 10.00 s, more than 0.0"]),
        ({}, False, {"plain": 2}, ["2 failed for a client without"]),
        ({"plain_may_fail": True}, False, {"plain": 2}, []),
        (
            {"plain_may_fail": True},
            False,
            {"careful": 1},
            ["1 failed for a client with keys and retries"],
        ),
        ({}, False, {"plain": 0, "careful": 0}, []),
    ],
)
def test_each_target_that_was_missed(
    targets: dict[str, Any], moved: bool, operations: dict[str, int], missed: list[str]
) -> None:
    """Just met is met; what has no target cannot be missed."""
    requests = {name: [failing(12)] * count for name, count in operations.items()}
    assert measure(strike(moved, **targets), requests or {"other": []}).missed == missed


# ---------------------------------------------------------------- a session
def test_totals_begin_with_the_load_and_end_with_the_longest() -> None:
    """What prepared it is left out; every client counts by itself."""
    plain = result(failing(-0.1), request(0), failing(0), request(4, Kind.READ), seconds=8.0)
    unsent = [failing(3, error=UNSENT), failing(3.5, error=UNSENT)]
    careful = result(request(3), *unsent, request(3, Kind.READ), seconds=9.0)
    found = total({"plain": plain, "careful": careful})
    assert found.failed == {"plain": 1, "careful": 0}
    assert found.not_sent == 2
    assert found.write_pause == pytest.approx(6.0, abs=0.05)
    assert found.read_pause == pytest.approx(5.0, abs=0.05)
    assert found.bottlenecks == []
    even = result(*(request(at / 2) for at in range(18)), *[request(4, Kind.READ)], seconds=9.0)
    assert total({"plain": even}).read_pause == pytest.approx(5.0, abs=0.05)
    assert total({"plain": result(request(8), seconds=9.0)}).write_pause == pytest.approx(8.01)
    assert total({"plain": result(request(8, Kind.READ), seconds=9.0)}).read_pause > 8


def test_clients_are_put_on_the_clock_of_the_first() -> None:
    """All three times move; the first one's operations stay as they are."""
    one, other = result(request(5)), result(request(5, took=2.0), started=1002.5)
    shifted = on_one_clock({"plain": one, "careful": other})
    assert shifted["plain"] is one.operations
    (moved,) = shifted["careful"]
    assert (moved.due, moved.sent, moved.completed) == (7.5, 7.5, 9.5)


def test_verdicts_are_added_up() -> None:
    """Each rule under its name, and those without one of their own together."""
    lost = History([cases.create(), cases.change("b", 2, 2)], [])
    twice = History([cases.create(), cases.create("b", 3)], [Row("u", "a", 1)])
    stale = History([cases.create(), cases.read(None, 4, None, expected=1)], [Row("u", "a", 1)])
    other = History([cases.create(), cases.read("x", 4, 2)], [Row("u", "a", 1)])
    more = [cases.unknown(cases.change("x", 2)), cases.unknown(cases.change("y", 2))]
    doubt = History([cases.create(), *more, cases.change("c", 5, 3)], [Row("u", "c", 3)])
    warned = History([cases.local(cases.create())], [])
    found = judge_all([lost, twice, stale, other, doubt, warned])
    assert (found.lost, found.twice, found.stale, found.other) == (2, 1, 1, 1)
    assert (found.lost_as_warned, found.unknown, found.undecided) == (1, 2, 2)
    assert (found.acknowledged, found.reads) == (9, 2)
    assert found.findings[0].startswith("lost: creation to 'a'")
    assert [each.partition(":")[0] for each in found.findings] == [
        "lost", "lost", "twice", "stale", "never written",
    ]  # fmt: skip
    failed = cases.read(None, 4, None, outcome=Outcome.UNKNOWN)
    assert judge_all([History([cases.create(), failed], [Row("u", "a", 1)])]).reads == 0
    assert len(judge_all([lost] * FINDINGS_SHOWN).findings) == FINDINGS_SHOWN


GOOD = Judged(9, 9, 0, 0, 0, 0, 0, 0, 0, [])


@pytest.mark.parametrize("name", ["lost", "twice", "stale", "other"])
def test_anything_wrong_fails_a_drill(name: str) -> None:
    """Of a defect one is too many; what was lost as warned is none."""
    assert GOOD.ok
    assert replace(GOOD, lost_as_warned=3, unknown=2, undecided=1).ok
    assert not replace(GOOD, **{name: 1}).ok
    assert not drill({"app-killed": {}}, replace(GOOD, **{name: 1})).ok
    assert not replace(GOOD, lost=1, twice=1, stale=1, other=1).ok
    for others in ({"lost"}, {"twice"}, {"stale"}, {"other"}):
        assert not replace(GOOD, **dict.fromkeys({name, *others}, 1)).ok
    assert not replace(drill({"app-killed": {}}), problems=["p"]).ok
    assert drill({"app-killed": {}}).ok


# ---------------------------------------------------------------- several sessions
PLAIN = Measured("", 1.0, 2.0, 3.0, 4.0, {"plain": 1, "careful": 2}, {}, 5.0, False, Targets())
TOTALS = Totals({"plain": 2, "careful": 1}, 3, 1.25, 0.5, [])


def drill(faults: dict[str, dict[str, Any]], judged: Judged = GOOD) -> Drill:
    """A session of faults, each with what is measured otherwise."""
    measured = [
        replace(PLAIN, fault=name, targets=FAULTS[name].targets, **more)
        for name, more in faults.items()
    ]
    return Drill("2026-01-01T00:00:00+00:00", 10.0, measured, TOTALS, judged, [])


def test_a_line_has_the_worst_and_the_sums() -> None:
    """Pauses are spread; requests and findings are added."""
    runs = [
        drill({"app-killed": {"slowest_write": 7.0}}, replace(GOOD, lost=1, twice=2, stale=4)),
        drill({"app-killed": {"failed": {}, "redundant_after": 9.0, "missed": ["m"]}}),
        drill({"app-killed": {"read_pause": 0.5, "slowest_read": 6.5}}, replace(GOOD, stale=1)),
    ]
    (line,) = by_fault(runs)
    assert line == Line(
        fault="app-killed",
        runs=3,
        write_pause=Spread(1.0, 1.0, 1.0),
        read_pause=Spread(2.0, 0.5, 2.0),
        slowest=7.0,
        plain=2,
        careful=4,
        redundant_after=Spread(5.0, 5.0, 9.0),
        missed=True,
        verdict=Verdict(1, 2, 5),
        targets=FAULTS["app-killed"].targets,
    )
    (reads,) = by_fault([drill({"app-killed": {"slowest_read": 6.5}})])
    assert (reads.slowest, reads.missed) == (6.5, False)
    mixed = by_fault([runs[0], drill({"app-killed": {}, "app-frozen": {}})])
    assert [(each.fault, each.runs) for each in mixed] == [("app-killed", 2), ("app-frozen", 1)]
    assert [each.verdict for each in mixed] == [None, None]


def test_the_table_has_all_of_a_line() -> None:
    """Ranges only where there is one; a target by the median."""
    row = table(by_fault([drill({"app-killed": {"write_pause": 0.25}})])).splitlines()[-1]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:2] == ["app-killed", "1"]
    assert cells[2].startswith("0.25, ≤ ")
    assert cells[4:] == ["4.0", "1", "2", "0, 0, 0", "5.00"]
    most = FAULTS["app-killed"].targets.writes
    just_met = table(by_fault([drill({"app-killed": {"write_pause": most}})]))
    assert f"{most:.2f}, ≤ {most}" in just_met
    soak = table(by_fault([drill({"app-killed": {}, "app-frozen": {}})]))
    assert "see below" in soak


def test_sentences_on_all_sessions() -> None:
    """Sums, the longest pauses, and what is only said when there is some."""
    several = [
        TOTALS,
        replace(TOTALS, failed={"plain": 1, "one": 1}, write_pause=0.5, read_pause=0.25),
    ]
    assert totals(several) == (
        "Failed in all, in faults and between them: 3 plain, 1 careful, 1 one. Longest pause of "
        "writes 1.25 s, of reads 0.50 s. Not sent, as too much was under way: 6."
    )
    late = replace(TOTALS, bottlenecks=["a", "b"])
    assert totals([late, TOTALS, late]).endswith(" The generator was late in 2 sessions.")
    said = verdict([GOOD, Judged(1000, 2, 3, 4, 5, 0, 6, 7, 8, [])])
    assert said == (
        "1,009 acknowledged writes, 11 reads; 3 writes whose client was not told their outcome, "
        "4 of which the history does not tell either. "
        "Lost: 5. Twice: 6. Stale: 7. Otherwise wrong: 8."
    )
    warned = verdict([replace(GOOD, lost_as_warned=2)])
    assert warned.endswith(" Lost after `Durability: local`: 2.")


def test_results_name_their_machine() -> None:
    """As far as it matters for the numbers."""
    assert re.fullmatch(r"[1-9]\d* cores for stack and load together, Linux \d\S+", machine())


@pytest.mark.parametrize(
    ("drills", "not_run", "code"),
    [
        ([{}], [], None),
        ([{"judged": Judged(1, 1, 0, 0, 1, 0, 0, 0, 0, ["lost"])}], [], Exit.UNSOUND),
        ([{}], ["f, run 1: no standby"], Exit.FAILED),
    ],
)
def test_the_command_says_what_came_of_it(
    drills: list[dict[str, Any]],
    not_run: list[str],
    code: int | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A row for each fault, the verdict, the page with what the machine lacks, and a code."""
    kept = drilled.Kept(tmp_path, tmp_path / "new" / "table.md")
    several = [replace(drill({"app-killed": {}}), **changes) for changes in drills]

    def tell() -> None:
        drilled._told(several, not_run, ["Overloaded.", "1 processor."], kept, as_json=False)

    if code is None:
        tell()
    else:
        with pytest.raises(SystemExit) as ended:
            tell()
        assert ended.value.code == code
    said = capsys.readouterr().out
    assert said.splitlines()[0].split() == " ".join(drilled.HEADINGS).split()
    assert said.splitlines()[1].startswith("app-killed  ")
    assert f"Lost: {several[0].judged.lost}." in said
    assert [f"Not run: {each}" for each in not_run] == re.findall("Not run: .*", said)
    assert "Overloaded. 1 processor." in (tmp_path / "new" / "table.md").read_text()


# ---------------------------------------------------------------- the file of a history
def test_a_history_of_before_does_not_rule_out_a_primary_alone(tmp_path: Path) -> None:
    """Its header does not say."""
    path = tmp_path / "history.jsonl"
    save(History([cases.create()], [Row("u", "a", 1)]), path)
    assert not load(path).alone
    path.write_text(path.read_text().replace(', "alone": false', ""))
    assert load(path).alone


def test_a_history_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    """Cut anywhere, with a line too many, or with what is none."""
    path = tmp_path / "history.jsonl"
    whole = History([cases.create(), cases.change("b", 2, 2)], [Row("u", "b", 2)], began=1.5)
    save(whole, path)
    assert load(path) == whole
    lines = path.read_text().splitlines(keepends=True)
    wrong = [
        *("".join(lines[:count]) for count in range(len(lines))),
        "".join([*lines, lines[-1]]),
        path.read_text()[:-9],
        "".join(lines).replace('"kind"', '"sort"', 1),
        "".join(lines).replace('"create"', '"destroy"'),
        "".join(lines).replace('"format": 1', '"format": 0'),
        "[]\n",
    ]
    for text in wrong:
        path.write_text(text)
        with pytest.raises(HistoryError):
            load(path)
