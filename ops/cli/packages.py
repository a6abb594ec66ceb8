"""Packages for the commands that need some, made at their first use; all others do without.

What there is already is taken: psql-client has them, and so has `.venv`, which `make check` makes.
Else they go to .holdfast/client, pinned in requirements/client.txt.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ops.console import StackError, run_step
from ops.names import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

PINNED = ROOT / "requirements" / "client.txt"
WANTED = ("httpx", "rich", "uvloop")
"""What drills and loads import."""

FOR_EXPORTS = ("cryptography",)

INSTALL_LIMIT = 300.0
"""Seconds to install them from a slow package index."""


def need(arguments: Sequence[str], wanted: Sequence[str] = ()) -> None:
    """Return where the packages can be imported; else do the command in a process that has them.

    `wanted`: other ones than drills and loads want. Raises StackError when they cannot be
    installed.
    """
    if all(importlib.util.find_spec(name) for name in wanted or WANTED):
        return
    python = _python()
    if Path(sys.executable) == python:
        raise StackError(f"{python.parents[1]} is not complete: remove it, and run this again")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    os.execve(python, [str(python), "-m", "ops.cli", *arguments], environment)  # noqa: S606


def _python() -> Path:
    """Return an interpreter with the packages, which is made if there is none."""
    if (ROOT / ".venv" / "ready").exists():
        return ROOT / ".venv" / "bin" / "python"
    folder = ROOT / ".holdfast" / "client"
    ready, python = folder / "ready", folder / "bin" / "python"
    wanted = hashlib.sha256(PINNED.read_bytes()).hexdigest()
    if not ready.exists() or ready.read_text() != wanted:
        _make(folder, python)
        ready.write_text(wanted)
    return python


def _make(folder: Path, python: Path) -> None:
    log = ROOT / ".holdfast" / "logs" / "client.log"
    if importlib.util.find_spec("ensurepip") is None:
        script = ROOT / "deploy" / "bootstrap" / "install-venv.sh"
        subprocess.run([script, os.environ.get("BOOTSTRAP", "yes")], check=False, stdout=sys.stderr)
    steps = {
        f"virtual environment in {folder}": [sys.executable, "-m", "venv", "--clear", str(folder)],
        "packages for drills, loads and exports": [
            *(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--require-hashes", "-r", str(PINNED)),
        ],
    }
    with contextlib.redirect_stdout(sys.stderr):  # standard output is the command's own
        for title, command in steps.items():
            run_step(title, command, log, limit=INSTALL_LIMIT)
