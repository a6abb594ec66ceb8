"""A load as a program holds it: start it, break things meanwhile, stop it, have the history.

    with Run(Plan(writes_per_second=20, reads_per_second=80)) as run:
        time.sleep(3)
        run.mark("kill -9 postgres1", "fault")
        ...
    report = summarize(run.stop())

Its processes are spawned: a script that does this at its top needs `if __name__ == "__main__":`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Self

from ops.load.driver import SEEDS_LIMIT
from ops.load.messages import Batch, Broken, Go, Ready, Stop
from ops.load.operation import Mark, Operation
from ops.load.plan import LoadError, Plan
from ops.load.worker import work

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from ops.load.selfcheck import SelfCheck

START_LIMIT = SEEDS_LIMIT + 30.0
"""Seconds for all processes to be ready; starting Python takes one of them."""

LEAD = 0.3
"""Seconds between the last process's readiness and the start that all of them share."""

HURRY = 1.0
"""Seconds that answers are still waited for after Ctrl-C, or when the program failed."""

GRACE = 5.0
"""Seconds beyond its limit after which a process is killed."""

POLL = 0.2
"""Seconds between two looks at whether all is over."""


@dataclass(frozen=True, slots=True)
class Result:
    """A load that is over. `problems`: sentences on what is missing from it; none is good."""

    plan: Plan
    started: float  # Unix time of the start, for people
    seconds: float  # from the start until no more was sent, or a stop was asked for
    operations: list[Operation]  # by due time; those of the preparation are below 0
    marks: list[Mark]
    checks: list[SelfCheck]
    problems: list[str]


@dataclass
class _Process:
    number: int
    process: SpawnProcess
    pipe: Connection
    ready: bool = False
    over: bool = False
    told: float = 0.0  # when its last operation that is known was over
    check: SelfCheck | None = None


