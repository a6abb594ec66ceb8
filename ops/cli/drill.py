"""`holdfast drill`: what it prints, and in which order it runs what it was asked for."""

from __future__ import annotations

import random
import signal
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from ops import cluster, names
from ops.cli.output import Exit, Json, console, fail, print_json, reported
from ops.console import StackError
from ops.drills import controls, runner
from ops.drills import markdown as as_text
from ops.drills.faults import FAULTS
from ops.drills.summary import by_fault
from ops.load.plan import Plan, new_prefix

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ops.drills.faults import Fault
    from ops.drills.runner import Drill

HEADINGS = (
    "write pause",
    "read pause",
    "slowest",
    "failed: plain",
    "careful",
    "lost, twice, stale",
    "whole again",
)

WORDS = ("list", "all", "random", "controls")


def _complete(begun: str) -> list[str]:
    return [name for name in (*WORDS, *FAULTS) if name.startswith(begun)]


What = Annotated[
    list[str],
    typer.Argument(
        metavar="|".join(("NAME...", *WORDS)),
        autocompletion=_complete,
        help=f"A fault, or several: {', '.join(FAULTS)}.",
    ),
]
Keep = Annotated[Path, typer.Option(help="Where histories and results go, a folder a drill.")]


def drill(
    what: What,
    *,
    runs: Annotated[int, typer.Option(min=1, max=100, help="Times each; medians count.")] = 1,
    minutes: Annotated[float, typer.Option(min=0.1, max=10_000, help="random: how long.")] = 5.0,
    seed: Annotated[int | None, typer.Option(help="random: the same faults again.")] = None,
    hold: Annotated[
        float | None, typer.Option(min=0.1, max=3600, help="Seconds a fault lasts.")
    ] = None,
    writes: Annotated[float, typer.Option(min=1, help="Writes a second, both clients.")] = 40.0,
    reads: Annotated[float, typer.Option(min=1, help="Reads a second, both clients.")] = 100.0,
    keep: Keep = Path(".holdfast/drills"),
    markdown: Annotated[Path | None, typer.Option(help="Write the table to a file, too.")] = None,
    as_json: Json = False,
) -> None:
    """Break the stack under load, and judge what became of it. Exit code 3 if a promise broke."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # mend, as after Ctrl-C
    with reported(as_json=as_json):
        _writable(markdown)
        if what == ["list"]:
            _list(as_json=as_json)
            return
        url = cluster.service_url()
        plan = Plan(base_url=url, writes_per_second=writes, reads_per_second=reads)
        if what == ["controls"]:
            _controls(plan, as_json=as_json)
            return
        not_run: list[str] = []
        if what == ["random"]:
            chosen = random.SystemRandom().randrange(10**6) if seed is None else seed
            drills = [_soak(plan, minutes, chosen, keep, as_json=as_json)]
        else:
            faults = [_lasting(FAULTS[name], hold) for name in _named(what)]
            drills, not_run = _each(faults, plan, runs, keep, as_json=as_json)
        if as_json:
            print_json({"drills": drills, "not_run": not_run, "ok": _ok(drills, not_run)})
        else:
            console.print(_table(drills))
            console.print(_verdict(drills, not_run))
        if markdown is not None and drills:
            markdown.write_text(_page(drills, not_run), encoding="utf-8")
        if not all(each.ok for each in drills):
            raise typer.Exit(Exit.UNSOUND)
        if not_run:
            raise typer.Exit(Exit.FAILED)


def _ok(drills: list[Drill], not_run: list[str]) -> bool:
    return bool(drills) and all(each.ok for each in drills) and not not_run


def _writable(page: Path | None) -> None:
    """Find out before an hour of drills whether their table can be written."""
    if page is not None:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.touch()


def _list(*, as_json: bool) -> None:
    if as_json:
        print_json({name: fault.summary for name, fault in FAULTS.items()})
        return
    table = Table("drill", "what happens", box=None)
    for name, fault in FAULTS.items():
        table.add_row(name, fault.summary)
    console.print(table)


def _controls(plan: Plan, *, as_json: bool) -> None:
    found = []
    for control in controls.CONTROLS:
        one = control(_fresh(plan))
        found.append(one)
        if not as_json:
            verdict = ("as it must be", "green") if one.ok else ("WRONG", "bold red")
            console.print(Text.assemble(f"{one.name}: {one.shown} shown, ", verdict))
            console.print(f"  {one.summary}")
    if as_json:
        print_json(found)
    if not all(one.ok for one in found):
        raise typer.Exit(Exit.UNSOUND)


def _named(what: list[str]) -> list[str]:
    if what == ["all"]:
        return list(FAULTS)
    for name in what:
        if name in WORDS:
            raise StackError(f"{name!r} stands alone; `holdfast drill {name}`")
        if name not in FAULTS:
            raise StackError(f"there is no drill {name!r}; `holdfast drill list` names them")
    return what


def _lasting(fault: Fault, hold: float | None) -> Fault:
    return fault if hold is None else replace(fault, hold=hold)


def _each(
    faults: Iterable[Fault], plan: Plan, runs: int, keep: Path, *, as_json: bool
) -> tuple[list[Drill], list[str]]:
    """Run them in turn; one that cannot be run is named at the end, and stops no other."""
    drills: list[Drill] = []
    not_run: list[str] = []
    for number in range(runs):
        for fault in faults:
            if not as_json:
                console.print(f"{fault.name}, run {number + 1} of {runs}: {fault.summary}")
            try:
                one = runner.run_one(fault, _fresh(plan), _folder(keep, fault.name))
            except StackError as error:
                not_run.append(f"{fault.name}, run {number + 1}: {error}")
                fail(not_run[-1], as_json=False)
                continue
            drills.append(one)
            if not as_json:
                _tell(one)
    return drills, not_run


def _soak(plan: Plan, minutes: float, seed: int, keep: Path, *, as_json: bool) -> Drill:
    if not as_json:
        console.print(f"seed {seed}: `holdfast drill random --seed {seed}` draws the same faults")
    folder = _folder(keep, f"random-{seed}")
    tell = (lambda _: None) if as_json else console.print
    done = runner.run_random(plan, minutes, seed, folder, tell)
    if not as_json:
        _tell(done)
    return done


def _page(drills: list[Drill], not_run: list[str]) -> str:
    command = "./holdfast " + " ".join(sys.argv[1:])
    seconds = sum(each.seconds for each in drills)
    sessions = "1 session" if len(drills) == 1 else f"{len(drills)} sessions"
    facts = f"`{command}`, {drills[0].began}: {sessions}, {seconds / 60:.0f} min of load."
    amiss = [f"Not run: {each}" for each in not_run]
    amiss += [f"Incomplete: {each}" for drill in drills for each in drill.problems]
    parts = [
        f"{facts}\n{as_text.machine()}.",
        as_text.table(by_fault(drills)),
        as_text.verdict([each.judged for each in drills]),
        as_text.totals([each.totals for each in drills]),
        *amiss,
    ]
    return "\n\n".join(parts) + "\n"


def _fresh(plan: Plan) -> Plan:
    """Return the same load for entities of its own."""
    return replace(plan, prefix=new_prefix())


def _folder(keep: Path, name: str) -> Path:
    return keep / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{names.prefix()}{name}"


def _tell(drill: Drill) -> None:
    for line in (*drill.judged.findings, *drill.problems):
        console.print(f"  {line}", style="bold red", markup=False)
    for line in drill.totals.bottlenecks:
        console.print(f"  the generator: {line}", style="dim", markup=False)
    for measured in drill.measured:
        for sentence in measured.missed:
            console.print(f"  {measured.fault}: {sentence}", style="yellow", markup=False)


def _table(drills: list[Drill]) -> Table:
    table = Table(box=None)
    table.add_column("fault", no_wrap=True)
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
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
    parts = [as_text.verdict([each.judged for each in drills])] if drills else []
    if drills:
        parts.append(as_text.totals([each.totals for each in drills]))
    parts += [f"Not run: {each.splitlines()[0]}" for each in not_run]
    return Text("\n".join(parts), "bold green" if _ok(drills, not_run) else "bold red")
