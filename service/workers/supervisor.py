"""The process that starts the workers of an instance, replaces those that end, and stops all.

It binds the port, forks, and serves nothing itself: one thread, no event loop, signals taken one
after another where it waits for them. All workers accept on the one socket, so a connection that
waits in its queue is lost with no worker.
"""

import gc
import math
import os
import select
import signal
import socket
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import structlog

from service.api.health import IN_ROTATION
from service.app import create_app
from service.database.routing import CLOSE_BOUND
from service.lifecycle import TRACES_BOUND
from service.observability import logs
from service.settings import Settings
from service.workers.board import Board
from service.workers.peers import Peers
from service.workers.worker import FAILED, STOPS, work

logger = structlog.get_logger()

LOOK = 1.0
"""Seconds between two looks at the workers."""

SILENT_MOST, UNHEARD_MOST, SICK_MOST = 10, 60, 30
"""Looks: without a beat, after which a worker is killed; without its first one; and in which it
reaches no database while another does, after which it is to drain, and is replaced. Looks, not
seconds: while the machine stands still, or the container is paused, nobody looks."""

BACKOFF_FIRST, BACKOFF_MOST = 0.1, 5.0
"""Seconds until a worker that ended is replaced, twice as long each time it did not last."""

LASTED = 30.0
"""Seconds of life after which a worker's end is no sequel to the one before."""

STOP_SLACK = 4.0
"""Seconds that workers may take to end beyond what their settings say."""

SICK = "unavailable"
"""Of what a worker says of itself: longer without a database than HEALTH_GRACE."""

BACKLOG = 2048  # uvicorn's own
_TAKEN = {*STOPS, signal.SIGCHLD}


@dataclass
class Place:
    """One of the instance's workers, or the gap that it left."""

    number: int
    pid: int = 0  # 0: none runs
    started: float = 0.0
    due: float = 0.0  # when to start the next
    short_lives: int = 0
    beaten: float = 0.0  # the last beat that was seen
    silent: int = 0  # looks since
    sick: int = 0  # looks at which it was out of rotation, and another was not
    kill_at: float = math.inf  # when to kill it, as it was told to drain


