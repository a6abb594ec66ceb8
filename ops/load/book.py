"""The entities that one process of a load has created, and what it knows about each."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

SETTLED = 2.0
"""Seconds until an entity is read without a token: a replica may lag by that much."""

RECENT = 32
"""Entities written last that half of the reads with tokens go to: there a stale read would show."""

CHANGED = 64
"""Entities that changes keep to while these are idle, so that versions grow."""


@dataclass(slots=True)
class Entity:
    """A user, as of its last write that succeeded."""

    email: str
    location: str
    readable: float  # monotonic seconds: when it may be read
    token: str | None
    version: int | None
    tag: str | None


class Book:
    """Entities to read, and entities to change: those that have no change outstanding."""

    def __init__(self) -> None:
        """Begin empty."""
        self._all: list[Entity] = []
        self._settled = 0  # how many of them, from the first, may be read
        self._recent: deque[Entity] = deque(maxlen=RECENT)
        self._idle: list[Entity] = []

    def __len__(self) -> int:
        return len(self._all)

    def add(self, entity: Entity) -> None:
        """Remember a new entity."""
        self._all.append(entity)
        self.put_back(entity)

    def put_back(self, entity: Entity) -> None:
        """Allow changes again; one without a tag to send never has any."""
        if entity.token is not None:
            self._recent.append(entity)
        if entity.tag is not None:
            self._idle.append(entity)

    def take(self) -> Entity | None:
        """Return an entity for a change that nobody else gets until it is put back."""
        if not self._idle:
            return None
        least = max(0, len(self._idle) - CHANGED)
        chosen = random.randrange(least, len(self._idle))  # noqa: S311 - spread, not a secret
        self._idle[chosen], self._idle[-1] = self._idle[-1], self._idle[chosen]
        return self._idle.pop()

    def to_read(self, now: float) -> Entity:
        """Return an entity to read at `now`, in monotonic seconds. Raises IndexError when empty."""
        if self._recent and random.random() < 0.5:  # noqa: S311, PLR2004 - half, see RECENT
            return self._recent[random.randrange(len(self._recent))]  # noqa: S311 - as above
        while self._settled < len(self._all) and self._all[self._settled].readable <= now:
            self._settled += 1
        return self._all[random.randrange(max(1, self._settled))]  # noqa: S311 - as above
