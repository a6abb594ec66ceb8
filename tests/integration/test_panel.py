"""What the console asks the nodes, asked of real ones: a primary and its hot standby."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ops import snapshot
from ops.panel.asking import Conversation, SilentError
from ops.panel.parts import NODE, _line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.embedded import EmbeddedStack
    from ops.embedded.postgres import Node

LIMIT = 10.0
"""Seconds for an answer."""


def session(node: Node) -> Conversation:
    """Return a session of psql as the console has one, here without a container around it."""
    url = f"postgresql://postgres@{node.address}/postgres"
    return Conversation([str(node._binaries / "psql"), "--no-psqlrc", "-qAt", url], "\\echo")


@pytest.fixture
def sessions(disturbed_stack: EmbeddedStack) -> Iterator[tuple[Conversation, Conversation]]:
    """Sessions to the primary and to the standby."""
    both = session(disturbed_stack.primary), session(disturbed_stack.standby)
    yield both
    for each in both:
        each.close()


def asked(conversation: Conversation) -> dict[str, Any]:
    """Return what a node says."""
    said: dict[str, Any] = json.loads(conversation.ask(_line(NODE), LIMIT))
    return said


def test_one_session_sees_a_promotion(
    disturbed_stack: EmbeddedStack, sessions: tuple[Conversation, Conversation]
) -> None:
    """PostgreSQL says for each statement anew whether it is read-only, and whom it sends to."""
    primary, standby = map(asked, sessions)
    assert primary["read_only"] == "off"
    assert [each["state"] for each in primary["senders"]] == ["streaming"]
    assert snapshot.senders_of(primary["senders"])
    assert standby == {"read_only": "on", "senders": []}
    disturbed_stack.primary.kill()
    with pytest.raises(SilentError):
        sessions[0].ask(_line(NODE), LIMIT)
    disturbed_stack.standby.promote()
    assert asked(sessions[1]) == {"read_only": "off", "senders": []}


def test_a_session_that_hangs_is_silent_in_time(
    disturbed_stack: EmbeddedStack, sessions: tuple[Conversation, Conversation]
) -> None:
    """As to a node that was frozen; when it goes on, the next question is answered."""
    asked(sessions[0])
    disturbed_stack.primary.pause()
    try:
        with pytest.raises(SilentError, match="in time"):
            sessions[0].ask(_line(NODE), 0.5)
    finally:
        disturbed_stack.primary.resume()
    assert asked(sessions[0])["read_only"] == "off"
