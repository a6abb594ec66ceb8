"""What the checker says of a history, in words that need no knowledge of the checker."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ops.load.operation import Kind, Operation, Outcome


class Rule(StrEnum):
    """What a history may break. All but the second are defects."""

    LOST = "lost"  # acknowledged, and not there in the end
    LOST_AS_WARNED = "lost as warned"  # the same, but the answer had said `Durability: local`
    TWICE = "twice"  # one write has had more than one effect
    STALE = "stale"  # a read is older than its token
    NEVER_WRITTEN = "never written"  # seen, though nobody had written it by then
    PHANTOM = "phantom"  # seen, though its write was answered with: nothing was changed
    LOST_UPDATE = "lost update"  # two writes have made the same version
    REORDERED = "reordered"  # a later write has got an earlier version
    STRANGER = "stranger"  # a conditional change of a version that its client had not seen
    IMPOSSIBLE = "impossible"  # a write without answer can neither have happened nor not have


class Resolution(StrEnum):
    """What became of a write whose client does not know."""

    DONE = "done"
    NOT_DONE = "not done"
    CANNOT_TELL = "cannot tell"  # nothing contradicts either: overwritten, and never read


@dataclass(frozen=True, slots=True)
class Finding:
    """One breach of one rule."""

    rule: Rule
    entity: str
    sentence: str
    operations: tuple[Operation, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found, and how much there was to find it in."""

    findings: tuple[Finding, ...]
    lost_as_warned: tuple[Finding, ...]
    operations: Mapping[tuple[Kind, Outcome], int]
    acknowledged: int  # writes
    resolved: Mapping[Resolution, int]  # writes of unknown outcome

    @property
    def ok(self) -> bool:
        """Whether everything that was promised was kept."""
        return not self.findings

    @property
    def broken(self) -> Mapping[Rule, int]:
        """How often each rule was broken; those that held are absent."""
        return Counter(finding.rule for finding in self.findings)

    def of(self, rule: Rule) -> list[Finding]:
        """Return the findings of one rule."""
        everything = (*self.findings, *self.lost_as_warned)
        return [finding for finding in everything if finding.rule is rule]
