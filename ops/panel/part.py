"""A part of the stack that is asked again and again, by a thread of its own, and may be silent.

What a part said last counts for so long, then it is as if nobody had said anything; at once where
it is known to be gone. So a part that hangs holds no other one back, and nothing that is drawn is
older than its bound.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from ops.console import StackError
from ops.panel import log
from ops.panel.asking import LateError, SilentError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

SETTLES = 0.5
"""Seconds for which an answer may not know of what it was amended by: Docker tells of a container's
end a moment before its list has it."""


@dataclass
class Part(Generic[T]):
    """One question, asked every `every` seconds; an answer counts for `lasts` seconds.

    `ask` raises StackError, SilentError, OSError or ValueError where there is no answer, and takes
    a bounded time itself.
    """

    name: str
    ask: Callable[[], T]
    every: float
    lasts: float
    changed: Callable[[], object] = lambda: None
    """Called when an answer differs from the one before, or is known to count no more."""

    done: Callable[[], object] = lambda: None
    """Called when nothing is asked any more."""

    asked: bool = False
    """Whether it has answered, or failed to, at all: else that there is no answer says nothing."""

    _answer: T | None = None
    _at: float = 0.0  # monotonic seconds: when the answer was asked for
    _amended: float = -SETTLES  # monotonic seconds
    _wake: threading.Event = field(default_factory=threading.Event)
    _over: bool = False
    _thread: threading.Thread | None = None

    @property
    def answer(self) -> T | None:
        """What it says; None: nobody says."""
        answer, at = self._answer, self._at
        return answer if time.monotonic() - at <= self.lasts else None

    def start(self) -> None:
        """Begin to ask."""
        self._thread = threading.Thread(target=self._run, name=f"part-{self.name}", daemon=True)
        self._thread.start()

    def hurry(self) -> None:
        """Ask now: there is a reason to think that the answer is another."""
        self._wake.set()

    def stop(self) -> None:
        """Ask no more; the thread ends with the question that it has under way."""
        self._over = True
        self._wake.set()

    def wait(self, limit: float) -> None:
        """Wait so many seconds at most for that."""
        if self._thread is not None:
            self._thread.join(limit)

    def look(self) -> None:
        """Ask once."""
        try:
            self._look()
        except Exception as error:  # noqa: BLE001 - it has to be asked again, whatever happened
            log.note(f"part {self.name}", error)
        finally:
            self.asked = True

    def _look(self) -> None:
        begun = time.monotonic()
        before = self.answer
        try:
            answer = self.ask()
        except (LateError, TimeoutError, StackError, ValueError):
            return  # what it said before counts until it is too old: it may be busy
        except (SilentError, OSError):
            if before is not None:
                self.forget()  # it has ended, or refuses
            return
        if answer is None or begun < self._amended + SETTLES:
            return
        self._answer, self._at = answer, begun
        if answer != before:
            self.changed()

    def amend(self, change: Callable[[T], T]) -> None:
        """Change what it said: something is known that it has not been asked about yet."""
        answer = self._answer
        if answer is not None:
            self._answer, self._amended = change(answer), time.monotonic()
            self.changed()

    def forget(self) -> None:
        """Let what it said count no more: it is known to be gone."""
        self._at = 0.0
        self.changed()

    def _run(self) -> None:
        while not self._over:
            self.look()
            settled = self._amended + SETTLES - time.monotonic()
            self._wake.wait(min(self.every, settled) if settled > 0 else self.every)
            self._wake.clear()
        self.done()
