"""deploy/postgres/bin/copies.sh: when a node takes its data for lost, and copies the primary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.shells import Node

NO_START = "copy: PostgreSQL does not start here"
NO_WAY = "copy: PostgreSQL cannot follow the primary"
NO_END = "copy: PostgreSQL ends again and again here"
NO_WAL = "copy: the primary has no longer the WAL that this node needs"

GONE = "requested WAL segment 00000010000000000000003C has already been removed"
ELSEWHERE = "requested starting point 0/3D0000 on timeline 16 is not in this server's history"
REASONS = [
    f"FATAL:  could not receive data from WAL stream: ERROR:  {GONE}",
    f"FATAL:  could not start WAL streaming: ERROR:  {ELSEWHERE}",
    "ERROR:  requested timeline 16 is not in this server's history",
    "LOG:  new timeline 17 forked off current database system timeline 16 before current 0/3D0",
    "LOG:  new timeline 17 is not a child of database system timeline 16",
    "FATAL:  highest timeline 15 of the primary is behind recovery timeline 16",
]

LOOKS = """
cd "$HOME"
mkdir -p log
failed=0 behind=0 begun=0 stayed=0 postmaster= receiver= VOLUME_RESERVE=64
is_wanted() { true; }
a_primary_exists() { true; }
slot_is_lost() { false; }
local_sql() { echo; }
copies_now() { false; }
measure_room() { free=500; }
is_read_only() { false; }
find_postmaster() { postmaster=; }
begin_copy() { echo "copy: $1"; }
says() { # says SECONDS_AGO TEXT
    printf '%s.123 UTC [12] %s\\n' "$(date -u -d "-$1 seconds" '+%F %T')" "$2" \\
        >>"log/postgresql-$(date +%a).log"
}
looks() { for ((look = 0; look < $1; look++)); do look_at_data; done; }
"""
ALIVE = """
touch data/standby.signal
find_postmaster() { postmaster=7; }
is_read_only() { echo on; }
"""


def test_what_does_not_start_for_half_a_minute_is_copied(node: Node) -> None:
    """Six looks; one before it is waited."""
    assert node.run(LOOKS + "looks 5; echo five; looks 1") == f"five\n{NO_START}"


def test_another_postmaster_at_each_look_is_none(node: Node) -> None:
    """It starts and dies again and again."""
    dies = "find_postmaster() { postmaster=$look; }; "
    assert node.run(LOOKS + dies + "looks 6") == NO_START


def test_a_postgresql_that_ends_later_each_time_is_copied(node: Node) -> None:
    """It meets what it cannot replay after some seconds, and is started again: six times."""
    dies = f"{ALIVE}find_postmaster() {{ postmaster=$((look / 3)); }}\n"
    assert node.run(LOOKS + dies + "looks 15; echo five; looks 1") == f"five\n{NO_END}"


def test_a_postgresql_that_stays_or_streams_has_begun(node: Node) -> None:
    """Some restarts are somebody's wish."""
    lives = "find_postmaster() { postmaster=$((look / 30)); }; looks 300"
    assert node.run(LOOKS + ALIVE + lives) == ""
    streams = "find_postmaster() { postmaster=$((look / 3)); }; local_sql() { echo $((look / 2)); }"
    assert node.run(LOOKS + ALIVE + streams + "; looks 90") == ""


def test_who_answers_has_started(node: Node) -> None:
    """Whatever was before: the sixth look may be the first that finds it."""
    answers = "looks 5; is_read_only() { echo on; }; find_postmaster() { postmaster=7; }; looks 3"
    assert node.run(LOOKS + answers) == ""


def test_a_full_volume_is_no_damage(node: Node) -> None:
    """Nothing starts where there is no room, and no copy would: it is waited for room."""
    full = "measure_room() { free=3; }; looks 9; measure_room() { free=500; }; looks 5; echo five"
    assert node.run(LOOKS + full) == "five"


@pytest.mark.parametrize("why", ["is_wanted() { false; }", "copies_now() { true; }"])
def test_what_is_stopped_on_purpose_gets_its_half_minute_later(node: Node, why: str) -> None:
    """A node in maintenance, one that was demoted, or one that is rewound."""
    again = "is_wanted() { true; }; copies_now() { false; }; looks 5; echo five; looks 1"
    assert node.run(f"{LOOKS}{why}\nlooks 20\n{again}") == f"five\n{NO_START}"


