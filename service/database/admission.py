"""Bounds how many units of work there are at a time.

While the database fails over every one of them is held. Past the limit new ones are refused at
once: a failover under load must not eat the memory, nor end in a herd that no database can serve.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import Overloaded


class Admission:
    """Counts the units of work. Everything runs on one event loop: no locks."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0  # units of work in progress, served or waiting

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Count one within the block. Raises Overloaded when there are `limit` already."""
        if self.held >= self.limit:
            raise Overloaded(f"{self.held} units of work are held already", kind="overloaded")
        self.held += 1
        try:
            yield
        finally:
            self.held -= 1
