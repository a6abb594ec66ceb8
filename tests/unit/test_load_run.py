"""A load keeps its schedule whatever the server does, and its processes end with it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ops.load import driver
from ops.load.calibrate import calibrate
from ops.load.null import Answer, Asked, NullServer, listening, serving
from ops.load.operation import Kind, Operation, Outcome
from ops.load.plan import LoadError, Plan
from ops.load.request import GIVEN_UP, Sender
from ops.load.run import Run

ROOT = Path(__file__).parents[2]
LIMIT = 30.0
"""Seconds; generous, measured is under 2."""


class Stalling:
    """Answers nothing for some seconds, once, from `after` seconds after the first read."""

    def __init__(self, after: float, seconds: float) -> None:
        self._began: float | None = None
        self.waiting = 0
        self._after, self._seconds = after, seconds

    async def __call__(self, asked: Asked) -> Answer | None:
        """Wait until the stall is over, if it is on."""
        now = time.monotonic()
        if self._began is None and asked.method == "GET":
            self._began = now
        into = -1.0 if self._began is None else now - self._began - self._after
        if 0 <= into < self._seconds:
            self.waiting += 1
            await asyncio.sleep(self._seconds - into)
        return None


async def driven(plan: Plan) -> list[Operation]:
    """What one process's driver tells of a load, here in this process."""
    told: list[Operation] = []
    async with Sender(plan) as sender:
        one = driver.Driver(plan, 0, sender, told.append)
        await one.prepare()
        await one.run(time.monotonic(), asyncio.Event())
        await one.drain(LIMIT)
    return told


async def test_a_stall_is_seen_by_all_that_were_due_meanwhile() -> None:
    """Open loop: the server's second of silence stops nobody from asking."""
    stalling = Stalling(after=0.3, seconds=1.0)
    async with listening(NullServer(stalling)) as url:
        plan = Plan(base_url=url, writes_per_second=20, reads_per_second=40, seconds=1.5)
        told = [one for one in await driven(plan) if one.due >= 0]
    assert len(told) == 90
    assert {one.outcome for one in told} == {Outcome.OK}
    assert stalling.waiting >= 35  # of the 60 that are due in a second; all came while it lasted
    assert sum(one.latency > 0.25 for one in told) >= 35
    assert 0.8 < max(one.latency for one in told) < LIMIT


async def test_changes_follow_on_each_other() -> None:
    """Each expects the version before; values are never written twice."""
    server = NullServer()
    async with listening(server) as url:
        plan = Plan(base_url=url, writes_per_second=150, reads_per_second=50, seconds=0.7)
        told = await driven(plan)
    changes = [one for one in told if one.kind is Kind.CHANGE]
    assert len(changes) > 20
    assert all(one.expected is not None and one.version == one.expected + 1 for one in changes)
    assert {one.condition for one in changes} < {one.tag for one in told}
    assert None not in {one.condition for one in changes}
    values = [one.value for one in told if one.kind is not Kind.READ]
    assert len(set(values)) == len(values)
    reads = [one for one in told if one.kind is Kind.READ]
    assert all((one.version or 0) >= (one.expected or 0) > 0 for one in reads)


async def test_without_versions_there_are_no_changes() -> None:
    """A service that sends no ETag gets creates only."""

    class Old(NullServer):
        async def answer(self, asked: Asked) -> Answer:
            made = await super().answer(asked)
            lacks = {"version", "etag"}
            body = {name: value for name, value in (made.body or {}).items() if name not in lacks}
            headers = {name: value for name, value in made.headers.items() if name != "ETag"}
            return Answer(made.status, body, headers)

    server = Old()
    async with listening(server) as url:
        plan = Plan(base_url=url, writes_per_second=50, reads_per_second=50, seconds=0.5)
        told = await driven(plan)
    assert {one.kind for one in told} == {Kind.CREATE, Kind.READ}
    assert {one.outcome for one in told} == {Outcome.OK}
    assert {one.version for one in told} == {None}


async def test_a_change_in_doubt_is_the_last_of_its_entity() -> None:
    """Nobody knows which version to expect."""

    async def doubt(asked: Asked) -> Answer | None:
        return Answer(500, {}) if asked.method == "PATCH" else None

    server = NullServer(doubt)
    async with listening(server) as url:
        plan = Plan(base_url=url, writes_per_second=60, reads_per_second=0, seconds=0.5)
        told = await driven(plan)
    changed = [one.entity for one in told if one.kind is Kind.CHANGE]
    assert changed
    assert len(set(changed)) == len(changed)


def test_a_run_on_two_processes_with_marks() -> None:
    """A program starts it, marks what it does, and has the whole history afterwards."""
    with serving(NullServer()) as url:
        plan = Plan(base_url=url, writes_per_second=20, reads_per_second=40, processes=2)
        with Run(plan) as run:
            time.sleep(0.7)
            mark = run.mark("kill -9 postgres1", "fault")
            seen = len(run.operations)
        result = run.stop()
    assert result is run.stop()
    assert seen > 0
    assert result.marks == [mark]
    assert (mark.at, mark.kind) == (pytest.approx(result.seconds, abs=LIMIT), "fault")
    assert not result.problems
    assert len(result.checks) == 2
    sent = [one for one in result.operations if one.due >= 0]
    assert len(sent) > 20
    assert len({(one.kind is Kind.READ, one.due) for one in sent}) == len(sent)
    assert {one.entity.split("-")[2] for one in sent} == {"0", "1"}
    assert {one.outcome for one in result.operations} == {Outcome.OK}


