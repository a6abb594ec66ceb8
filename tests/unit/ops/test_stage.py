"""The means to break and to mend: what Docker is told, and what is never touched."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from ops.console import StackError
from ops.drills import stage as module
from ops.drills.stage import Stage, docker
from ops.snapshot import Node, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PRIMARY = Node("postgres2", "primary", "primary", healthy=True, lsn="0/1", timeline=1)
STANDBY = Node("postgres1", "secondary", "secondary", healthy=True, lsn="0/1", timeline=1)
BEFORE = Snapshot(nodes=[STANDBY, PRIMARY], writable=["postgres2"], vip_holder="haproxy2")


class Docker:
    """Notes what Docker is told; answers what a test has prepared, by the command's first words."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.texts: list[str] = []
        self.answers: dict[str, str | Exception] = {}

    def __call__(self, *arguments: str, text: str | None = None) -> str:
        """Answer a command."""
        command = " ".join(arguments)
        self.told.append(command)
        if text is not None:
            self.texts.append(text)
        answers = (answer for words, answer in self.answers.items() if command.startswith(words))
        answer = next(answers, "")
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Docker:
    """A Docker engine with nothing in it."""
    engine = Docker()
    monkeypatch.setattr(module, "docker", engine)
    return engine


def stage(before: Snapshot = BEFORE) -> tuple[Stage, list[str]]:
    """Make a stage, and the list that its marks go to."""
    marks: list[str] = []
    return Stage(before, lambda what, kind: marks.append(f"{kind}: {what}"), lambda: None), marks


# ---------------------------------------------------------------- roles
@pytest.mark.parametrize(
    ("role", "before", "said"),
    [
        ("primary", Snapshot(nodes=[STANDBY, PRIMARY]), "no primary"),
        ("standby", Snapshot(nodes=[PRIMARY], writable=["postgres2"]), "no standby"),
        ("proxy", Snapshot(), "nobody holds the virtual IP"),
    ],
)
def test_a_role_that_nobody_has_cannot_be_struck(role: str, before: Snapshot, said: str) -> None:
    """Which is said, before anything is broken."""
    broken, _ = stage(before)
    with pytest.raises(StackError, match=said):
        getattr(broken, role)