class Supervisor:
    """Of one instance."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._board = Board(settings.workers)
        self._places = [Place(number) for number in range(settings.workers)]
        self._sockets: list[socket.socket] = []
        self._folder = ""
        self._served = False  # whether any worker ever did
        self._kill_at = math.inf
        self._code = 0

    def run(self) -> int:
        """Serve until a signal ends it; return the exit code. Raises SettingsError."""
        settings = self._settings
        logs.configure(settings.log_level, settings.app_name, Output(sys.stdout.fileno()))
        create_app(settings)  # what is wrong with a setting is told once, and here
        signal.pthread_sigmask(signal.SIG_BLOCK, {*_TAKEN, *STOPS.values()})
        try:
            self._sockets = listen(settings.http_host, settings.http_port)
            folder = tempfile.TemporaryDirectory(
                prefix="holdfast-workers-", ignore_cleanup_errors=True
            )
        except OSError as error:
            logger.error("the service could not start", error=str(error))  # noqa: TRY400
            return FAILED
        gc.collect()
        gc.freeze()  # pages that nobody writes to stay shared with the workers
        with folder as self._folder:
            logger.info("serving", port=settings.http_port, workers=settings.workers)
            self._supervise()
        return self._code

    def _supervise(self) -> None:
        looked = time.monotonic()
        while True:
            if not self._board.draining:
                self._start_due()
            elif not any(place.pid for place in self._places):
                return
            taken = signal.sigtimedwait(_TAKEN, self._pause())
            if taken is not None and taken.si_signo in STOPS:
                asked = signal.Signals(taken.si_signo)
                logger.info("stopping", signal=asked.name)
                self._stop(asked)
            self._reap()
            if time.monotonic() - looked >= LOOK:
                looked = time.monotonic()
                self._look()

    def _pause(self) -> float:
        """Return the seconds until there is something to do."""
        gaps = [place.due - time.monotonic() for place in self._places if not place.pid]
        return LOOK if self._board.draining else max(0.0, min([LOOK, *gaps]))

    def _start_due(self) -> None:
        """Start workers where there are none, unless it is too soon."""
        supervisor = os.getpid()
        for gap in list(self._places):
            now = time.monotonic()
            if gap.pid or gap.due > now:
                continue
            place = Place(gap.number, started=now, short_lives=gap.short_lives)
            self._places[gap.number] = place
            try:
                place.pid = os.fork()
            except OSError as error:
                logger.error("a worker could not be started", error=str(error))  # noqa: TRY400
                place.due = now + BACKOFF_MOST
                continue
            if place.pid == 0:
                self._become(place.number, supervisor)
            logger.info("worker started", worker=place.number, pid=place.pid)

    def _become(self, number: int, supervisor: int) -> NoReturn:
        """Be a worker, and end as one: this is another process, with the supervisor's stack."""
        code = FAILED
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
            peers = Peers(self._board, number, Path(self._folder))
            work(self._settings, peers, supervisor, self._sockets)
            code = 0
        except SystemExit as error:  # uvicorn's way to say that it could not start
            code = error.code if isinstance(error.code, int) else FAILED
        finally:
            os._exit(code)

    def _stop(self, asked: signal.Signals, code: int = 0) -> None:
        """Pass a signal on; from the first on, no worker says that it is in rotation."""
        if not self._board.draining:
            self._board.drain()
            self._code = code
            self._kill_at = time.monotonic() + stop_bound(self._settings)
            for each in self._sockets:
                each.close()  # the port is free when the last worker has closed it
        for place in self._places:
            if place.pid:
                os.kill(place.pid, STOPS[asked])

    def _reap(self) -> None:
        """Take note of workers that have ended."""
        self._served |= any(self._board.beaten(place.number) for place in self._places)
        for place in self._places:
            if not place.pid:
                continue
            pid, status = os.waitpid(place.pid, os.WNOHANG)
            if pid == 0:
                continue
            code = os.waitstatus_to_exitcode(status)
            place.pid = 0
            self._board.clear(place.number)
            if self._board.draining:
                self._code = self._code or abs(code)
                logger.info("worker ended", worker=place.number, pid=pid, code=code)
                continue
            logger.error("worker ended unasked", worker=place.number, pid=pid, code=code)
            if not self._served:  # none ever did: what is wrong with one is wrong with all
                self._stop(signal.SIGTERM, code=FAILED)
                continue
            self._board.count_replaced()
            now = time.monotonic()
            place.short_lives = 0 if now - place.started > LASTED else place.short_lives + 1
            place.due = now + min(BACKOFF_FIRST * 2 ** min(place.short_lives, 9), BACKOFF_MOST)

    def _look(self) -> None:
        """Kill whoever has not been heard of, or has not ended in time; replace the sick."""
        statuses = self._board.statuses()
        inside = any(each in IN_ROTATION for each in statuses)
        for place in self._places:
            if not place.pid:
                continue
            beaten = self._board.beaten(place.number)
            place.silent = place.silent + 1 if beaten == place.beaten else 0
            place.beaten = beaten
            place.sick = place.sick + 1 if inside and statuses[place.number] == SICK else 0
            if self._is_late(place):
                logger.error("worker does not answer: killed", worker=place.number, pid=place.pid)
                os.kill(place.pid, signal.SIGKILL)
            elif place.sick == SICK_MOST and not self._board.draining:
                logger.error("worker reaches no database", worker=place.number, pid=place.pid)
                place.kill_at = time.monotonic() + stop_bound(self._settings)
                os.kill(place.pid, STOPS[signal.SIGTERM])

    def _is_late(self, place: Place) -> bool:
        """Say whether a worker has to be killed."""
        # A server that stops beats no more, and has a bound instead.
        kill_at = self._kill_at if self._board.draining else place.kill_at
        if kill_at < math.inf:
            return time.monotonic() > kill_at
        return place.silent >= (SILENT_MOST if place.beaten else UNHEARD_MOST)


def stop_bound(settings: Settings) -> float:
    """Return the seconds from the signal until workers that have not ended are killed."""
    closing = 2 * CLOSE_BOUND + (TRACES_BOUND if settings.otel_exporter_otlp_endpoint else 0)
    return settings.drain_delay + math.ceil(settings.shutdown_timeout) + closing + STOP_SLACK


def listen(host: str, port: int) -> list[socket.socket]:
    """Listen on all addresses of a host, as asyncio's `create_server` would. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return [
        socket.create_server(address[:2], family=family, backlog=BACKLOG)
        for family, address in dict.fromkeys((each[0], each[4]) for each in found)
    ]


class Output:
    """The supervisor's log: a line is written in one piece and at once, or dropped.

    A thread that writes could not be forked, and a reader that is slow must not hold it up.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._room = select.poll()
        self._room.register(descriptor, select.POLLOUT)

    def write(self, text: str) -> int:
        """Write a line, its newline included."""
        if self._room.poll(0):
            with suppress(OSError):
                os.write(self._descriptor, text.encode())
        return len(text)

    def flush(self) -> None:
        """Nothing: lines go out at once."""
