"""An export of secrets and settings, made a checkout's own: whole, or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ops import durable, names, settings
from ops.console import StackError
from ops.secret_export import CONTENTS, mode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ops.secret_export import Export

UNFINISHED = ".import"
"""After the name of what is being written. A killed import leaves it, the next one removes it."""


def require_none(root: Path) -> None:
    """Raise StackError where this checkout has secrets of the stack already."""
    folder = names.secrets(root)
    if folder.exists() and any(folder.iterdir()):
        raise StackError(
            f"{folder} has secrets already, which the stack {names.stack()} may need: nothing is "
            "changed. Import into a checkout that has none, or under another NAME; or remove that "
            f"stack with its data by `{names.command('make clean')}`, then import."
        )


def put(export: Export, root: Path) -> Path:
    """Make an export's files this checkout's: all of them or, where anything fails, none.

    Settings that are kept here already stay as they are. Returns the folder of secrets.
    """
    folder, file = names.secrets(root), settings.file(root)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.parent):
        require_none(root)
        unfinished = folder.with_name(folder.name + UNFINISHED)
        shutil.rmtree(unfinished, ignore_errors=True)
        before = file.read_bytes() if file.exists() else None
        try:
            _write_secrets(export, unfinished)
            # Killed between the two, it has settings and no secrets: it can be done again.
            _write_settings(file, _merged(export, before))
            unfinished.rename(folder)  # fails where there are secrets by now
        except BaseException:
            if unfinished.exists():
                shutil.rmtree(unfinished, ignore_errors=True)
                _write_settings(file, before)
            raise
        durable.sync_folder(folder.parent)
    return folder


def _write_secrets(export: Export, folder: Path) -> None:
    for name in CONTENTS:  # not what an archive calls it
        path = folder / name
        for parent in reversed(path.relative_to(folder.parent).parents[:-1]):
            above = folder.parent / parent
            above.mkdir(exist_ok=True)
            # Containers of a user who is not root come through these two, below `tls`.
            above.chmod(0o755 if above.name in {"nodes", "edge"} else 0o700)
        path.touch(mode=0o600, exist_ok=False)
        with path.open("wb") as output:
            output.write(export.secrets[name])
            output.flush()
            os.fchmod(output.fileno(), mode(name))
            os.fsync(output.fileno())
    for path in (*folder.rglob("*"), folder):
        if path.is_dir():
            durable.sync_folder(path)


def _merged(export: Export, before: bytes | None) -> bytes | None:
    """Return what a file of settings has to say: what it says already, and the export's others."""
    if export.settings is None:
        return before
    here = (before or b"").decode().splitlines()
    said = settings.parse(here)
    new = [f"{name}={value}" for name, value in export.settings_here.items() if name not in said]
    return "".join(f"{line}\n" for line in (*here, *new)).encode() or before


def _write_settings(file: Path, wanted: bytes | None) -> None:
    """Have a file say this, in one step; None: have none."""
    if wanted is None:
        file.unlink(missing_ok=True)
        return
    if file.exists() and file.read_bytes() == wanted:
        return
    unfinished = file.with_name(file.name + UNFINISHED)
    try:
        with unfinished.open("wb") as output:
            output.write(wanted)
            output.flush()
            os.fsync(output.fileno())
        if file.exists():
            unfinished.chmod(stat.S_IMODE(file.stat().st_mode))
        unfinished.replace(file)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let no other import write there meanwhile; raise StackError where one does."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError("another import is at work here; nothing is changed") from None
        yield
    finally:
        os.close(descriptor)
