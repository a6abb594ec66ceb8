"""One worker: the server on a socket that it shares, which also ends when its supervisor does."""

import os
import shutil
import signal
import socket
import sys
from functools import partial
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from service.api.health import own_status
from service.app import create_app
from service.lifecycle import Lifecycle
from service.server import DrainingServer, configured, logged
from service.settings import Settings
from service.workers.peers import Peers

logger = structlog.get_logger()

FAILED = 1
STOPS = {signal.SIGTERM: signal.SIGUSR1, signal.SIGINT: signal.SIGUSR2}
"""What the supervisor is sent, and what it sends to workers. They never see the first: it may
come to the whole group (Ctrl-C, systemd), and a second one would mean something else. The others
are blocked from the fork until there is somebody to handle them."""


class WorkerServer(DrainingServer):
    """A server that tells the others how it is, and looks whether its supervisor lives."""

    def __init__(
        self,
        config: uvicorn.Config,
        lifecycle: Lifecycle,
        drain_delay: float,
        app: FastAPI,
        supervisor: int,  # its process, from before the fork: it may be gone by now
    ) -> None:
        super().__init__(config, lifecycle, drain_delay)
        self._app = app
        self._peers: Peers = app.state.peers
        self._supervisor = supervisor

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, and take the signals that have come meanwhile."""
        await self._peers.open()
        await super().startup(sockets)
        for meant, sent in STOPS.items():
            signal.signal(sent, partial(self._told, meant))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS.values())

    def _told(self, meant: signal.Signals, _: int, frame: FrameType | None) -> None:
        self.handle_exit(meant, frame)

    async def on_tick(self, counter: int) -> bool:
        """Tell and look, every tenth of a second."""
        if os.getppid() != self._supervisor and not self._lifecycle.draining:
            logger.error("the supervisor is gone; this worker ends")
            self._peers.board.drain()
            self.handle_exit(signal.SIGTERM, None)
        self._peers.beat(own_status(self._app))
        return await super().on_tick(counter)


def work(settings: Settings, peers: Peers, supervisor: int, sockets: list[socket.socket]) -> None:
    """Serve as one worker of several, until a signal ends it."""
    part = settings.part(peers.number)
    try:
        serving = partial(_serve, part, peers, supervisor, sockets)
        logged(part, serving, writers=settings.workers)
    finally:
        if os.getppid() != supervisor:  # which would have done it
            shutil.rmtree(peers.folder, ignore_errors=True)


def _serve(settings: Settings, peers: Peers, supervisor: int, sockets: list[socket.socket]) -> None:
    lifecycle = Lifecycle()
    try:
        app = create_app(settings, lifecycle, peers)
        config = configured(app, settings)
        WorkerServer(config, lifecycle, settings.drain_delay, app, supervisor).run(sockets)
    except Exception:
        logger.exception("the worker failed")
        sys.exit(FAILED)
