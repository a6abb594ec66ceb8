"""deploy/postgres/bin/heal.sh: when a data node takes its data for lost, and copies the primary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.shells import Node

CANNOT_START = "copy: PostgreSQL does not start here"
CANNOT_FOLLOW = "copy: PostgreSQL cannot follow the primary"
STREAM = "could not receive data from WAL stream: ERROR:  "
GONE = f"{STREAM}requested WAL segment 00000010000000000000003C has already been removed"
ELSEWHERE = (
    "could not start WAL streaming: ERROR:  requested starting point 0/3D000000 on timeline 16"
    " is not in this server's history"
)
FORKED = (
    "new timeline 17 forked off current database system timeline 16 before current recovery point"
    " 0/3D000000"
)
BEHIND = "highest timeline 15 of the primary is behind recovery timeline 16"

LOOKS = """
failed_lives=$HOME/failed-lives failed=0 behind=0 postmaster= VOLUME_RESERVE=64
may_be_copied() { true; }
slot_is_lost() { false; }
local_sql() { echo 1; }
copies_now() { false; }
measure_room() { free=500; }
is_read_only() { false; }
find_postmaster() { postmaster=; }
begin_copy() { echo "copy: $1"; }
cd "$HOME"
mkdir log
says() { # says SECONDS_AGO TEXT
    printf '%s.123 UTC [12] FATAL:  %s\\n' "$(date -u -d "-$1 seconds" '+%F %T')" "$2" \\
        >>"log/postgresql-$(date +%a).log"
}
looks() { for ((look = 0; look < $1; look++)); do look_at_data; done; }
"""
ALIVE = "find_postmaster() { postmaster=7; }; is_read_only() { echo on; }\n"


def test_what_does_not_start_for_half_a_minute_is_copied(node: Node) -> None:
    """Six looks; one before it is waited."""
    assert node.run(LOOKS + "looks 5; echo five; looks 1") == f"five\n{CANNOT_START}"


def test_another_postmaster_at_each_look_is_none(node: Node) -> None:
    """It starts and dies again and again."""
    dies = "find_postmaster() { postmaster=$look; }; "
    assert node.run(LOOKS + dies + "looks 6") == CANNOT_START


def test_who_answers_has_started(node: Node) -> None:
    """Whatever was before: the sixth look may be the first that finds it."""
    answers = "looks 5; is_read_only() { echo on; }; find_postmaster() { postmaster=7; }; looks 3"
    assert node.run(LOOKS + answers) == ""


def test_a_full_volume_is_no_damage(node: Node) -> None:
    """Nothing starts where there is no room, and no copy would: it is waited for room."""
    full = "measure_room() { free=3; }; looks 9; measure_room() { free=500; }; looks 5; echo five"
    assert node.run(LOOKS + full) == "five"


@pytest.mark.parametrize("text", [GONE, ELSEWHERE, FORKED, BEHIND])
def test_who_says_for_half_a_minute_why_it_cannot_follow_copies(node: Node, text: str) -> None:
    """PostgreSQL runs, answers, and asks for what nobody has."""
    said = f'says 1 "{text}"; says 0 other; looks 5; echo five; looks 1'
    assert node.run(f"{LOOKS}{ALIVE}touch data/standby.signal\n{said}") == f"five\n{CANNOT_FOLLOW}"


@pytest.mark.parametrize(
    ("said", "runs"),
    [
        (f"says 20 '{GONE}'; says 0 other", "touch data/standby.signal"),
        ("says 0 'requested WAL segment 3C'", "touch data/standby.signal"),
        (f"says 0 '{GONE}'", "copies_now() { true; }; touch data/standby.signal"),
        (f"says 0 '{GONE}'", "true"),
        ("true", "touch data/standby.signal"),
    ],
    ids=["long ago", "something else", "being copied", "a primary", "no log"],
)
def test_who_follows_is_left_alone(node: Node, said: str, runs: str) -> None:
    """What was said before counts no more; a keeper that rewinds is let do it."""
    assert node.run(f"{LOOKS}{ALIVE}{runs}\n{said}\nlooks 9") == ""


def test_a_reason_that_cannot_be_noted_ends_no_watch(node: Node) -> None:
    """The node would start again on what it has: it goes on looking instead."""
    script = 'copy_anew=$HOME/none/copy-anew keeper=1\nbegin_copy "why" 2>/dev/null\necho goes on'
    assert node.run(script) == "goes on"
