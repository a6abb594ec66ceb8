"""A load or a drill under way, as the console sees it: a process that says what happens."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.console import StackError
from ops.names import ROOT, state
from ops.panel import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

END_LIMIT = 180.0
"""Seconds for what was broken to be mended: as long as Docker and the nodes may take."""

WORKER = (sys.executable, "-m", "ops.panel.worker")


@dataclass
class Errand:
    """One process, from its start to its end. `heard` is called with each thing that it says."""

    words: Sequence[str]
    heard: Callable[[dict[str, Any]], object]
    ended: Callable[[], object]
    command: Sequence[str] = WORKER

    def start(self) -> None:
        """Begin. Raises StackError when the process cannot be started."""
        file = state(ROOT) / "logs" / "console.log"
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("ab") as errors:
                self._process = subprocess.Popen(
                    [*self.command, *self.words],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    cwd=ROOT,
                    start_new_session=True,  # Ctrl-C is for the console, which ends this in order
                )
        except OSError as error:
            raise StackError(f"The {self.words[0]} cannot be started: {error}") from error
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    @property
    def runs(self) -> bool:
        """Whether it is not over."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Tell it to end, which takes it as long as it needs to mend what it broke."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr] # a pipe, see start

    def wait(self, limit: float = END_LIMIT) -> bool:
        """Wait for its end; say whether it came."""
        self._thread.join(limit)
        return not self.runs

    def _listen(self) -> None:
        try:
            for line in self._process.stdout or ():
                try:
                    self.heard(json.loads(line))
                except ValueError:
                    continue
                except Exception as error:  # noqa: BLE001 - who is not heard to the end is held up
                    log.note(f"what the {self.words[0]} says", error)
        finally:
            self._over()

    def _over(self) -> None:
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr] # pipes, see start
        if code not in {0, 1}:  # it has said nothing of its end
            self.heard({"error": f"It ended with exit code {code}; .holdfast/logs/console.log"})
        self.ended()