def test_a_process_that_dies_is_reported() -> None:
    """Not waited for, and the others' history is kept."""
    with serving(NullServer()) as url:
        plan = Plan(base_url=url, writes_per_second=40, reads_per_second=0, processes=2)
        with Run(plan) as run:
            victim = run._processes[1].process.pid
            assert victim is not None
            os.kill(victim, signal.SIGKILL)
            time.sleep(0.3)
        result = run.stop()
    assert ["Process 1 died (exit code -9)" in one for one in result.problems] == [True]
    assert any(one.due >= 0 for one in result.operations)


def test_a_stop_does_not_wait_for_a_deaf_server() -> None:
    """What had no answer by then is in the history, in doubt."""
    deaf = threading.Event()

    async def behave(_: Asked) -> Answer | None:
        if deaf.is_set():
            await asyncio.sleep(LIMIT)
        return None

    with serving(NullServer(behave)) as url:
        plan = Plan(base_url=url, writes_per_second=20, reads_per_second=0)
        with Run(plan) as run:
            deaf.set()
            time.sleep(0.6)
            began = time.monotonic()
            result = run.stop(drain=0.2)
            assert time.monotonic() - began < LIMIT / 2
    assert not result.problems
    given_up = [one for one in result.operations if one.error == GIVEN_UP]
    assert given_up
    assert {one.outcome for one in given_up} == {Outcome.UNKNOWN}


def test_a_load_on_nothing_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what it tried, instead of reporting a service that fails."""
    monkeypatch.setattr(driver, "SEEDS_LIMIT", 0.5)

    async def prepared() -> None:
        async with Sender(Plan(base_url="http://127.0.0.1:1")) as sender:
            await driver.Driver(Plan(), 0, sender, print).prepare()

    with pytest.raises(LoadError, match=r"no user could be created at .*: ConnectError"):
        asyncio.run(prepared())


def test_no_process_outlives_its_parent() -> None:
    """Also when the parent is killed and can do nothing about it."""
    with serving(NullServer()) as url:
        program = (
            "import time\n"
            "from ops.load.plan import Plan\n"
            "from ops.load.run import Run\n"
            f"run = Run(Plan(base_url={url!r})).start()\n"
            "print(run._processes[0].process.pid, flush=True)\n"
            "time.sleep(60)\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT
        ) as parent:
            assert parent.stdout is not None
            child = int(parent.stdout.readline())
            parent.kill()
    limit = time.monotonic() + LIMIT
    while _alive(child):
        assert time.monotonic() < limit
        time.sleep(0.05)


def _alive(process: int) -> bool:
    """Whether it runs; a zombie that nobody has waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_ctrl_c_ends_the_command_with_a_report(tmp_path: Path) -> None:
    """In a moment, with what was seen until then, also as a page."""
    reading = threading.Event()

    async def behave(asked: Asked) -> Answer | None:
        if asked.method == "GET":
            reading.set()
        return None

    with serving(NullServer(behave)) as url:
        page = tmp_path / "page.html"
        command = [sys.executable, "-m", "ops.cli", "load", "--url", url, "--html", str(page)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
        ) as parent:
            assert reading.wait(LIMIT)
            os.killpg(parent.pid, signal.SIGINT)  # as a terminal does: the children, too
            said, _ = parent.communicate(timeout=LIMIT)
    assert parent.returncode == 0
    assert "requests failed" in said
    assert page.read_text().startswith("<!doctype html>")


def test_calibration_finds_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps are told, and the highest that was kept is the result."""
    monkeypatch.setattr("ops.load.calibrate.MOST", 200.0)
    told: list[float] = []
    found = calibrate(seconds=0.3, note=lambda step: told.append(step.rate))
    assert told == [step.rate for step in found.steps]
    assert found.rate in {0.0, 200.0}  # a busy machine may keep none


@pytest.mark.parametrize("status", [401, 403])
def test_a_service_that_asks_for_a_token_is_called_that(status: int) -> None:
    """At once, with the variable and the command that makes one; not "is the stack up?"."""

    async def refuse(_: Asked) -> Answer | None:
        return Answer(status, {"type": "urn:holdfast:problem:unauthorized"})

    begun = time.monotonic()
    with serving(NullServer(refuse)) as url, pytest.raises(LoadError) as refused:
        Run(Plan(base_url=url)).start()
    assert "HOLDFAST_TOKEN=$(./holdfast access add" in str(refused.value)
    assert f"({status})" in str(refused.value)
    assert "stack up" not in str(refused.value)
    assert time.monotonic() - begun < driver.SEEDS_LIMIT