@dataclass
class Run:
    """A load on processes of its own, for as long as its `with` block is, or its plan says.

    All methods may be called from any thread. Leaving the block stops the load: in an orderly way,
    or at once when the program failed or was interrupted. No process outlives it.
    """

    plan: Plan
    _operations: list[Operation] = field(default_factory=list, repr=False)
    _marks: list[Mark] = field(default_factory=list, repr=False)
    _problems: list[str] = field(default_factory=list, repr=False)
    _processes: list[_Process] = field(default_factory=list, repr=False)
    _result: Result | None = field(default=None, repr=False)
    _stopped: float | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop(None if kind is None else HURRY)

    def start(self) -> Self:
        """Start the processes, and return when requests are about to leave.

        Raises LoadError when the service takes no write, or a process does not come up.
        """
        self._ready = threading.Event()
        self._collector = threading.Thread(target=self._collect, daemon=True)
        try:
            self._spawn()
            self._collector.start()
            self._prepared()
        except BaseException:
            self._kill()
            raise
        self._began, self._started = time.monotonic() + LEAD, time.time() + LEAD
        for one in self._processes:
            self._tell(one, Go(self._began))
        return self

    @property
    def now(self) -> float:
        """Seconds since the load's start."""
        return time.monotonic() - self._began

    @property
    def started(self) -> float:
        """When the load started, in Unix time."""
        return self._started

    @property
    def operations(self) -> list[Operation]:
        """What is known so far, up to a few tenths of a second ago, in the order it was told."""
        return self.told_after(0)

    def told_after(self, count: int) -> list[Operation]:
        """Return what was told after the first `count` operations, in the same order."""
        return self._operations[count:]

    @property
    def marks(self) -> list[Mark]:
        """The moments that were noted so far."""
        return self._marks.copy()

    @property
    def over(self) -> bool:
        """Whether all processes have ended, and everything they had to say is known."""
        return all(one.over for one in self._processes)

    def mark(self, what: str, kind: str = "event") -> Mark:
        """Note that something happens now; `kind` is fault, undone or event."""
        made = Mark(self.now, what, kind)
        self._marks.append(made)
        return made

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the load is over, at most so many seconds; say whether it is."""
        limit = None if seconds is None else time.monotonic() + seconds
        while not self.over and (limit is None or time.monotonic() < limit):
            time.sleep(POLL)
        return self.over

    def stop(self, drain: float | None = None) -> Result:
        """Send no more, wait up to `drain` seconds for answers, end all processes.

        None waits as long as the clients are patient (`Plan.patience`). Write requests that have
        no answer by then are UNKNOWN. Takes GRACE seconds more at most. Asked again, it returns
        the same.
        """
        if self._result is None:
            drain = self.plan.patience if drain is None else drain
            try:
                self._end(drain)
            finally:
                self._kill()
            self._result = self._made()
        return self._result

    def _end(self, drain: float) -> None:
        self._stopped = self.now
        for one in self._processes:
            if not one.over:
                self._tell(one, Stop(drain))
        if not self.wait(drain + GRACE):
            late = ", ".join(str(one.number) for one in self._processes if not one.over)
            self._problems.append(f"Processes that did not stop in time were killed: {late}.")

    def _made(self) -> Result:
        ends = [self._stopped or 0.0, self.plan.seconds or float("inf")]
        return Result(
            plan=self.plan,
            started=self._started,
            seconds=min(ends),
            operations=sorted(self._operations, key=lambda one: one.due),
            marks=list(self._marks),
            checks=[one.check for one in self._processes if one.check is not None],
            problems=list(self._problems),
        )

    def _spawn(self) -> None:
        context = multiprocessing.get_context("spawn")
        for number in range(self.plan.processes):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=work, args=(self.plan, number, theirs), name=f"load-{number}", daemon=True
            )
            process.start()
            theirs.close()  # so that its end is heard of
            self._processes.append(_Process(number, process, ours))

    def _prepared(self) -> None:
        """Wait for all processes to be ready."""
        in_time = self._ready.wait(START_LIMIT)
        if self._problems or not in_time:
            raise LoadError(" ".join(self._problems) or "The load's processes do not start.")

    def _tell(self, one: _Process, word: Go | Stop) -> None:
        with contextlib.suppress(OSError):  # it has ended; the collector says how
            one.pipe.send(word)

    def _kill(self) -> None:
        """End whatever is left. A process whose pipe is closed ends by itself, too."""
        for one in self._processes:
            if one.process.is_alive() and not one.over:
                one.process.kill()
            one.process.join(GRACE)
        if self._collector.is_alive():
            self._collector.join(GRACE)
        for one in self._processes:
            one.pipe.close()

    def _collect(self) -> None:
        """Hear what the processes say until all have ended."""
        while True:
            pipes = {one.pipe: one for one in self._processes if not one.over}
            if not pipes:
                self._ready.set()
                return
            for pipe in wait(list(pipes)):
                self._hear(pipes[pipe])  # type: ignore[index]

    def _hear(self, one: _Process) -> None:
        try:
            message = one.pipe.recv()
        except (EOFError, OSError):
            self._died(one)
            return
        match message:
            case Ready():
                one.ready = True
            case Batch(operations, check, last):
                self._take(one, operations)
                one.check, one.over = check, last
            case Broken(reason, operations):
                self._take(one, operations)
                self._problems.append(f"Process {one.number} gave up: {reason}")
                one.over = True
        if self._problems or all(each.ready for each in self._processes):
            self._ready.set()

    def _take(self, one: _Process, operations: list[Operation]) -> None:
        self._operations += operations
        one.told = max([one.told, *(each.completed for each in operations)])

    def _died(self, one: _Process) -> None:
        """Report a process that ended without a word."""
        one.process.join(GRACE)
        self._problems.append(
            f"Process {one.number} died (exit code {one.process.exitcode}): what it sent after "
            f"{one.told:.1f} s is missing, writes included."
        )
        one.over = True
        self._ready.set()
