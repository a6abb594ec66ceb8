"""A load or a drill as a process of its own: `python -m ops.panel.worker load`, or `drill NAME`.

It says what happens in JSON, a line each, and ends in an orderly way when its standard input does:
so a console that dies leaves nothing broken behind. What others print goes to standard error.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops import cluster, machine, names, settings
from ops.console import StackError
from ops.drills.faults import PAIR
from ops.drills.runner import run_one
from ops.drills.three import drills
from ops.load.operation import Kind
from ops.load.plan import Plan
from ops.load.run import HURRY, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ops.drills.session import Session
    from ops.load.operation import Operation

WRITES, READS = 20.0, 40.0
"""Requests a second: what a machine of two cores can do beside the stack without being felt."""

TELL = 0.1
"""Seconds between two looks at what is new."""

LONGEST = 3600.0
"""Seconds after which a load ends by itself: it keeps all its requests in memory."""

KEEP = Path(".holdfast/drills")


class Teller:
    """Says what happens, on the standard output that this process was given."""

    def __init__(self) -> None:
        """Take standard output for itself alone."""
        self._output = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._lock = threading.Lock()
        self.unheard = False  # whoever heard this is gone

    def say(self, **what: Any) -> None:  # noqa: ANN401 - whatever JSON can carry
        """Say one thing, if anybody hears it. Standard input says when to end, not this."""
        if self.unheard:
            return
        try:
            with self._lock:
                self._output.write(json.dumps(what) + "\n")
                self._output.flush()
        except OSError:
            self.unheard = True


class Follower:
    """Says what runs have recorded since it was asked last."""

    def __init__(self, runs: Iterable[Run], say: Callable[..., None]) -> None:
        """Begin with what they recorded first."""
        self._runs = list(runs)
        self._told = [0] * len(self._runs)
        self._marks = 0
        self._say = say

    def tell(self) -> None:
        """Say what is new. All runs of a session have the same marks: those of the first count."""
        for number, run in enumerate(self._runs):
            if operations := run.told_after(self._told[number]):
                self._told[number] += len(operations)
                self._say(seen=[_seen(one, run.started) for one in operations if one.due >= 0])
            if number == 0:
                self._tell_marks(run)

    def _tell_marks(self, run: Run) -> None:
        for mark in run.marks[self._marks :]:
            self._marks += 1
            self._say(mark=[run.started + mark.at, mark.kind, mark.what])


def _seen(one: Operation, started: float) -> list[Any]:
    kind = "read" if one.kind is Kind.READ else "write"
    due, ended = round(started + one.due, 4), round(started + one.completed, 4)
    return [kind, due, ended, str(one.outcome)]


def load(teller: Teller) -> None:
    """Send a load until standard input ends."""
    plan = Plan(base_url=cluster.service_url(), writes_per_second=WRITES, reads_per_second=READS)
    with Run(plan) as run:
        follower = Follower([run], teller.say)
        teller.say(phase="running")
        try:
            while not run.wait(TELL) and run.now < LONGEST:
                follower.tell()
                if teller.unheard:
                    raise StackError("nobody hears it")
        finally:
            run.stop(HURRY)
            follower.tell()


def drill(teller: Teller, name: str) -> None:
    """Run a drill, and say its verdict."""
    fault = drills(_data_nodes()).get(name)
    if fault is None:
        raise StackError(f"{name} needs three data nodes: `./holdfast node add`")
    lacks = machine.lacks(machine.measure())
    teller.say(phase="waiting for a whole stack", lacks=list(lacks))
    plan = Plan(base_url=cluster.service_url(), writes_per_second=WRITES, reads_per_second=READS)
    followers: list[Follower] = []
    over = threading.Event()

    def begun(session: Session) -> None:
        teller.say(phase="clients are at work")
        followers.append(Follower(session.runs, teller.say))
        threading.Thread(target=follow, daemon=True).start()

    def follow() -> None:
        while not over.wait(TELL):
            followers[0].tell()

    keep = KEEP / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{names.prefix()}{name}"
    try:
        done = run_one(fault, plan, keep, lacks, begun)
    finally:
        over.set()
    for follower in followers:
        follower.tell()
    teller.say(verdict={**asdict(done), "ok": done.ok, "kept": str(keep)})


def _data_nodes() -> int:
    """Return the number of data nodes; two, while the engine does not say: a drill waits for it."""
    try:
        return len(cluster.nodes_there())
    except StackError:
        return PAIR


def _end_with_input() -> None:
    """Interrupt this process when standard input ends."""

    def wait() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=wait, daemon=True).start()


def _end_with_a_signal() -> None:
    """Be interrupted by the first signal, and by no other: then it ends, and mends."""
    came: list[int] = []

    def interrupt(number: int, _: object) -> None:
        came.append(number)
        if len(came) == 1:
            raise KeyboardInterrupt

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, interrupt)


def main(words: list[str]) -> int:
    """Do what the words say."""
    _end_with_a_signal()
    teller = Teller()
    begun = time.monotonic()
    try:
        _end_with_input()
        settings.adopt(names.ROOT)
        if words[0] == "load":
            load(teller)
        else:
            drill(teller, words[1])
    except (StackError, OSError) as error:
        teller.say(error=str(error))
        return 1
    except KeyboardInterrupt:
        teller.say(error=f"Stopped after {time.monotonic() - begun:.0f} s.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
