"""Processes that tests start to be found by their names."""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 10.0
"""Seconds until a program that was started has its own name."""


@contextmanager
def running(program: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a copy of `sleep` until the end of the block; it goes by its own name in /proc.

    Popen returns once the kernel has closed what is closed at exec, which is a moment before it
    writes the new name (Linux, fs/exec.c, begin_new_exec).
    """
    with subprocess.Popen([program, "60"]) as process:
        try:
            deadline = time.monotonic() + LIMIT
            comm = Path(f"/proc/{process.pid}/comm")
            while comm.read_text() != f"{Path(program).name}\n":
                assert time.monotonic() < deadline, comm.read_text()
                time.sleep(0.001)
            yield process
        finally:
            process.kill()
