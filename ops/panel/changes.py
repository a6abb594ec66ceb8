"""What Docker says of the stack's containers as it happens: a kill is known in the same moment."""

from __future__ import annotations

import json
import subprocess
import threading
from typing import TYPE_CHECKING

from ops import cluster, names
from ops.panel import log

if TYPE_CHECKING:
    from collections.abc import Callable

AGAIN = 2.0
"""Seconds until Docker is asked again after it has ended its word: the engine restarts, say."""

END_LIMIT = 2.0
"""Seconds for it to end."""

WORDS = ("start", "die", "kill", "pause", "unpause", "health_status", "destroy", "create")


class Changes:
    """`docker events`, for as long as it runs. `heard` is called with a member and a word."""

    def __init__(self, heard: Callable[[str, str], object]) -> None:
        """Listen not yet."""
        self._heard = heard
        self._process: subprocess.Popen[str] | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen from now on."""
        self._thread = threading.Thread(target=self._run, name="changes", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Listen no more."""
        self._over.set()
        if self._process is not None:
            self._process.kill()
        if self._thread is not None:
            self._thread.join(END_LIMIT)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._listen()
            except Exception as error:  # noqa: BLE001 - it is listened to again, whatever happened
                log.note("docker events", error)
            self._over.wait(AGAIN)

    def _listen(self) -> None:
        filters = [
            *cluster.of_the_stack(),
            *(word for each in WORDS for word in ("--filter", f"event={each}")),
        ]
        command = ["docker", "events", "--format", "{{json .}}", "--filter", "type=container"]
        with subprocess.Popen(
            [*command, *filters],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C is for the console alone
        ) as process:
            self._process = process
            for line in process.stdout or ():
                if (heard := read(line)) is not None:
                    self._heard(*heard)


def read(line: str) -> tuple[str, str] | None:
    """Return the member and the word of a line of `docker events`; None if it is none."""
    try:
        event = json.loads(line)
        attributes = event["Actor"]["Attributes"]
        word = str(event.get("Action") or event["status"])
        return names.member(attributes["name"]), word.partition(":")[0]
    except (KeyError, TypeError, ValueError):
        return None
