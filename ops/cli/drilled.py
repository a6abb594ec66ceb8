"""What `holdfast drill` does: run what it was asked for in turn, and print the results."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ops import cluster, machine, names
from ops.cli.output import Exit, fail, print_json
from ops.cli.plain import Table, Text, show
from ops.console import StackError
from ops.drills import backup_controls, controls, runner
from ops.drills import markdown as as_text
from ops.drills.summary import by_fault
from ops.load.plan import new_prefix

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ops.drills.faults import Fault
    from ops.drills.runner import Drill, Soak
    from ops.load.plan import Plan

HEADINGS = (
    *("fault", "write pause", "read pause", "slowest", "failed: plain", "careful"),
    *("lost, twice, stale", "whole again"),
)
NUMBERS = frozenset(range(1, len(HEADINGS)))


@dataclass(frozen=True)
class Kept:
    """Where a drill leaves what: a folder for each, and a page for the table, which is tried."""

    folder: Path
    table: Path | None

    def __post_init__(self) -> None:
        if self.table is not None:  # not found out after an hour of drills
            self.table.parent.mkdir(parents=True, exist_ok=True)
            self.table.touch()

    def new(self, name: str) -> Path:
        """Return a folder that no other drill has."""
        return self.folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{names.prefix()}{name}"


def _measured(*, as_json: bool) -> Sequence[str]:
    """Look at the machine before the load does; say at once what it lacks."""
    lacks = machine.lacks(machine.measure())
    for line in () if as_json else lacks:
        show(line, "bold red")
    return lacks


def _told(
    drills: list[Drill], not_run: list[str], lacks: Sequence[str], kept: Kept, *, as_json: bool
) -> None:
    """Print and keep the results; raise SystemExit when something is wrong."""
    if as_json:
        found = {"drills": drills, "not_run": not_run, "ok": _ok(drills, not_run)}
        print_json({"machine_overloaded": lacks, **found})
    else:
        show(_table(drills))
        show(_verdict(drills, not_run))
    if kept.table is not None and drills:
        kept.table.write_text(_page(drills, not_run, lacks), encoding="utf-8")
    if not all(each.ok for each in drills):
        raise SystemExit(Exit.UNSOUND)
    if not_run:
        raise SystemExit(Exit.FAILED)


def _ok(drills: list[Drill], not_run: list[str]) -> bool:
    return bool(drills) and all(each.ok for each in drills) and not not_run


def controlled(plan: Plan, *, as_json: bool) -> None:
    """Run the negative controls."""
    found = []
    there = any(each.name == cluster.REPOSITORY for each in cluster.containers())
    for control in (*controls.CONTROLS, *(backup_controls.CONTROLS if there else ())):
        one = control(fresh(plan))
        found.append(one)
        if not as_json:
            verdict, style = ("as it must be", "green") if one.ok else ("WRONG", "bold red")
            show(f"{one.name}: {one.shown} shown, {verdict}", style)
            show(f"  {one.summary}")
    if as_json:
        print_json(found)
    if not all(one.ok for one in found):
        raise SystemExit(Exit.UNSOUND)


def each(faults: Sequence[Fault], plan: Plan, runs: int, kept: Kept, *, as_json: bool) -> None:
    """Run drills in turn; one that cannot be run is named at the end, and stops no other."""
    lacks = _measured(as_json=as_json)
    drills: list[Drill] = []
    not_run: list[str] = []
    for number in range(runs):
        for fault in faults:
            if not as_json:
                show(f"{fault.name}, run {number + 1} of {runs}: {fault.summary}")
            try:
                one = runner.run_one(fault, fresh(plan), kept.new(fault.name), lacks)
            except StackError as error:
                not_run.append(f"{fault.name}, run {number + 1}: {error}")
                fail(not_run[-1], as_json=False)
                continue
            drills.append(one)
            if not as_json:
                _tell(one)
    _told(drills, not_run, lacks, kept, as_json=as_json)


def soaked(plan: Plan, soak: Soak, kept: Kept, *, as_json: bool) -> None:
    """Run drills that a seed draws, under one load."""
    lacks, seed = _measured(as_json=as_json), soak.seed
    if not as_json:
        show(f"seed {seed}: `holdfast drill random --seed {seed}` draws the same faults")

    def tell(line: str) -> None:
        if not as_json:
            show(line)

    soak = replace(soak, lacks=lacks)
    done = runner.run_random(plan, soak, kept.new(f"random-{seed}"), tell)
    if not as_json:
        _tell(done)
    _told([done], [], lacks, kept, as_json=as_json)


def _page(drills: list[Drill], not_run: list[str], lacks: Sequence[str]) -> str:
    command = "./holdfast " + " ".join(sys.argv[1:])
    seconds = sum(each.seconds for each in drills)
    sessions = "1 session" if len(drills) == 1 else f"{len(drills)} sessions"
    facts = f"`{command}`, {drills[0].began}: {sessions}, {seconds / 60:.0f} min of load."
    amiss = [f"Not run: {each}" for each in not_run]
    amiss += [f"Incomplete: {each}" for drill in drills for each in drill.problems]
    parts = [
        f"{facts}\n{as_text.machine()}.",
        *([" ".join(lacks)] if lacks else []),
        as_text.table(by_fault(drills)),
        as_text.verdict([each.judged for each in drills]),
        as_text.totals([each.totals for each in drills]),
        *amiss,
    ]
    return "\n\n".join(parts) + "\n"


def fresh(plan: Plan) -> Plan:
    """Return the same load for entities of its own."""
    return replace(plan, prefix=new_prefix())


def _tell(drill: Drill) -> None:
    for line in (*drill.judged.findings, *drill.problems):
        show(f"  {line}", "bold red")
    for line in drill.totals.bottlenecks:
        show(f"  the generator: {line}", "dim")
    for measured in drill.measured:
        for sentence in measured.missed:
            show(f"  {measured.fault}: {sentence}", "yellow")


def _table(drills: list[Drill]) -> Table:
    table = Table(*HEADINGS, right=NUMBERS)
    for line in by_fault(drills):
        verdict = line.verdict
        table.add_row(
            Text(line.fault, "yellow" if line.missed else ""),
            f"{line.write_pause.median:.2f} s",
            f"{line.read_pause.median:.2f} s",
            f"{line.slowest:.1f} s",
            str(line.plain),
            str(line.careful),
            f"{verdict.lost}, {verdict.twice}, {verdict.stale}" if verdict else "",
            f"{line.redundant_after.median:.1f} s",
        )
    return table


def _verdict(drills: list[Drill], not_run: list[str]) -> Text:
    parts = [as_text.verdict([one.judged for one in drills])] if drills else []
    if drills:
        parts.append(as_text.totals([one.totals for one in drills]))
    parts += [f"Not run: {one.splitlines()[0]}" for one in not_run]
    return Text("\n".join(parts), "bold green" if _ok(drills, not_run) else "bold red")
