"""What `holdfast drill` does with ways back from the backups, and how it tells of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ops.cli.drilled import Kept, fresh
from ops.cli.output import Exit, fail, print_json
from ops.cli.plain import Table, Text, show
from ops.console import StackError
from ops.drills import markdown as as_text
from ops.drills import recoveries
from ops.drills.ways import WAYS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.drills.recoveries import Recovered
    from ops.load.plan import Plan

HEADINGS = ("recovery", "acknowledged", "lost (RPO), s", "writes again (RTO), s", "write pause, s")
LAST = "lost, twice, otherwise wrong"


def each(ways: Sequence[str], plan: Plan, kept: Kept, *, as_json: bool) -> None:
    """Go ways back in turn; one that cannot be gone is named at the end, and stops no other."""
    done: list[Recovered] = []
    not_run: list[str] = []
    for way in ways:
        if not as_json:
            show(f"{way}: {WAYS[way]}")
        try:
            one = recoveries.run(way, fresh(plan), kept.new(way))
        except StackError as error:
            not_run.append(f"{way}: {error}")
            fail(not_run[-1], as_json=False)
            continue
        done.append(one)
        for line in () if as_json else (*one.found.judged.findings, *one.problems):
            show(f"  {line}", "bold red")
    if as_json:
        print_json({"recoveries": done, "not_run": not_run})
    else:
        show(_table(done))
    if kept.table is not None and done:
        kept.table.write_text(_page(done, not_run), encoding="utf-8")
    if not all(one.ok for one in done):
        raise SystemExit(Exit.UNSOUND)
    if not_run:
        raise SystemExit(Exit.FAILED)


def _rows(done: Sequence[Recovered]) -> list[list[str]]:
    return [
        [
            one.name,
            f"{one.found.judged.acknowledged:,}",
            f"{one.found.lost_seconds:.1f}",
            "" if one.resumed_after is None else f"{one.resumed_after:.1f}",
            f"{one.pause:.2f}" if one.pause else "",
            f"{one.found.judged.lost}, {one.found.judged.twice}, {one.found.judged.other}",
        ]
        for one in done
    ]


def _table(done: Sequence[Recovered]) -> Table:
    table = Table(*HEADINGS, LAST, right=frozenset(range(1, len(HEADINGS) + 1)))
    for row, one in zip(_rows(done), done, strict=True):
        table.add_row(Text(row[0], "" if one.ok else "bold red"), *row[1:])
    return table


def _page(done: Sequence[Recovered], not_run: Sequence[str]) -> str:
    head = "| " + " | ".join((*HEADINGS, LAST)) + " |\n|" + "---|" * (len(HEADINGS) + 1)
    rows = ["| " + " | ".join(row) + " |" for row in _rows(done)]
    facts = f"`./holdfast {' '.join(sys.argv[1:])}`, {done[0].began}.\n{as_text.machine()}."
    amiss = [f"Not run: {each}" for each in not_run]
    amiss += [f"Wrong: {one.name}: {each}" for one in done for each in one.problems]
    return "\n\n".join([facts, "\n".join([head, *rows]), *amiss]) + "\n"
