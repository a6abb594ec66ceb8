"""How the parts are asked: each in its own bounded way, none holding back another."""

from __future__ import annotations

import json
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from ops import cluster
from ops.cluster import Container
from ops.console import StackError
from ops.panel import asking, changes, parts
from ops.panel.asking import Conversation, LateError, SilentError, get
from ops.panel.part import Part
from ops.panel.parts import Parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LIMIT = 10.0
"""Seconds for what is waited for here."""


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait, a bounded time."""
    until = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < until, f"not within {LIMIT:.0f} s: {what}"
        time.sleep(0.01)


@pytest.fixture
def talk() -> Iterator[Conversation]:
    """A conversation with a shell."""
    conversation = Conversation(["sh"], "echo")
    yield conversation
    conversation.close()


def test_one_program_answers_question_after_question(talk: Conversation) -> None:
    """In one process; that is what makes a question cheap."""
    first = talk.ask("echo $$; echo two", LIMIT)
    assert first.splitlines()[1:] == ["two"]
    assert talk.ask("echo $$", LIMIT) == f"{first.splitlines()[0]}\n"
    assert talk.ask("", LIMIT) == ""
    assert len(talk.ask("seq 100000", LIMIT).split()) == 100_000


def test_silence_ends_in_time_and_a_late_answer_is_dropped(talk: Conversation) -> None:
    """It is never taken for that to another question; the program stays."""
    pid = talk.ask("echo $$", LIMIT)
    begun = time.monotonic()
    for _ in range(2):
        with pytest.raises(SilentError):
            talk.ask("sleep 0.6; echo late", 0.2)
    assert time.monotonic() - begun < 5
    assert talk.ask("echo new", LIMIT) == "new\n"
    assert talk.ask("echo $$", LIMIT) == pid


def test_a_program_that_says_nothing_for_long_is_ended(
    talk: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next question begins anew."""
    monkeypatch.setattr(asking, "GIVEN_UP", 0.3)
    pid = talk.ask("echo $$", LIMIT)
    with pytest.raises(SilentError):
        talk.ask("sleep 60", 0.4)
    assert talk.ask("echo $$", LIMIT) != pid


def test_a_program_that_ends_is_silent_at_once_and_started_again(talk: Conversation) -> None:
    """As psql does where its node is killed."""
    talk.ask("echo there", LIMIT)
    with pytest.raises(SilentError):
        talk.ask("exit 3", LIMIT)
    assert talk.ask("echo again", LIMIT) == "again\n"
    with pytest.raises(SilentError):
        Conversation(["/nowhere/program"], "echo").ask("x", LIMIT)


def test_a_program_that_does_not_come_up_is_not_started_again_at_once(tmp_path: Path) -> None:
    """Each try costs the stack something, while it is busy with a failover."""
    count = tmp_path / "count"
    talk = Conversation(["sh", "-c", f"echo >> {count}; exit 2"], "echo")
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        with pytest.raises(SilentError):
            talk.ask("echo", LIMIT)
    assert len(count.read_text().splitlines()) == 1


def test_a_program_ends_with_its_conversation(talk: Conversation) -> None:
    """Nothing of it stays in a container."""
    pid = int(talk.ask("echo $$", LIMIT))
    talk.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_part_that_hangs_holds_no_other_back() -> None:
    """Its own answer ceases to count; the others' go on."""
    hangs = threading.Event()
    asked = threading.Event()

    def hang() -> str:
        if not asked.is_set():
            asked.set()
            return "before"
        hangs.wait(LIMIT)
        return "late"

    count = iter(range(10**9))
    stuck = Part("stuck", hang, 0.01, 0.4)
    lively = Part("lively", lambda: next(count), 0.01, 0.4)
    for part in (stuck, lively):
        part.start()
    try:
        wait_until(lambda: stuck.answer == "before", "a first answer")
        wait_until(lambda: stuck.answer is None, "an answer that is too old")
        seen = lively.answer
        assert seen is not None
        wait_until(lambda: (lively.answer or 0) > seen, "another answer of the other part")
    finally:
        hangs.set()
        stuck.stop()
        lively.stop()


