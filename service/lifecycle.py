"""Whether this process is on its way out; set by the server, read by /health."""

from dataclasses import dataclass


@dataclass(slots=True)
class Lifecycle:
    """The state of the process."""

    draining: bool = False  # a stop was asked for: out of rotation, but still serving


TRACES_BOUND = 2.0
"""Seconds for the traces that are left at the end."""
