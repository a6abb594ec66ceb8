"""A load of two kinds of clients on the real stack, and the faults that strike it meanwhile.

The plain client sends no key and never sends again; the careful one does both. Each keeps its own
history. One session is one drill, or a soak of many.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from ops import cluster, names, operate
from ops.drills.history import Row
from ops.drills.stage import Stage, docker
from ops.load.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ops.drills.faults import Fault
    from ops.load.plan import Plan
    from ops.load.run import Result
    from ops.snapshot import Snapshot

SETTLE = 3.0
"""Seconds of load before a fault and after the stack is whole again."""


@dataclass(frozen=True)
class Behaviour:
    """What tells one kind of client from another; the fields are those of a Plan."""

    keyed: bool
    retries: bool
    reckless: bool = False


PLAIN = Behaviour(keyed=False, retries=False)
CAREFUL = Behaviour(keyed=True, retries=True)
CARELESS = Behaviour(keyed=False, retries=True, reckless=True)

CLIENTS: Mapping[str, Behaviour] = {"plain": PLAIN, "careful": CAREFUL}

THROUGH_PROXY = ("psql", "-qAt", "-c")
ROWS = "SELECT json_build_array(email, name, version) FROM users WHERE starts_with(email, '{}-')"


@dataclass(frozen=True)
class Strike:
    """One fault within a session; times in seconds after the load's start."""

    fault: Fault
    struck: float  # when it began
    measured: float  # from when on it is looked at: the same, unless the fault says otherwise
    mended: float  # when mending began; with nothing to mend, when the fault was over
    whole: float  # when nothing of the stack was missing any more
    ended: float  # when the next one may come
    moved: bool  # whether the primary's role did, there and back included

    @property
    def redundant_after(self) -> float:
        """Seconds from the beginning of the mending to full redundancy."""
        return self.whole - self.mended


class Session:
    """Both clients at work, as long as the block runs."""

    def __init__(
        self,
        plan: Plan,
        load: float = 1.0,
        clients: Mapping[str, Behaviour] = CLIENTS,
        whole: Callable[[Snapshot], bool] = lambda now: now.whole,
    ) -> None:
        """Share `plan`'s rates, times `load`, among clients; `whole` is what to come back to.

        More than the plan's rates goes to the virtual IP: RATE_LIMIT would bound it at the edge.
        """
        self._whole = whole
        url = f"http://{cluster.vip()}" if load > 1 else plan.base_url
        share = load / len(clients)
        self._runs = {
            name: Run(
                replace(
                    plan,
                    base_url=url,
                    prefix=f"{plan.prefix}-{name}",
                    writes_per_second=plan.writes_per_second * share,
                    reads_per_second=plan.reads_per_second * share,
                    keyed=behaviour.keyed,
                    retries=behaviour.retries,
                    reckless=behaviour.reckless,
                )
            )
            for name, behaviour in clients.items()
        }
        self.strikes: list[Strike] = []

    def __enter__(self) -> Self:
        """Start the load on a whole stack, and let it settle."""
        operate.wait_for("a whole stack", operate.WHOLE_LIMIT, self._whole, settled=True)
        with ExitStack() as blocks:
            for run in self._runs.values():
                blocks.enter_context(run)
            self._blocks = blocks.pop_all()
        time.sleep(SETTLE)
        return self

    def __exit__(self, *details: object) -> None:
        """Stop the load, whatever happened."""
        self._blocks.__exit__(*details)  # type: ignore[arg-type]

    @property
    def runs(self) -> list[Run]:
        """The clients' loads, for whoever looks on."""
        return list(self._runs.values())

    @property
    def now(self) -> float:
        """Seconds since the load's start."""
        return next(iter(self._runs.values())).now

    def mark(self, what: str, kind: str = "event") -> None:
        """Note a moment in both timelines."""
        for run in self._runs.values():
            run.mark(what, kind)

    def strike(self, fault: Fault) -> Strike:
        """Apply a fault, hold it, mend it, wait for a whole stack, and go on for a little while.

        Raises StackError when the stack does not become whole; the fault is mended even then.
        """
        limit, awaited = operate.WHOLE_LIMIT, f"a whole stack before {fault.name}"
        before, _ = operate.wait_for(awaited, limit, self._whole, settled=True)
        struck, measured, undone = self.now, [self.now], []

        def mark(what: str, kind: str) -> None:
            if kind == "undone":
                undone.append(self.now)
            self.mark(what, kind)

        with Stage(before, mark, lambda: measured.append(self.now), fault.hold) as stage:
            fault.inject(stage)
            time.sleep(fault.hold)
        mended = undone[0] if undone else self.now
        awaited = f"a whole stack after {fault.name}"
        now, _ = operate.wait_for(awaited, limit, self._whole, settled=True)
        whole = self.now
        self.mark("whole again", "undone")
        time.sleep(SETTLE)
        moved = (now.primary, now.timeline) != (before.primary, before.timeline)
        strike = Strike(fault, struck, measured[-1], mended, whole, self.now, moved)
        self.strikes.append(strike)
        return strike

    @property
    def title(self) -> str:
        """What was done to the stack, for headings."""
        names = list(dict.fromkeys(strike.fault.name for strike in self.strikes))
        return names[0] if len(names) == 1 else f"{len(self.strikes)} faults"

    def stop(self) -> dict[str, Result]:
        """Stop the load; return what each client knows."""
        return {name: run.stop() for name, run in self._runs.items()}


def rows(prefix: str, container: str | None = None) -> list[Row]:
    """Return what the primary's database has of one client's entities, or a container's own.

    Raises StackError.
    """
    own = ("psql", "--no-psqlrc", "-qAt", "-d", "holdfast", "-c")
    asked = (container, *own) if container else (names.container(cluster.CLIENT), *THROUGH_PROXY)
    there = docker("exec", *asked, ROWS.format(prefix))
    return [Row(*json.loads(line)) for line in there.splitlines()]
