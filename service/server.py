"""The server of one process: serve until SIGTERM, then leave in order.

On SIGTERM /health answers 503 at once, so that the load balancer looks elsewhere; requests are
served for DRAIN_DELAY more seconds; then the listener closes, what is in flight has
SHUTDOWN_TIMEOUT seconds to finish, what is left is answered 503, and the pools are closed. SIGINT,
or a second signal, skips the delay; one more, and nothing is waited for.
"""

import gc
import math
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from service.app import create_app
from service.lifecycle import Lifecycle
from service.observability import logs
from service.observability.lines import LineWriter
from service.protocol import Protocol
from service.settings import Settings

logger = structlog.get_logger()

# Seconds. Longer than a proxy keeps an idle connection to us (HAProxy's `timeout http-keep-alive`
# is 60 s): whoever closes first must not be the one that may be sent a request at that moment.
KEEP_ALIVE = 75
# Objects made since the last look for cycles that begin one. Python's 700 (gc, set_threshold) is
# reached with every few requests, whose objects are in no cycle.
YOUNG_MOST = 20_000


class DrainingServer(uvicorn.Server):
    """uvicorn's server, with a delay between the request to stop and the stop."""

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle, drain_delay: float) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle
        self._drain_delay = drain_delay
        self._stop_at = math.inf

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's
        """Take a signal. uvicorn's own would raise it again at the end: no exit code 0."""
        if self.should_exit:
            self.force_exit = True
        elif sig == signal.SIGTERM and not self._lifecycle.draining:
            self._stop_at = time.monotonic() + self._drain_delay
        else:
            self._stop_at = 0
        self._lifecycle.draining = True

    async def on_tick(self, counter: int) -> bool:
        """Look, every tenth of a second, whether the delay is over."""
        if time.monotonic() >= self._stop_at:
            self.should_exit = True
        return await super().on_tick(counter)


def serve(settings: Settings) -> None:
    """Serve as the only process of the instance, until a signal ends it."""
    lifecycle = Lifecycle()
    app = create_app(settings, lifecycle)
    DrainingServer(configured(app, settings), lifecycle, settings.drain_delay).run()


def configured(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """Return how to serve the application, of which all is there now."""
    # What lives as long as the process is not looked through again and again, 30 ms at a time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MOST, *gc.get_threshold()[1:])
    return uvicorn.Config(
        app,
        host=settings.http_host,
        port=settings.http_port,
        loop="uvloop",
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=math.ceil(settings.shutdown_timeout),
    )


def logged(settings: Settings, serving: Callable[[], None], *, writers: int = 1) -> None:
    """Serve with this process's log on standard output, which so many processes write to."""
    lines = LineWriter(sys.stdout, writers=writers)
    try:
        logs.configure(settings.log_level, settings.app_name, lines)
        sys.unraisablehook = _log_unraisable
        serving()
    finally:
        lines.close()


def _log_unraisable(hook: "sys.UnraisableHookArgs", /) -> None:
    """Log what was raised where nobody can catch it; Python would print its message to stderr."""
    logger.error("exception ignored", exc_info=hook.exc_value)