@pytest.mark.parametrize("late", [LateError("late"), TimeoutError(), StackError("busy")])
def test_one_late_answer_is_no_part_that_is_gone(late: Exception) -> None:
    """What it said before counts for a while: a busy machine is no failover."""
    part = Part("a", Mood(late).ask, 0.01, 60.0)
    assert part.answer is None
    part.look()
    part.look()
    assert part.answer == "one"


@pytest.mark.parametrize("gone", [SilentError("ended"), ConnectionRefusedError()])
def test_what_has_ended_is_gone_at_once(gone: Exception) -> None:
    """Its session has, or nobody listens any more."""
    told: list[str] = []
    part = Part("a", Mood(gone).ask, 0.01, 60.0, lambda: told.append("changed"))
    part.look()
    assert (part.answer, told) == ("one", ["changed"])
    part.look()
    part.look()
    assert (part.answer, told) == (None, ["changed", "changed"])


class Mood:
    """Answers once, and then fails in the same way again and again."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.asked = 0

    def ask(self) -> str:
        """Answer, or fail."""
        self.asked += 1
        if self.asked > 1:
            raise self.error
        return "one"


ENGINE = """#!/bin/sh
case "$1" in
    ps) cat "$STACK/ps" ;;
    inspect) echo "/app1 127.0.0.1 "; echo "/app2 127.0.0.1 " ;;
    events) cat "$STACK/events"; exec sleep 30 ;;
    exec)
        [ "$2" = -i ] || exit 1
        member=$3; shift 3
        [ ! -e "$STACK/$member-is-slow" ] || sleep 1
        echo "$member $1" >> "$STACK/begun"
        case "$1" in
            psql) while read -r line; do
                case "$line" in
                    *last_events*) echo "[]" ;;
                    SELECT*) cat "$STACK/$member" ;;
                    *) echo "${line##* }" ;;
                esac
            done ;;
            sh) PATH="$STACK/bin:$PATH" MEMBER=$member exec sh ;;
        esac ;;
