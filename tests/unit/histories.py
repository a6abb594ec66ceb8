"""Legal histories: a model of the service, its clients and its faults, run by a clock of its own.

Everything happens that docs/semantics.md allows: writes overlap, take effect late or never, are
tried again with and without a key; readers are behind; a primary that was alone is lost, with what
it had said would be lost with it, and what is in hand then is applied anew, refused or given up.
"""

from __future__ import annotations

import heapq
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING

from ops.drills.history import History, Row
from ops.load.operation import Kind, Operation, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

END = 100.0
ALONE = (40.0, 60.0)  # the primary is without a standby, and then lost
TAKEN = (Outcome.FAILED, 409, "urn:holdfast:problem:email-in-use")
CHANGED = (Outcome.FAILED, 412, "urn:holdfast:problem:changed-meanwhile")
ABSENT = (Outcome.FAILED, 404, "urn:holdfast:problem:not-found")
HELD = (Outcome.FAILED, 503, "urn:holdfast:problem:unavailable")
LEFT = (Outcome.UNKNOWN, None, "ReadTimeout")


@dataclass
class Request:
    """A write that a client has sent."""

    operation: Operation
    primary: int = 0  # which one has applied it last
    result: tuple[Outcome, int | None, str] = LEFT
    version: int | None = None
    tag: str | None = None
    durable: bool = True


