"""`holdfast backup` and `holdfast restore`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

from ops import backups, names, ownership, scratch
from ops.cli.output import Exit, Json, print_json, reported
from ops.cli.plain import Table, show
from ops.cli.status import in_words
from ops.cli.verbs import Option, UsageError, Verbs
from ops.names import ROOT

backup = Verbs("holdfast backup", "Backups, and what is archived since.")


@backup.verb()
def run(*, full: Annotated[bool, Option("All of it, not what changed since.")] = False) -> None:
    """Take a backup now."""
    with reported(as_json=False):
        code = backups.run("full" if full else "diff")
    raise SystemExit(Exit.OK if code == 0 else Exit.FAILED)


@backup.verb("list")
def show_list(*, as_json: Json = False) -> None:
    """What can be restored; times are UTC."""
    with reported(as_json=as_json):
        found = backups.backups()
        until = backups.archived_until()
    if as_json:
        print_json({"backups": [asdict(each) for each in found], "archived_until": until})
        return
    if not found:
        show("There is no backup yet.")
        return
    table = Table("backup", "taken until", "database", "in the repository", "pages")
    for each in found:
        sound = "sound" if each.sound else "damaged"
        sizes = in_words(each.size), in_words(each.stored)
        table.add_row(each.label, _moment(each.ended), *sizes, sound)
    show(table)
    first = _moment(min(each.ended for each in found))
    last = "nobody says when" if until is None else _moment(until)
    show(f"Any second from {first} on; archived until {last}.")


@backup.verb()
def check() -> None:
    """Archive what there is, and look for it in the repository."""
    with reported(as_json=False):
        segment = backups.check()
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
    to: Annotated[str, Option("latest, a time (ISO 8601; UTC if nothing is said), or an LSN.")],
    scratch_copy: Annotated[
        bool, Option("Beside the stack, in a container that reaches nothing.", ("--scratch",))
    ] = False,
) -> None:
    """The database as it was, to look at and to copy from."""
    if not scratch_copy:
        raise UsageError("say where to: --scratch")
    with reported(as_json=False):
        ownership.require(ROOT)
        container = scratch.make(to, names.secrets(ROOT), show)
    show(f"It is in the container {container}, as it was:")
    show(f"  docker exec -it {container} psql holdfast")
    show(f"  docker rm --force {container}     (when it is not needed any more)")
    sys.stdout.flush()


def _moment(unix: float) -> str:
    return f"{datetime.fromtimestamp(unix, UTC):%Y-%m-%d %H:%M:%S}"
