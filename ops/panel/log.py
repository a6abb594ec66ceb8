"""The console's log: what nobody expected, a line each. What goes on, the page says."""

from __future__ import annotations

import contextlib
import threading
from datetime import UTC, datetime

from ops import names

_last: dict[str, str] = {}
_lock = threading.Lock()


def note(who: str, error: Exception) -> None:
    """Note an error; once, while it is the same one again and again."""
    what = f"{type(error).__name__}: {error}".replace("\n", " ")
    with _lock, contextlib.suppress(OSError):
        if _last.get(who) == what:
            return
        _last[who] = what
        log = names.state(names.ROOT) / "logs" / "console.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {who}: {what}\n")
