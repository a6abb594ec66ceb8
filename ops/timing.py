"""How long a request is held on the stack, by timing profile: the one number that others follow.

| what                                                  | follows REQUEST_DEADLINE             |
|-------------------------------------------------------|--------------------------------------|
| HEALTH_GRACE, SHUTDOWN_TIMEOUT (service/settings.py)  | by themselves, unless they are set   |
| timeouts of HAProxy and nginx, `stop_grace_period`,   | fixed, for the longest deadline that |
| limits of commands that stop containers               | `make up` lets pass                  |

tests/unit/test_timing.py holds all of them against each other.
"""

from __future__ import annotations

from ops.console import StackError

DEADLINES = {"fast": "15", "safe": "45"}
"""Seconds, longer than the profile's failover (2 to 4 s, 20 to 25 s)."""

DEADLINE_MOST = 50.0
"""Seconds: HAProxy waits 60 for an instance, and an answer may be 2 late."""


def deadline(profile: str, chosen: str | None) -> str:
    """Return the seconds for a profile, or what an operator chose. Raises StackError."""
    if chosen is None:
        return DEADLINES[profile]
    try:
        fits = 0 < float(chosen) <= DEADLINE_MOST
    except ValueError:
        fits = False
    if not fits:
        raise StackError(
            f"REQUEST_DEADLINE is '{chosen}'; it must be a number of seconds above 0 and at most "
            f"{DEADLINE_MOST:g}, as the proxies in front of the service wait no longer"
        )
    return chosen