def test_only_where_another_accepts_writes(node: Node) -> None:
    """Who is the last one keeps what it has."""
    assert node.run(LOOKS + "a_primary_exists() { false; }; looks 20") == ""
    assert node.run(LOOKS + "is_read_only() { echo off; }; looks 20") == ""


@pytest.mark.parametrize("said", REASONS)
def test_who_says_for_half_a_minute_why_it_cannot_follow_copies(node: Node, said: str) -> None:
    """PostgreSQL runs, answers, and asks for what nobody has, by another receiver each time."""
    script = f'says 1 "{said}"; says 0 "LOG:  other"; local_sql() {{ echo "$look"; }}\n'
    script += "looks 5; echo five; looks 1"
    assert node.run(f"{LOOKS}{ALIVE}{script}") == f"five\n{NO_WAY}"


@pytest.mark.parametrize(
    "but",
    [
        f"says 20 'FATAL:  {GONE}'; says 0 other",
        f"says -60 'FATAL:  {GONE}'",
        f"says 0 'FATAL:  {GONE}'; copies_now() {{ true; }}",
        f"says 0 'FATAL:  {GONE}'; rm data/standby.signal",
        f"says 0 'FATAL:  {GONE}'; local_sql() {{ echo 77; }}",
        f"says 0 '{GONE}@holdfast 172.30.1.31(5) FATAL:  no pg_hba.conf entry for user \"{GONE}\"'",
        f"says 0 'FATAL:  {GONE}@holdfast 172.30.1.31(5) FATAL:  no pg_hba.conf entry'",
        f"says 0 'pgautofailover_replicator@[unknown] 172.30.1.23(4) ERROR:  {GONE}'",
        f"says 0 'holdfast_read@holdfast 172.30.1.31(5) STATEMENT:  SELECT\n\t{GONE}'",
        f"printf '{GONE}\\n' >>log/postgresql-$(date +%a).log",
        "says 0 'LOG:  requested WAL segment 3C'",
        "true",
    ],
    ids=[
        *("long ago", "in the future", "being copied", "a primary", "streaming"),
        *("a stranger's name", "a cunning stranger's", "its own standby", "a statement"),
        *("no date", "something else", "no log"),
    ],
)
def test_who_may_follow_is_left_alone(node: Node, but: str) -> None:
    """Only the node's own words count, of just now, and not against its receiver."""
    assert node.run(f"{LOOKS}{ALIVE}{but}\nlooks 9; echo on") == "on"


def test_a_lost_slot_is_enough(node: Node) -> None:
    """But not where there is no room, or something is received."""
    lost = f"{LOOKS}{ALIVE}slot_is_lost() {{ true; }}\n"
    assert node.run(lost + "looks 2") == NO_WAL
    assert node.run(lost + "measure_room() { free=3; }; looks 3") == ""
    assert node.run(lost + "local_sql() { echo 77; }; looks 3") == ""


# ---------------------------------------------------------------- noting it, and the next life
NOTES = """
cd "$HOME"
keeper=1 created=$HOME/created VOLUME_RESERVE=64
a_primary_exists() { true; }
measure_room() { free=500; }
pause() { true; }
log() { echo "$*"; }
clear() { (clear_for_copy) || echo "again, $?"; ls; }
"""
DATA = "rm -rf bin mounted; echo 1 >data/PG_VERSION; touch created\n"
FOUR = """
may_be_copied() { true; }
kill() { true; }
four() { for _ in 1 2 3 4; do keeper_gave_up; done; }
"""
FULL = "measure_room() { free=3; }\n"


def test_a_reason_that_cannot_be_noted_is_none(node: Node) -> None:
    """Half of it would be one for the next life; and the watch goes on."""
    script = 'ln -s /dev/full copy-anew.new; begin_copy "PostgreSQL ends"; ls copy-anew* || true'
    said = "PostgreSQL ends: no room to note that\nls: cannot access 'copy-anew*'"
    assert node.run(f"{NOTES}exec 2>&1\n{script}").startswith(said)


