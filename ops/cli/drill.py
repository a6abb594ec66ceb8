"""`holdfast drill`: what it can be asked for. What it does needs packages: ops.cli.drilled."""

from __future__ import annotations

import random
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ops import cluster
from ops.cli import packages
from ops.cli.output import Json, print_json, reported
from ops.cli.plain import Table, drawn, show
from ops.cli.verbs import Argument, Option
from ops.console import StackError, agree
from ops.drills.three import EVERY, OF_THREE, drills
from ops.drills.ways import WAYS
from ops.load.plan import Plan

if TYPE_CHECKING:
    from ops.drills.faults import Fault

WORDS = {
    "list": "name the drills",
    "all": "each drill once, and a table",
    "random": "a soak: drawn drills under one load",
    "controls": "take guarantees away, and see the checker find what is lost",
    "recoveries": "each way back from the backups once, and a table",
}

DATA = "The stack's data become those of a drill, more than once: what else is written is lost."

What = Annotated[list[str], Argument("Drills, or one of the words below.", "NAME")]


def drill(
    what: What,
    *,
    runs: Annotated[int, Option("Times each; medians count.", least=1, most=100)] = 1,
    minutes: Annotated[float, Option("random: how long.", least=0.1, most=10_000)] = 5.0,
    seed: Annotated[int | None, Option("random: the same faults again.")] = None,
    hold: Annotated[float | None, Option("Seconds a fault lasts.", least=0.1, most=3600)] = None,
    writes: Annotated[float, Option("Writes a second, both clients.", least=1)] = 40.0,
    reads: Annotated[float, Option("Reads a second, both clients.", least=1)] = 100.0,
    keep: Annotated[Path, Option("Where histories and results go, a folder a drill.")] = Path(
        ".holdfast/drills"
    ),
    markdown: Annotated[Path | None, Option("Write the table to a file, too.")] = None,
    as_json: Json = False,
) -> None:
    """Break the stack under load, and judge what became of it. Exit code 3 if a promise broke.

    Recoveries need a repository of backups, and replace what the stack has: they ask first.

    Where the service asks for a token (ACCESS=writes, ACCESS=all), put one into HOLDFAST_TOKEN:
    HOLDFAST_TOKEN=$(./holdfast access add drill --scope read --scope write) ./holdfast drill all
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # mend, as after Ctrl-C
    with reported(as_json=as_json):
        if what == ["list"]:
            _list(as_json=as_json)
            return
        names = named(what)
        nodes = len(cluster.nodes_there())
        there = drills(nodes)
        if what == ["all"]:
            names = list(there)
        if lacking := [name for name in names if name in OF_THREE.keys() - there]:
            raise StackError(f"{lacking[0]} needs three data nodes: NODES=3 make up")
        packages.need(sys.argv[1:])
        from ops.cli import drilled  # noqa: PLC0415 - its packages are there only now

        url = cluster.service_url()
        plan = Plan(base_url=url, writes_per_second=writes, reads_per_second=reads)
        if what == ["controls"]:
            drilled.controlled(plan, as_json=as_json)
            return
        kept = drilled.Kept(keep, markdown)
        if what == ["random"]:
            from ops.drills.runner import Soak  # noqa: PLC0415 - as above

            drawn_by = random.SystemRandom().randrange(10**6) if seed is None else seed
            soak = Soak(minutes, drawn_by, nodes=nodes)
            drilled.soaked(plan, soak, kept, as_json=as_json)
        elif what == ["recoveries"] or set(names) & set(WAYS):
            from ops.cli import recovered  # noqa: PLC0415 - as above

            agree(DATA, "Say so with YES=1, on a stack whose data are nobody's.")
            recovered.each(names or list(WAYS), plan, kept, as_json=as_json)
        else:
            faults = [_lasting(there[name], hold) for name in names]
            drilled.each(faults, plan, runs, kept, as_json=as_json)


def _lasting(fault: Fault, hold: float | None) -> Fault:
    return fault if hold is None else replace(fault, hold=hold)


def _table() -> Table:
    table = Table("drill", "what happens")
    for name, summary in _there_are().items():
        table.add_row(name, summary)
    return table


def _there_are() -> dict[str, str]:
    three = dict.fromkeys(OF_THREE, " Needs three data nodes.")
    summaries = {name: fault.summary + three.get(name, "") for name, fault in EVERY.items()}
    return summaries | WAYS


def _epilog() -> str:
    words = Table("or", "")
    for word, meaning in WORDS.items():
        words.add_row(word, meaning)
    return f"{drawn(_table())}\n\n{drawn(words)}"


def _list(*, as_json: bool) -> None:
    if as_json:
        print_json(_there_are())
    else:
        show(_table())


def named(what: list[str]) -> list[str]:
    """Return the drills that are named, none for a word. Raises StackError for unknown ones."""
    if len(what) == 1 and what[0] in WORDS:
        return []
    for name in what:
        if name in WORDS:
            raise StackError(f"{name!r} stands alone; `holdfast drill {name}`")
        if name not in _there_are():
            raise StackError(f"there is no drill {name!r}; `holdfast drill list` names them")
    if 0 < len(set(what) & set(WAYS)) < len(set(what)):
        raise StackError("faults and recoveries are judged apart: say one kind at a time")
    return what


drill.epilog = _epilog()  # type: ignore[attr-defined] # for its help
