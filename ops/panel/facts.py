"""What the parts of the stack say at one moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ops.backups.repository import Reach
    from ops.certificates import Certificate
    from ops.cluster import Container
    from ops.events import Event
    from ops.panel.pools import Instance
    from ops.snapshot import Server, Sizes


@dataclass(frozen=True)
class Facts:
    """What the parts say now; None is what nobody says."""

    asking: bool = False  # some part was asked for the first time and may still answer
    containers: list[Container] | None = None
    states: dict[str, Any] | None = None  # the monitor's
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)  # as NODE; only who answers
    holds: dict[str, bool] = field(default_factory=dict)  # proxies: whether it has the virtual IP
    servers: dict[str, list[Server]] = field(default_factory=dict)  # as each proxy sees them
    instances: dict[str, Instance] = field(default_factory=dict)
    edge: bool | None = None
    events: list[Event] | None = None
    sizes: Sizes | None = None
    used: dict[str, int] = field(default_factory=dict)
    leaderless: list[str] = field(default_factory=list)
    tokens: str = ""
    certificates: list[Certificate] = field(default_factory=list)
    backups: Reach | None = None
