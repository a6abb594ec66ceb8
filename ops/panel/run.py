"""The console as a whole: put together, run until Ctrl-C, and ended in order."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from dataclasses import dataclass

from ops import cluster
from ops.console import StackError, say
from ops.names import ROOT, state
from ops.panel import access
from ops.panel.doings import Doings
from ops.panel.hub import Hub
from ops.panel.journal import Journal
from ops.panel.parts import Parts
from ops.panel.server import Server
from ops.panel.timeline import Timeline

MENDING = "Mending first: then this ends.\n"


@dataclass(frozen=True)
class Console:
    """A console that runs."""

    server: Server
    hub: Hub
    parts: Parts

    def close(self) -> None:
        """End what was begun, and answer no more."""
        doings = self.hub.doings
        if doings is not None:
            if doings.drilling:
                say("A drill is running: what it broke is mended before this ends.")
            doings.close()
        self.hub.stop()
        self.server.shutdown()
        self.server.server_close()
        self.parts.stop()


def start(port: int, *, read_only: bool) -> Console:
    """Look at the stack, and serve the page. Raises StackError without Docker, or its port."""
    try:
        cluster.containers()
    except OSError as error:
        raise StackError(f"docker cannot be run: {error.strerror}") from error
    journal, timeline = Journal(), Timeline()
    changed = threading.Event()
    parts = Parts(changed.set)
    doings = None if read_only else Doings(journal, timeline, changed.set)
    hub = Hub(lambda: parts.facts, journal, timeline, doings, changed)
    hub.news_of_monitor = parts.news_of_monitor
    server = Server(port, access.kept(state(ROOT) / "console.key"), hub)
    parts.start()
    hub.start()
    server.serve()
    return Console(server, hub, parts)


def end_with_a_signal() -> None:
    """Be interrupted by the first of Ctrl-C, SIGTERM and SIGHUP; to another one say what goes on.

    SIGHUP stays ignored where it is: by nohup, say.
    """
    came: list[int] = []

    def interrupt(number: int, _: object) -> None:
        came.append(number)
        if len(came) == 1:
            raise KeyboardInterrupt
        os.write(sys.stderr.fileno(), MENDING.encode())  # `say` may be interrupted by this

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if each is not signal.SIGHUP or signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, interrupt)


def run(port: int, *, read_only: bool) -> None:
    """Serve the page until Ctrl-C, SIGTERM or SIGHUP."""
    end_with_a_signal()
    console = start(port, read_only=read_only)
    try:
        say(f"Open {console.server.link}")
        if read_only:
            say("It looks, and changes nothing (--read-only).")
        say("Whoever has this link can do what the page can. End with Ctrl-C.")
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    finally:
        console.close()
