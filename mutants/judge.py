"""Runs the tests of a mutant, in a copy of the project, until one fails."""

from __future__ import annotations

import os
import re
import signal
import sys
import traceback
from collections import Counter
from contextlib import suppress
from enum import StrEnum
from importlib import import_module
from itertools import count
from pathlib import Path
from select import select
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mutants.mutation import Mutant

START = 20.0  # seconds for the fixtures of a session
_SLOWER = 5.0  # how much longer tests may take than when they were measured
# Importing these takes longer than most unit tests: done once, before the first mutant.
LIBRARIES = (
    *("alembic", "asyncpg", "fastapi", "httpx", "hypothesis", "prometheus_client", "yaml"),
    *("pydantic_settings", "pytest_asyncio", "rich.table", "sqlalchemy", "structlog"),
)
_MERCY = 20.0  # seconds to end after an interrupt: fixtures end what they started


class Fate(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"
    SURVIVED = "survived"
    NOT_COVERED = "not covered"


class Judge:
    """Judges one mutant after another. Tests that kill come earlier the next time."""

    def __init__(self, tree: Path, took: Mapping[str, float]) -> None:
        self._tree = tree
        self._took = took
        self._kills: Counter[tuple[str, str]] = Counter()  # by file and test
        self._times = count(1)
        self._proven = False  # that the tests pass without a fault
        _warm_up()

    def judge(self, mutant: Mutant, tests: Iterable[str]) -> tuple[Fate, str]:
        """Return what becomes of a mutant, and the test that killed it."""
        ordered = sorted(tests, key=lambda test: self._order(mutant.path, test))
        if not ordered:
            return Fate.NOT_COVERED, ""
        if not self._proven:  # or every mutant would be killed by what kills them all
            code, output = self._run(ordered)
            if code != 0:
                raise SystemExit(f"mutants: they fail without a fault:\n{output[-3000:]}")
            self._proven = True
        path = self._tree / mutant.path
        try:
            self._write(path, mutant.changed)
            code, output = self._run(ordered)
        finally:
            self._write(path, mutant.source)
        if code == 0:
            return Fate.SURVIVED, ""
        found = re.search(r"^(?:FAILED|ERROR) (.+?)(?:: | - |$)", output, flags=re.MULTILINE)
        killer = found[1] if found else "no end in time" if code is None else "pytest"
        self._kills[mutant.path, killer] += 1
        return Fate.KILLED, killer

    def _order(self, path: str, test: str) -> tuple[int, bool, float]:
        return -self._kills[path, test], "/integration/" in test, self._took[test]

    def _write(self, path: Path, text: str) -> None:
        """Write it with a time of its own: Python takes compiled code by size and second."""
        path.write_text(text)
        moment = path.stat().st_mtime + next(self._times)
        os.utime(path, (moment, moment))

    def _run(self, tests: list[str]) -> tuple[int | None, str]:
        output = self._tree / ".mutants.output"
        longest = max(self._took[test] for test in tests)
        arguments = ["-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider"]
        arguments += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # imported already
        arguments += [f"--timeout={START + _SLOWER * longest:.0f}", *tests]
        bound = START + _SLOWER * sum(self._took[test] for test in tests)
        code = _wait(self._pytest(arguments, output), bound)
        return code, output.read_text(errors="replace")

    def _pytest(self, arguments: list[str], output: Path) -> int:
        """Begin pytest in a process of its own, which has imported the libraries already."""
        pid = os.fork()
        if pid == 0:  # only ends, whatever happens
            code = 1
            try:
                with output.open("w") as written:
                    os.dup2(written.fileno(), 1)
                    os.dup2(written.fileno(), 2)
                os.chdir(self._tree)
                sys.path.insert(0, str(self._tree))
                os.environ["HYPOTHESIS_PROFILE"] = "mutants"
                code = int(pytest.main(arguments))
            except BaseException:  # noqa: BLE001 - it would go on as a second judge
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        return pid


def _warm_up() -> None:
    """Import what tests need, and nothing that a fault can be planted in."""
    for name in LIBRARIES:
        with suppress(ImportError):
            import_module(name)


def _wait(pid: int, bound: float) -> int | None:
    """Return how it ended; None: it did not, and was made to, with all that it had started."""
    ended = os.pidfd_open(pid)
    try:
        in_time, _, _ = select([ended], [], [], bound)
        if not in_time:
            _end(pid, ended)
    except BaseException:
        _end(pid, ended)
        raise
    finally:
        os.close(ended)
        _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) if in_time else None


def _end(pid: int, ended: int) -> None:
    os.kill(pid, signal.SIGINT)
    select([ended], [], [], _MERCY)
    for each in [*reversed(_descendants(pid)), pid]:
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def _descendants(pid: int) -> list[int]:
    """Return the ids of a process's children, and of theirs."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, task.read_text().split()):
                found += [child, *_descendants(child)]
    return found
