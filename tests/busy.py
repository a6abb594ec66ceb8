"""`python -m tests.busy`: tests again and again on a machine that has something else to do.

A test that waits for a condition passes there as well; one that counts on a moment does not. By
hand, as `make check-busy`: a round of all integration tests takes a quarter of an hour.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

BUSY = 4
"""Processes that do nothing, as fast as they can."""

# They end with whoever started them, also when that is killed.
LOOP = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(10**6))"


class Rounds:
    """A plugin: all tests, as many times as there are rounds, one round after another."""

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Repeat what was collected; a session's fixtures last for all of it."""
        items[:] = items * self._rounds


@contextmanager
def busy() -> Iterator[None]:
    """Keep the machine busy within the block."""
    loops = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(BUSY)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def main() -> int:
    """Run the rounds; return pytest's exit code."""
    parser = argparse.ArgumentParser(prog="make check-busy", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--quiet", action="store_true", help="without the busy processes")
    parser.add_argument("tests", nargs="*", default=["tests/integration"])
    options = parser.parse_args()
    os.environ["SOAK_SECONDS"] = os.environ.get("SOAK_SECONDS", "20")
    arguments = ["-q", "-x", "-p", "no:cacheprovider", *options.tests]
    if options.quiet:
        return int(pytest.main(arguments, [Rounds(options.rounds)]))
    with busy():
        return int(pytest.main(arguments, [Rounds(options.rounds)]))


if __name__ == "__main__":
    sys.exit(main())