@dataclass
class World:
    """The database, its past, and clients with what they know."""

    random: Random
    requests: int
    entities: int
    loss: bool = False
    revisions: bool = True  # False: a tag is a number, which may be given again
    names: int = 10**9  # how many values there are
    now: float = 0.0
    primary: int = 0
    states: dict[str, list[str]] = field(default_factory=dict)  # version n is at n - 1
    etags: dict[str, list[str]] = field(default_factory=dict)  # of these versions
    standby: tuple[dict[str, list[str]], ...] = ()  # what it has of both
    known: dict[str, tuple[int, str]] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    done: list[Operation] = field(default_factory=list)
    events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    applied: dict[str, int] = field(default_factory=dict)  # how often each value was written
    order: count[int] = field(default_factory=count)

    def run(self) -> History:
        """Let everything happen until nothing is left to."""
        if self.loss:
            self.at(ALONE[0], self._leave_alone)
            self.at(ALONE[1], self._lose)
        for number in range(self.entities):
            self.at(self.random.uniform(0, 20), lambda name=f"user-{number}": self._create(name))
        for _ in range(self.requests):
            self.at(self.random.uniform(0, END), self._send)
        while self.events:
            self.now, _, happen = heapq.heappop(self.events)
            happen()
        final = [Row(name, past[-1], len(past)) for name, past in self.states.items()]
        self.random.shuffle(self.done)
        return History(self.done, final, alone=self.loss)

    def at(self, when: float, happen: Callable[[], None]) -> None:
        """Let something happen at a time."""
        heapq.heappush(self.events, (when, next(self.order), happen))

    def _leave_alone(self) -> None:
        self.standby = deepcopy((self.states, self.etags))

    def _lose(self) -> None:
        self.states, self.etags = self.standby
        self.primary += 1

    def _send(self) -> None:
        name = f"user-{self.random.randrange(self.entities)}"
        kinds = [self._create, self._change, self._read]
        self.random.choices(kinds, weights=[1, 8, 10])[0](name)

    def _operation(self, kind: Kind, name: str) -> Operation:
        duration = self.random.choice([0.01, 1.0, 10.0]) * self.random.random()
        return Operation(
            kind, name, self.now, self.now, self.now + duration, Outcome.UNKNOWN, error="?"
        )

    def _create(self, name: str) -> None:
        self._write(self._operation(Kind.CREATE, name))

    def _change(self, name: str) -> None:
        draft = self._operation(Kind.CHANGE, name)
        if name in self.known and self.random.random() < 0.5:
            expected, condition = self.known[name]
            draft = replace(draft, expected=expected, condition=condition)
        self._write(draft)

    def _write(self, draft: Operation) -> None:
        value = f"name-{next(self.order) % self.names}"
        keyed, tries = self.random.random() < 0.8, self.random.choice([1, 1, 1, 2, 3])
        request = Request(replace(draft, value=value, keyed=keyed, tries=tries))
        fate = self.random.choices(["answered", "refused", "unknown"], weights=[14, 1, 3])[0]
        if fate == "refused":
            request.result = HELD
        else:
            self._apply_later(request, unknown=fate == "unknown")
        self.at(draft.completed, lambda: self._complete(request, fate))

    def _apply_later(self, request: Request, *, unknown: bool) -> None:
        operation = request.operation
        until = self.random.choice([operation.completed, END]) if unknown else operation.completed
        times = 1 if operation.keyed else operation.tries
        for number in range(times):
            certain = not unknown and number == 0
            if certain or self.random.random() < 0.5:
                moment = self.random.uniform(self.now, max(until, self.now))
                self.at(moment, lambda: self._apply(request))

    def _apply(self, request: Request) -> None:
        operation, past = request.operation, self.states.setdefault(request.operation.entity, [])
        request.primary = self.primary
        if operation.kind is Kind.CREATE:
            request.result = TAKEN if past else (Outcome.OK, 201, "")
        elif not past:
            request.result = ABSENT
        elif operation.condition not in {None, self.etags[operation.entity][-1]}:
            request.result = CHANGED
        else:
            request.result = (Outcome.OK, 200, "")
        if request.result[0] is Outcome.OK:
            assert operation.value is not None
            past.append(operation.value)
            self.applied[operation.value] = self.applied.get(operation.value, 0) + 1
            request.version, request.durable = len(past), not self._is_alone()
            request.tag = f"{len(past)}-{next(self.order) if self.revisions else ''}"
            self.etags.setdefault(operation.entity, []).append(request.tag)
        if not past:
            del self.states[operation.entity]

    def _is_alone(self) -> bool:
        return self.loss and ALONE[0] <= self.now < ALONE[1]

    def _complete(self, request: Request, fate: str) -> None:
        if fate == "answered" and request.primary != self.primary:
            self._go_on(request)
        operation = request.operation
        outcome, status, error = LEFT if fate == "unknown" else request.result
        operation = replace(operation, outcome=outcome, status=status, error=error)
        if outcome is Outcome.OK:
            operation = replace(
                operation, version=request.version, durable=request.durable, tag=request.tag
            )
            assert request.version is not None
            assert request.tag is not None
            self.known[operation.entity] = request.version, request.tag
            self.tokens[operation.entity] = request.version
        self.done.append(operation)

    def _go_on(self, request: Request) -> None:
        """Treat what a lost primary may have had: apply it anew, refuse it, or give it up."""
        if not request.operation.keyed:
            request.result = LEFT
        elif self.random.random() < 0.5:
            self._apply(request)
        else:
            request.result = self.random.choice([HELD, LEFT])

    def _read(self, name: str) -> None:
        draft = self._operation(Kind.READ, name)
        token = self.tokens.get(name) if self.random.random() < 0.6 else None
        draft = replace(draft, expected=token)
        moment = self.random.uniform(self.now, draft.completed)
        self.at(moment, lambda: self._look(draft))

    def _look(self, draft: Operation) -> None:
        past = self.states.get(draft.entity, [])
        least = min(draft.expected or 0, len(past))
        version = self.random.choice([len(past), self.random.randint(least, len(past))])
        found = (
            replace(draft, outcome=Outcome.OK, status=200, error="", version=version)
            if version
            else replace(draft, outcome=Outcome.OK, status=404)
        )
        if version:
            tag = self.etags[draft.entity][version - 1]
            found = replace(found, value=past[version - 1], tag=tag)
        failed = self.random.random() < 0.05
        read = draft if failed else found
        self.at(draft.completed, lambda: self._note(read))

    def _note(self, read: Operation) -> None:
        if read.version is not None and read.tag is not None:
            self.known[read.entity] = read.version, read.tag
        self.done.append(read)
