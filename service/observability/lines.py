"""Log lines, written in batches by a thread: a slow reader never holds the event loop up.

A pipe that nobody reads would stop the process in the middle of a request. Here lines wait in
memory, up to a bound; what comes beyond it is dropped and counted, and the count is a line of its
own. Whoever ends the process closes the writer, which writes what is left.
"""

import select
import threading
from collections import deque
from collections.abc import Iterator
from typing import TextIO

BATCH = 0.05
"""Seconds for which lines are gathered after the first."""

HELD_MOST = 32 * 1024**2
"""Characters that wait for a slow reader at most, of all processes of an instance."""

CLOSE_BOUND = 5.0
"""Seconds for what is left at the end."""


class LineWriter:
    """A stream for loggers, safe from all threads."""

    def __init__(self, stream: TextIO, *, writers: int = 1) -> None:
        """`writers`: processes that write to the same pipe. No line ends up in another."""
        self._stream = stream
        self._shared = writers > 1
        self._held_most = HELD_MOST // writers
        self._lines: deque[str] = deque()
        self._taken = 0  # characters, ever
        self._written = 0
        self._dropped = 0
        self._work = threading.Event()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-lines", daemon=True)
        self._thread.start()

    def write(self, text: str) -> int:
        """Take a line, its newline included."""
        if self._taken - self._written > self._held_most:
            self._dropped += 1  # two threads at once may count as one
            return len(text)
        self._taken += len(text)
        self._lines.append(text)
        if not self._work.is_set():
            self._work.set()
        return len(text)

    def flush(self) -> None:
        """Nothing: lines go out by themselves."""

    def close(self, bound: float = CLOSE_BOUND) -> None:
        """Write what is left, for up to `bound` seconds."""
        self._ends.set()
        self._work.set()
        self._thread.join(bound)

    def _run(self) -> None:
        while not self._ends.is_set():
            self._work.wait()
            self._ends.wait(BATCH)
            self._work.clear()
            self._write_out()

    def _write_out(self) -> None:
        text = "".join(self._lines.popleft() for _ in range(len(self._lines)))
        size = len(text)
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            text += f'{{"event":"log lines dropped","level":"error","lines":{dropped}}}\n'
        try:
            for part in pieces(text) if self._shared else (text,):
                self._stream.write(part)
                self._stream.flush()
        except (OSError, ValueError):
            pass  # nobody reads any more, and nobody could be told
        self._written += size


def pieces(text: str) -> Iterator[str]:
    """Return whole lines, as many at a time as a pipe takes in one go, whoever else writes.

    A line that is longer comes alone: it can be torn only when the pipe is full.
    """
    held: list[str] = []
    size = 0
    # At this alone: other characters that end a line may be in one.
    for line in [f"{each}\n" for each in text.split("\n")[:-1]]:
        length = len(line.encode())
        if held and size + length > select.PIPE_BUF:
            yield "".join(held)
            held, size = [], 0
        held.append(line)
        size += length
    if held:
        yield "".join(held)