@pytest.mark.parametrize(
    ("reason", "where"),
    [("PostgreSQL does not start here", "damaged"), ("given up", "given-up-"), ("", "given-up-")],
)
def test_what_was_here_is_kept_where_there_is_room(node: Node, reason: str, where: str) -> None:
    """Under a name that says why; a reason that is not known counts as the worst one."""
    said = node.run(f"{NOTES}{DATA}echo '{reason}' >copy-anew; clear").splitlines()
    assert said[0].startswith(f"what was here is in {node.home}/{where}")
    assert [each for each in said[1:] if not each.startswith("given-up-2")] == sorted(
        {"only-copies", "damaged"} if where == "damaged" else {"only-copies"}
    )


def test_what_is_damaged_goes_where_there_is_no_room(node: Node) -> None:
    """What was kept of the time before goes first."""
    said = node.run(f"{NOTES}{DATA}{FULL}mkdir damaged; echo 'PostgreSQL ends' >copy-anew; clear")
    assert said.endswith("it is removed\nonly-copies")


@pytest.mark.parametrize("reason", ["given up", "", "something else"])
def test_what_was_given_up_stays_where_there_is_no_room(node: Node, reason: str) -> None:
    """Until a person makes some, or says that it may go."""
    note = f"{NOTES}{DATA}{FULL}echo '{reason}' >copy-anew; clear"
    kept, removed = node.run(note + "; touch remove-given-up; clear").split("again, 1\n")
    assert "no room to keep what was given up" in kept
    assert removed.startswith("copy-anew\ncreated\ndata\nonly-copies\n")
    assert removed.endswith("it is removed\nonly-copies")


def test_nothing_goes_while_nobody_could_be_copied(node: Node) -> None:
    """The primary of then may be gone by now, and this be the last of all."""
    nobody = "a_primary_exists() { false; }; echo 'PostgreSQL ends' >copy-anew; clear"
    assert node.run(NOTES + DATA + nobody).endswith("copy-anew\ncreated\ndata\nonly-copies")


def test_who_is_killed_in_between_keeps_what_was_set_aside(node: Node) -> None:
    """The data are moved, the reason is still there."""
    moved = "mv data damaged; echo 'PostgreSQL ends' >copy-anew; clear"
    assert node.run(NOTES + DATA + moved) == "damaged\nonly-copies"


def test_an_operators_word_counts_more_than_a_reason(node: Node) -> None:
    """What is here is wanted as it is: it is copied no more."""
    script = """
        who_is_known() { echo 0 0; }
        forget_killed_processes() { true; }
        register_postgres() { true; }
        of_this_node() { true; }
        touch lead; echo "given up" >copy-anew; await_a_leader; ls"""
    assert node.run(NOTES + DATA + script) == (
        "the primary as it is, by an operator's word\ncreated\ndata"
    )


def test_a_life_without_room_is_no_sign(node: Node) -> None:
    """A keeper ends at once where it cannot write; that is no damage."""
    script = f"{NOTES}{FULL}{FOUR}four; echo none; measure_room() {{ free=500; }}; four"
    none, _, told = node.run(script).partition("none\n")
    assert (none, told.splitlines()[0]) == (
        "",
        "PostgreSQL does not start here: a new copy of the primary is made",
    )


# ---------------------------------------------------------------- what runs beside the keeper
def test_what_ends_is_started_again(node: Node) -> None:
    """Also by a mistake that no condition holds up, as `set -e` has it."""
    script = """
        fails() {
            echo x >>turns
            [ "$(wc -l <turns)" -lt 3 ] || touch "$stopping"
            echo $((1 - $nothing))
        }
        keep fails 2>/dev/null; wc -l <turns"""
    assert node.run(NOTES + script).splitlines() == ["fails has ended; starting it again"] * 2 + [
        "3"
    ]


def test_passwords_are_written_whole_or_not_at_all(node: Node) -> None:
    """Without room those of before are in use."""
    script = """
        secret() { echo "of $1"; }
        write_pgpass; cat .pgpass; ln -s /dev/full .pgpass.new
        write_pgpass 2>/dev/null || echo failed; cat .pgpass; ls -A .pgpass*"""
    passwords = [
        "*:*:*:autoctl_node:of autoctl_node_password",
        "*:*:*:pgautofailover_replicator:of replication_password",
    ]
    assert node.run(NOTES + script).splitlines() == [*passwords, "failed", *passwords, ".pgpass"]


def test_no_secret_at_all_is_no_mistake(node: Node) -> None:
    """They are replaced in a moment."""
    assert node.run("read_passwords; echo on") == "on"
