"""One drill at a time on a stack, whoever runs it: two faults at once are another drill."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ops import names
from ops.console import StackError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def alone() -> Iterator[None]:
    """Be the only drill of this checkout's stack. Raises StackError where another one runs."""
    lock = names.state(names.ROOT) / "drill.lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDONLY | os.O_CREAT, 0o644)
    except OSError as error:
        raise StackError(f"{lock}: {error.strerror}; it says whether a drill runs") from error
    try:  # the lock ends with this process, however that ends
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        what = f"another drill runs on the stack '{names.stack()}': wait for its end"
        raise StackError(what) from None
    try:
        yield
    finally:
        os.close(descriptor)
