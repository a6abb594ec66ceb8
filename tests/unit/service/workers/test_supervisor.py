"""service.workers.supervisor: what can be seen of it without a worker."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from service.settings import Settings
from service.workers.supervisor import (
    SICK_MOST,
    SILENT_MOST,
    UNHEARD_MOST,
    Output,
    Supervisor,
    listen,
)

SOON = 0.3
BOUND = 10.0
"""Seconds for a process to end that was told to."""


@contextmanager
def supervised(settings: Settings) -> Iterator[tuple[Supervisor, list[subprocess.Popen[bytes]]]]:
    """Have two processes that only sleep taken for workers."""
    sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]
    children = [subprocess.Popen(sleeping) for _ in range(2)]
    supervisor = Supervisor(settings.model_copy(update={"workers": 2}))
    for place, child in zip(supervisor._places, children, strict=True):
        place.pid = child.pid
    try:
        yield supervisor, children
    finally:
        for child in children:
            child.kill()
            child.wait()


def looks(supervisor: Supervisor, number: int, *statuses: str) -> None:
    """Look that often, at workers that beat if they have a status."""
    for _ in range(number):
        for worker, status in enumerate(statuses):
            if status:
                supervisor._board.beat(worker, status)
        supervisor._look()


def ended_soon(*children: subprocess.Popen[bytes]) -> bool:
    """Say whether a signal has ended one of them: that takes a moment."""
    with suppress(subprocess.TimeoutExpired):
        children[-1].wait(SOON)
    return any(child.poll() is not None for child in children)


@pytest.mark.parametrize(
    ("before", "statuses", "most", "ended"),
    [
        ("ok", ("ok", "unavailable"), SICK_MOST, signal.SIGUSR1),
        ("ok", ("ok", ""), SILENT_MOST, signal.SIGKILL),
        ("", ("ok", ""), UNHEARD_MOST, signal.SIGKILL),
    ],
)
def test_who_is_no_use_is_replaced(
    settings: Settings, before: str, statuses: tuple[str, str], most: int, ended: signal.Signals
) -> None:
    """One that reaches no database while another does drains; a silent one is killed."""
    with supervised(settings) as (supervisor, (good, bad)):
        if before:
            looks(supervisor, 1, before, before)
        looks(supervisor, most - 1, *statuses)
        assert not ended_soon(good, bad)
        looks(supervisor, 1, *statuses)
        assert bad.wait(BOUND) == -ended
        assert not ended_soon(good)


def test_while_nobody_reaches_a_database_nobody_is_replaced(settings: Settings) -> None:
    """Another would reach it no better."""
    with supervised(settings) as (supervisor, children):
        looks(supervisor, 3 * SICK_MOST, "unavailable", "unavailable")
        assert not ended_soon(*children)


def test_who_was_told_to_drain_has_its_time(settings: Settings) -> None:
    """A server that stops beats no more, and is not killed for it."""
    with supervised(settings) as (supervisor, (_, bad)):
        supervisor._places[1].kill_at = 2.0**62
        looks(supervisor, 2 * SILENT_MOST, "ok", "")
        assert not ended_soon(bad)
        supervisor._places[1].kill_at = 0.0
        looks(supervisor, 1, "ok", "")
        assert bad.wait(BOUND) == -signal.SIGKILL


def test_a_reader_that_stands_still_does_not_hold_it_up() -> None:
    """Lines are dropped while there is no room, and written when there is again."""
    read, write = os.pipe()
    output = Output(write)
    for number in range(1000):  # a pipe takes 64 KiB
        output.write(f"{number:999}\n")
    told = os.read(read, 2**20).decode()
    assert 0 < told.count("\n") < 1000
    assert told == "".join(f"{number:999}\n" for number in range(told.count("\n")))

    output.write("again\n")

    assert os.read(read, 100) == b"again\n"
    for each in (read, write):
        os.close(each)


def test_nobody_who_reads_ends_nothing() -> None:
    """As the log of a worker."""
    read, write = os.pipe()
    os.close(read)
    Output(write).write("nobody reads this\n")
    os.close(write)


def test_it_listens_on_all_addresses_of_a_name() -> None:
    """And on each once."""
    (one,) = listen("127.0.0.1", 0)
    host, port = one.getsockname()
    assert host == "127.0.0.1"
    with socket.create_connection((host, port), timeout=5):
        pass
    one.close()
