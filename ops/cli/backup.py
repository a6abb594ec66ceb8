"""`holdfast backup` and `holdfast restore`."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

from ops import names, ownership
from ops.backups import archiving, marks, rebuild, replacement, repository, scratch
from ops.cli.output import Exit, Json, print_json, reported
from ops.cli.plain import Table, show
from ops.cli.status import in_words
from ops.cli.verbs import Argument, Option, UsageError, Verbs
from ops.console import agree
from ops.names import ROOT
from ops.stack import Stack

backup = Verbs("holdfast backup", "Backups, and what is archived since.")


@backup.verb()
def run(*, full: Annotated[bool, Option("All of it, not what changed since.")] = False) -> None:
    """Take a backup now."""
    with reported(as_json=False):
        code = repository.run("full" if full else "diff")
    raise SystemExit(Exit.OK if code == 0 else Exit.FAILED)


@backup.verb("list")
def show_list(*, as_json: Json = False) -> None:
    """What can be restored; times are UTC."""
    with reported(as_json=as_json):
        found = repository.backups()
        until, verified = archiving.archived_until(), repository.verified()
    if as_json:
        facts = {"archived_until": until, "verified": verified}
        print_json({"backups": [asdict(each) for each in found], **facts})
        return
    if not found:
        show("There is no backup yet.")
        return
    table = Table("backup", "kind", "taken until", "database", "in the repository", "pages")
    for each in found:
        sound = "sound" if each.sound else "damaged"
        sizes = in_words(each.size), in_words(each.stored)
        table.add_row(each.label, each.kind, _moment(each.ended), *sizes, sound)
    show(table)
    for one in (mark for each in found for mark in each.marks):
        show(f"Mark {one.name}: {_moment(one.at)}, {one.lsn}")
    first = _moment(min(each.ended for each in found))
    last = "nobody says when" if until is None else _moment(until)
    show(f"Any second from {first} on; archived until {last}.")
    checked = "No copy has been checked yet: `./holdfast backup verify`."
    show(checked if verified is None else f"A copy was found sound on {_moment(verified)}.")


@backup.verb()
def mark(name: Annotated[str, Argument("Small letters, digits, dashes.")]) -> None:
    """Give this moment a name that `restore --to` takes, before something that is risky."""
    with reported(as_json=False):
        made = marks.make(name)
    show(f"{made.name} is {_moment(made.at)} UTC, {made.lsn}.")


@backup.verb()
def check() -> None:
    """Archive what there is, and look for it in the repository."""
    with reported(as_json=False):
        segment = repository.check()
    show(f"All that was written until now is in the repository, up to the segment {segment}.")


@backup.verb()
def verify() -> None:
    """Restore all there is into a copy, check every table and index, and remove it."""
    with reported(as_json=False):
        ownership.require(ROOT)
        sound = scratch.verify(names.secrets(ROOT), show)
    show("Every page and every index is sound." if sound else "The copy is damaged, as said above.")
    raise SystemExit(Exit.OK if sound else Exit.UNSOUND)


def restore(
    *,
    to: Annotated[str, Option("latest, a mark, a time (ISO 8601; UTC if none is said), an LSN.")],
    scratch_copy: Annotated[
        bool, Option("Beside the stack, in a container that reaches nothing.", ("--scratch",))
    ] = False,
    replace: Annotated[bool, Option("The stack itself; what there is now is kept.")] = False,
    source: Annotated[
        str | None,
        Option("A stack where there is none: a repository's folder, `volume`, `s3`.", ("--from",)),
    ] = None,
    yes: Annotated[bool, Option("Do not ask.")] = False,
) -> None:
    """The database as it was: to look at and to copy from, or in place of what there is now."""
    if [scratch_copy, replace, source is not None].count(True) != 1:
        raise UsageError("say where to: --scratch, --replace, or --from where there is no stack")
    with reported(as_json=False):
        if source is not None:
            if os.environ.get("BACKUP") == "no":  # in the settings of an export
                os.environ["BACKUP"] = "yes"
            stack = Stack(ROOT)
            rebuild.require(source, stack)
            stack.up(partial(rebuild.fill, to, source))
            return
        ownership.require(ROOT)
        if replace:
            _replace(to, yes=yes)
            return
        container = scratch.make(to, names.secrets(ROOT), show)
    show(f"It is in the container {container}, as it was:")
    show(f"  docker exec -it {container} psql holdfast")
    show(f"  docker rm --force {container}     (when it is not needed any more)")
    sys.stdout.flush()


def _replace(to: str, *, yes: bool) -> None:
    words = replacement.words(to)
    if yes:
        show(words)
    else:
        agree(words, "Say so with --yes, or look first: --scratch.")
    began = time.monotonic()
    node = replacement.replace(to, names.secrets(ROOT), show)
    kept = f"docker exec {names.container(node)} ls -d /var/lib/postgresql/replaced-*"
    show(f"The stack is as it was then, after {time.monotonic() - began:.0f} s.")
    show(f"  {kept}     (what it was before; remove it when it is not needed)")


def _moment(unix: float) -> str:
    return f"{datetime.fromtimestamp(unix, UTC):%Y-%m-%d %H:%M:%S}"
