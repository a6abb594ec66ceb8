"""The state of everything, looked at several times a second, and its changes for those who look."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING, Any

from ops.panel import log
from ops.panel.catalogue import offered
from ops.panel.view import as_data

if TYPE_CHECKING:
    from collections.abc import Callable

    from ops.panel.doings import Doings
    from ops.panel.facts import Facts
    from ops.panel.journal import Journal
    from ops.panel.timeline import Timeline

TICK = 0.2
"""Seconds between two looks, unless a part says that it has changed."""

LEAST = 0.08
"""Seconds between two looks in any case."""

HEARTBEAT = 1.0
"""Seconds after which something is sent in any case: the page sees that the console is there."""

BEHIND = 100
"""Messages that somebody may be behind by; then the stream ends, and the page begins anew."""

STREAMS = 20
"""Who may look on at the same time."""


class TooManyError(Exception):
    """Too many are looking on."""


class Hub:
    """What is known, and who wants to know. Any thread may call it."""

    def __init__(
        self,
        facts: Callable[[], Facts],
        journal: Journal,
        timeline: Timeline,
        doings: Doings | None,
        changed: threading.Event,
    ) -> None:
        """`facts` says what the parts say now; without `doings` there is nothing to do.

        `changed` is set by whoever knows of something new.
        """
        self._facts = facts
        self.journal = journal
        self.timeline = timeline
        self.doings = doings
        self.news_of_monitor: Callable[[], object] = lambda: None
        self._state: dict[str, Any] = {}
        self._did: dict[str, Any] = {}
        self._told = 0  # the last entry of the journal that was sent
        self._sent = 0.0
        self._last_event: object = None
        self._streams: set[queue.Queue[dict[str, Any] | None]] = set()
        self._lock = threading.Lock()
        self._wake = changed
        self._over = threading.Event()

    def start(self) -> None:
        """Look for the first time, and then by a thread."""
        self.look()
        threading.Thread(target=self._run, name="hub", daemon=True).start()

    def stop(self) -> None:
        """End all streams."""
        self._over.set()
        self._wake.set()
        with self._lock:
            for stream in self._streams:
                stream.put(None)

    def subscribe(self) -> queue.Queue[dict[str, Any] | None]:
        """Return a queue of messages, the first with everything. None is the end.

        Raises TooManyError.
        """
        stream: queue.Queue[dict[str, Any] | None] = queue.Queue()
        with self._lock:
            if len(self._streams) >= STREAMS:
                raise TooManyError
            self._streams.add(stream)
            stream.put(self._everything())
        return stream

    def leave(self, stream: queue.Queue[dict[str, Any] | None]) -> None:
        """Want no more messages."""
        with self._lock:
            self._streams.discard(stream)

    def look(self) -> None:
        """Look at everything, and send what is new."""
        facts = self._facts()
        data = as_data(facts)
        self._note(facts, data)
        with self._lock:
            self._send(self._news(data))

    def _note(self, facts: Facts, data: dict[str, Any]) -> None:
        self.journal.compare(data)
        newest = (facts.states or {}).get("last")
        if newest is not None and newest != self._last_event:
            self._last_event = newest
            self.news_of_monitor()
        self.journal.hear_monitor(facts.events)
        if facts.instances:
            self.timeline.hold(data["held"])

    def _everything(self) -> dict[str, Any]:
        return {
            "at": time.time(),
            "first": True,
            "state": self._state,
            "did": self._did,
            "drills": offered() if self.doings else None,
            "journal": self.journal.after(0),
            "steps": self.timeline.everything(),
        }

    def _news(self, data: dict[str, Any]) -> dict[str, Any]:
        news: dict[str, Any] = {}
        if data != self._state:
            self._state = news["state"] = data
        did = self.doings.data() if self.doings else {}
        if did != self._did:
            self._did = news["did"] = did
        if entries := self.journal.after(self._told):
            self._told = entries[-1]["number"]
            news["journal"] = entries
        if steps := self.timeline.changes():
            news["steps"] = steps
        return news

    def _send(self, news: dict[str, Any]) -> None:
        now = time.time()
        if not news and now - self._sent < HEARTBEAT:
            return
        self._sent = now
        for stream in list(self._streams):
            if stream.qsize() > BEHIND:
                stream.put(None)
                self._streams.discard(stream)
            else:
                stream.put({"at": now, **news})

    def _run(self) -> None:
        while not self._over.is_set():
            self._wake.wait(TICK)
            self._wake.clear()
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - whoever looks on is not left alone
                log.note("hub", error)
            self._over.wait(LEAST)