# ---------------------------------------------------------------- names
def test_a_stack_with_another_name_breaks_its_own(
    engine: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Containers have its prefix, in every command; people read of members."""
    monkeypatch.setenv("NAME", "second")
    engine.answers = {
        "inspect --format {{.State": "running",
        "inspect": "10.0.0.2\n",
        "exec holdfast-cut": "eth0\n",
        "ps": "1234\n",
    }
    broken, marks = stage()
    with broken:
        broken.kill("postgres1", "app1")
        broken.freeze("app2")
        broken.kill_process("haproxy1", "haproxy", "pidof haproxy")
        broken.cut("postgres2", "postgres1")
        broken.lose("haproxy2", 5)
        broken.stall("psql-client")
        broken.empty("pg-monitor")
        broken.damage("postgres1")
        broken.fill("postgres1")
    members = {"postgres1", "postgres2", "app1", "app2", "haproxy1", "haproxy2", "pg-monitor"}
    members.add("psql-client")
    said = [word.split(":")[-1] for command in engine.told for word in command.split()]
    assert not members & set(said)
    assert {f"second-{name}" for name in members} <= set(said)
    assert not any("second" in mark for mark in marks)


# ---------------------------------------------------------------- signals
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("early", [True, False], ids=["mend", "exit"])
def test_nobody_ends_a_mending(
    engine: Docker, monkeypatch: pytest.MonkeyPatch, number: int, *, early: bool
) -> None:
    """What is broken is mended first, all of it; then the signal counts, and the next ones do."""
    before = signal.signal(number, signal.default_int_handler)
    try:

        def told(*arguments: str, text: str | None = None) -> str:
            if arguments[0] == "start":
                os.kill(os.getpid(), number)
                os.kill(os.getpid(), number)
            return engine(*arguments, text=text)

        monkeypatch.setattr(module, "docker", told)
        broken, _ = stage()

        def strike() -> None:
            with broken:
                broken.kill("postgres1")
                broken.kill("app1")
                if early:
                    broken.mend()

        with pytest.raises(KeyboardInterrupt):
            strike()
        assert engine.told[-2:] == ["start app1", "start postgres1"]
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize(
    "strike",
    [
        lambda broken: broken.kill("app1"),
        lambda broken: broken.freeze("app1"),
        lambda broken: broken.kill_process("app1", "it", "pidof it"),
    ],
    ids=["kill", "freeze", "process"],
)
def test_nothing_breaks_after_it_was_mended(
    engine: Docker, monkeypatch: pytest.MonkeyPatch, strike: Callable[[Stage], None]
) -> None:
    """What the engine was told to break it breaks, also where nobody waits for its word."""
    engine.answers = {"inspect": "paused"}

    def told(*arguments: str, text: str | None = None) -> str:
        if arguments[0] in {"kill", "pause", "exec"}:
            os.kill(os.getpid(), signal.SIGINT)
        return engine(*arguments, text=text)

    monkeypatch.setattr(module, "docker", told)
    broken, _ = stage()

    def run() -> None:
        with broken:
            strike(broken)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert engine.told[0].split()[0] in {"kill", "pause", "exec"}
    assert engine.told[-1].split()[0] in {"start", "unpause"}


def test_a_stage_mends_in_any_thread(engine: Docker) -> None:
    """Where signals are not its own."""
    broken, _ = stage()
    broken.kill("app1")
    thread = threading.Thread(target=broken.mend)
    thread.start()
    thread.join(10)
    assert engine.told[-1] == "start app1"


def test_ctrl_c_is_not_for_dockers_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal sends it to all of its process group: one that mends would end with it."""
    program = tmp_path / "docker"
    program.write_text(f"#!{sys.executable}\nimport os\nprint(os.getpgrp())\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert int(docker("start", "app1")) != os.getpgrp()


# ---------------------------------------------------------------- processes
def test_killed_processes_come_back_with_their_container(engine: Docker) -> None:
    """The shell in the container says which ones they are."""
    broken, marks = stage()
    with broken:
        broken.kill_process("haproxy2", "haproxy", "pidof haproxy")
    assert engine.told == [
        "exec haproxy2 sh -c kill -9 $(pidof haproxy)",
        "start haproxy2",
    ]
    assert marks == ["fault: haproxy in haproxy2 killed", "undone: haproxy2 runs"]


@pytest.mark.parametrize(
    ("state", "mended"), [("paused\n", ["unpause a"]), ("exited\n", ["start a"]), ("running\n", [])]
)
def test_a_frozen_container_runs_again(engine: Docker, state: str, mended: list[str]) -> None:
    """Also one that has been killed meanwhile; one that runs is left alone."""
    engine.answers = {"inspect": state}
    broken, _ = stage()
    with broken:
        broken.freeze("a")
    assert engine.told == ["pause a", "inspect --format {{.State.Status}} a", *mended]


def test_mending_early_leaves_nothing_to_mend(engine: Docker) -> None:
    """What was mended within the fault is not mended again at its end."""
    broken, marks = stage()
    with broken:
        broken.kill("a", "b")
        broken.mend()
        broken.note("on it goes")
    assert engine.told == ["kill a b", "start a b"]
    assert marks == ["fault: a, b killed", "undone: a, b started", "event: on it goes"]


# ---------------------------------------------------------------- the network
def test_a_container_is_cut_off_at_every_device_but_the_loopback(engine: Docker) -> None:
    """All packets, in and out; the helper shares its network and mends it if the drill dies."""
    engine.answers = {"exec holdfast-cut-a ls": "eth0\nlo\neth1\n", "ps": "1234\n"}
    broken, marks = stage()
    with broken:
        broken.cut("a")
        run, _, rules = engine.told
    assert "--network container:a " in run
    assert run.endswith(f"sleep {module.CUT_MOST}; {module.MEND}")
    assert rules == "exec --interactive holdfast-cut-a nft -f -"
    assert [line.split() for line in engine.texts[0].splitlines() if "hook" in line] == [
        f"type filter hook {way} device {device} priority 0; drop;".split()
        for device in ("eth0", "eth1")
        for way in ("ingress", "egress")
    ]
    assert engine.told[3:] == [
        "ps --quiet --filter name=^holdfast-cut-a$",
        f"exec holdfast-cut-a sh -c {module.MEND}",
        "rm --force holdfast-cut-a",
    ]
    assert marks == ["fault: a cut off", "undone: a connected again"]


def test_two_containers_are_cut_off_from_each_other_alone(engine: Docker) -> None:
    """Only what goes to the other's address, or comes from there, is dropped."""
    engine.answers = {"inspect": "10.0.0.2\n", "exec holdfast-cut-a ls": "eth0\n"}
    broken, marks = stage()
    with broken:
        broken.cut("a", "b")
    assert engine.told[0].startswith("inspect")
    assert engine.told[0].endswith(" b")
    assert "ip saddr 10.0.0.2 drop;" in engine.texts[0]
    assert "ip daddr 10.0.0.2 drop;" in engine.texts[0]
    assert marks == ["fault: a cut off from b", "undone: a connected again"]


def test_a_share_of_the_packets_is_lost_both_ways(engine: Docker) -> None:
    """Drawn anew for each; the helper lasts longer than the fault."""
    engine.answers = {"exec holdfast-cut-a ls": "eth0\n"}
    broken, marks = stage()
    broken.hold = 600.0
    with broken:
        broken.lose("a", 5)
    assert f"sleep {module.CUT_MOST + 600}; " in engine.told[0]
    assert engine.texts[0].count("numgen random mod 100 < 5 drop;") == 2
    assert marks == ["fault: a loses 5 % of its packets", "undone: a connected again"]


def test_a_stall_is_as_long_as_it_was_asked_for(engine: Docker) -> None:
    """One helper stops and wakes: no command stands between, and none is left to mend."""
    broken, marks = stage()
    broken.hold = 1.5
    with broken:
        broken.stall("a")
    (run,) = engine.told
    assert "--pid container:a " in run
    assert run.endswith("kill -STOP -1; sleep 1.5; kill -CONT -1")
    assert marks == ["fault: a stands still", "undone: a goes on"]


def test_a_cut_that_has_ended_by_itself_needs_no_mending(engine: Docker) -> None:
    """Its helper is gone then."""
    broken, _ = stage()
    with broken:
        broken.cut("a")
        before = len(engine.told)
    assert engine.told[before:] == ["ps --quiet --filter name=^holdfast-cut-a$"]


def test_the_helper_goes_also_when_the_network_cannot_be_mended(engine: Docker) -> None:
    """Its rules are the namespace's: the next container of that name has another one."""
    engine.answers = {"ps": "1234", "exec holdfast-cut-a sh": StackError("nft fails")}
    broken, _ = stage()
    broken.cut("a")
    with pytest.raises(StackError, match="nft fails"):
        broken.mend()
    assert engine.told[-1] == "rm --force holdfast-cut-a"


# ---------------------------------------------------------------- volumes
def test_a_volume_is_given_back_after_it_was_filled(engine: Docker) -> None:
    """Room first: a node whose volume is full cannot be stopped in an orderly way."""
    calls: list[tuple[str, str]] = []

    def note(name: str) -> Callable[..., None]:
        return lambda node, told: calls.append((name, node)) if told is engine else None

    with pytest.MonkeyPatch.context() as patch:
        for name in ("bound", "fill", "make_room", "unbound"):
            patch.setattr(module.volume, name, note(name))
        broken, marks = stage()
        with broken:
            broken.bound("a")
            broken.fill("a")
    assert calls == [("bound", "a"), ("fill", "a"), ("make_room", "a"), ("unbound", "a")]
    assert marks == [
        "event: a on a small volume",
        "fault: no room on the volume of a",
        "undone: room on the volume of a",
        "undone: a on its own volume",
    ]


# ---------------------------------------------------------------- Docker's words
@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Let `docker` be a shell script."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    def write(script: str) -> None:
        path = tmp_path / "docker"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o700)

    return write


def test_what_docker_prints_is_returned(program: Callable[[str], None]) -> None:
    """It is given the words and the text; a byte that is no text does not matter."""
    program('echo "$@"; cat; printf "\\377"')
    assert docker("exec", "a", "nft", text="rules") == "exec a nft\nrules\N{REPLACEMENT CHARACTER}"


def test_an_error_has_the_first_line_of_a_command(program: Callable[[str], None]) -> None:
    """As much as fits, and Docker's own words: some commands carry a script."""
    program("echo no such container >&2; exit 1")
    with pytest.raises(StackError, match=r"^docker exec a sh -c set -e: no such container$"):
        docker("exec", "a", "sh", "-c", "set -e\nmount --bind\n")
    with pytest.raises(StackError) as told:
        docker("exec", "x" * 500)
    assert len(str(told.value)) < 200


def test_a_command_that_does_not_end_is_an_error(
    program: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says which one."""
    monkeypatch.setattr(module, "DOCKER_LIMIT", 0.1)
    program("exec sleep 10")
    with pytest.raises(StackError, match="docker pause took longer than"):
        docker("pause", "a")