esac
"""
"""Docker, as far as the console asks it: its members say what is in files of their names."""


def ps(*members: str) -> str:
    """Return what `docker ps` prints of members that are healthy."""
    row = {"State": "running", "Status": "Up 1 minute (healthy)", "Labels": ""}
    return "\n".join(json.dumps({"Names": each, **row}) for each in members) + "\n"


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder from which a program called docker answers."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(ENGINE)
    program.chmod(0o755)
    address = tmp_path / "bin" / "ip"
    address.write_text('#!/bin/sh\n[ "$MEMBER" = haproxy2 ] && echo "inet 172.30.0.100/24 eth0"\n')
    address.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("STACK", str(tmp_path))
    for name, text in {
        "ps": ps("pg-monitor", "postgres1", "postgres2", "haproxy1", "haproxy2"),
        "events": "",
        "pg-monitor": '{"last": 7, "nodes": []}\n',
        "postgres1": '{"read_only": "off", "senders": []}\n',
        "postgres2": '{"read_only": "on", "senders": []}\n',
    }.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_parts_are_asked_on_one_session_each(stack: Path) -> None:
    """What they say is there within a second; no second login while the first one lasts."""
    there = Parts(lambda: None)
    there.start()
    try:
        wait_until(lambda: len(there.facts.nodes) == 2, "both nodes")
        wait_until(lambda: there.facts.states == {"last": 7, "nodes": []}, "the monitor")
        wait_until(lambda: len(there.facts.holds) == 2, "both proxies")
        facts = there.facts
        assert facts.nodes["postgres1"]["read_only"] == "off"
        assert facts.holds == {"haproxy1": False, "haproxy2": True}
        assert [each.name for each in facts.containers or []][:2] == ["haproxy1", "haproxy2"]
        (stack / "postgres1").write_text('{"read_only": "on", "senders": []}\n')
        begun = time.monotonic()
        wait_until(lambda: there.facts.nodes["postgres1"]["read_only"] == "on", "the change")
        assert time.monotonic() - begun < 1.0
        logins = (stack / "begun").read_text().splitlines()
        assert logins.count("postgres1 psql") == 1
        assert logins.count("haproxy1 sh") == 1
    finally:
        there.stop()


def test_a_part_that_has_not_answered_yet_is_asked_and_not_silent(stack: Path) -> None:
    """Once each has answered, or failed to, its silence is its own."""
    (stack / "haproxy2-is-slow").touch()
    (stack / "ps").write_text(ps("pg-monitor", "postgres1", "haproxy1", "haproxy2"))
    there = Parts(lambda: None)
    assert there.facts.asking
    there.start()
    try:
        wait_until(lambda: there.facts.nodes, "the node")
        assert there.facts.asking
        wait_until(lambda: not there.facts.asking, "the end of asking")
        assert there.facts.holds == {"haproxy1": False, "haproxy2": True}
    finally:
        there.stop()


def test_a_kill_is_known_as_docker_says_it(stack: Path) -> None:
    """Not when the next look is due."""
    heard: list[tuple[str, str]] = []
    line = {"Action": "die", "Actor": {"Attributes": {"name": "postgres1"}}}
    (stack / "events").write_text("nonsense\n" + json.dumps(line) + "\n")
    listening = changes.Changes(lambda member, word: heard.append((member, word)))
    listening.start()
    try:
        wait_until(lambda: heard, "the event")
    finally:
        listening.stop()
    assert heard == [("postgres1", "die")]


def test_what_a_dead_container_said_counts_no_more() -> None:
    """At once, and not a second later."""
    there = Parts(lambda: None)
    there.nodes["postgres1"]._answer = {"read_only": "off", "senders": []}
    there.nodes["postgres1"]._at = time.monotonic()
    assert there.facts.nodes
    known = [Container(name, "running", "Up (healthy)") for name in ("postgres1", "vip-access")]
    there.containers._answer, there.containers._at = known, time.monotonic()
    there.edge._answer, there.edge._at = True, time.monotonic()
    there._container_changed("postgres1", "kill")  # any signal, SIGHUP included
    assert there.facts.nodes
    there._container_changed("postgres1", "die")
    assert not there.facts.nodes
    assert [each.state for each in there.facts.containers or []] == ["exited", "running"]
    assert there.facts.edge
    there._container_changed("vip-access", "pause")
    assert there.facts.edge is None
    assert [each.state for each in there.facts.containers or []] == ["exited", "paused"]
    assert there.containers._wake.is_set()


def test_the_word_of_an_event_is_without_its_detail() -> None:
    """`health_status: healthy` is a change of health."""
    attributes = {"Actor": {"Attributes": {"name": "app1"}}}
    assert changes.read(json.dumps({"Action": "health_status: healthy", **attributes})) == (
        "app1",
        "health_status",
    )
    assert changes.read(json.dumps({"status": "die", **attributes})) == ("app1", "die")
    assert changes.read("{}") is None
    assert changes.read("[]") is None


def test_an_http_server_that_trickles_is_silent_in_time() -> None:
    """A timeout of each read alone would hear it for ever."""
    import socket  # noqa: PLC0415 - of this test alone

    with socket.create_server(("127.0.0.1", 0)) as server:

        def trickle() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
                try:
                    for _ in range(100):
                        connection.sendall(b"x")
                        time.sleep(0.1)
                except OSError:
                    pass

        thread = threading.Thread(target=trickle)
        thread.start()
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            get("127.0.0.1", server.getsockname()[1], "/", 0.4)
        assert time.monotonic() - begun < 3
        thread.join(LIMIT)


def test_a_look_and_its_answer_fit_into_a_second() -> None:
    """What changes is asked within that; and two slow answers in a row leave no gap."""
    assert parts.OFTEN + parts.LIMIT <= 1.0
    assert parts.OFTEN + 2 * parts.LIMIT < parts.FRESH <= 2.0
    assert parts.LIMIT < cluster.EDGE_LIMIT


def test_what_is_known_better_is_not_overwritten_by_what_is_late() -> None:
    """Docker's list has a container for a moment after it has told of its end."""
    listed = ["postgres1", "postgres2"]
    part = Part("a", lambda: list(listed), 60.0, 60.0)
    part.look()
    part.amend(lambda known: [each for each in known if each != "postgres1"])
    part.start()
    try:
        part.hurry()
        time.sleep(0.1)  # in which it is asked, and says what is over
        assert part.answer == ["postgres2"]
        listed[:] = ["postgres2", "postgres3"]
        wait_until(lambda: part.answer == listed, "the list, once it can be believed")
    finally:
        part.stop()
        part.wait(LIMIT)
