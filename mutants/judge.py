"""Runs the tests of a mutant, in a copy of the project, until one fails."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mutants.mutation import Mutant

START = 60.0  # seconds for Python, the imports and the fixtures of a session
_SLOWER = 5.0  # how much longer tests may take than when they were measured
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

    def judge(self, mutant: Mutant, tests: Iterable[str]) -> tuple[Fate, str]:
        """Return what becomes of a mutant, and the test that killed it."""
        ordered = sorted(tests, key=lambda test: self._order(mutant.path, test))
        if not ordered:
            return Fate.NOT_COVERED, ""
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
        names, output = self._tree / ".mutants.tests", self._tree / ".mutants.output"
        names.write_text("\n".join(tests))
        longest = max(self._took[test] for test in tests)
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=line"]
        command += ["-p", "no:cacheprovider", f"--timeout={START + _SLOWER * longest:.0f}"]
        environment = {**os.environ, "HYPOTHESIS_PROFILE": "mutants"}
        bound = START + _SLOWER * sum(self._took[test] for test in tests)
        with output.open("w") as written:
            process = subprocess.Popen(
                [*command, f"@{names}"],
                cwd=self._tree,
                env=environment,
                stdout=written,
                stderr=subprocess.STDOUT,
            )
            code = _wait(process, bound)
        return code, output.read_text(errors="replace")


def _wait(process: subprocess.Popen[bytes], bound: float) -> int | None:
    """Return how it ended; None: it did not, and was made to, with all that it had started."""
    try:
        return process.wait(bound)
    except subprocess.TimeoutExpired:
        code = None
    except BaseException:
        _end(process)
        raise
    _end(process)
    return code


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_MERCY)
    for pid in [*reversed(_descendants(process.pid)), process.pid]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _descendants(pid: int) -> list[int]:
    """Return the ids of a process's children, and of theirs."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, task.read_text().split()):
                found += [child, *_descendants(child)]
    return found
