"""What can be done from the page: a load on and off, and one drill at a time."""

from __future__ import annotations

import contextlib
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.console import StackError
from ops.drills.three import EVERY
from ops.panel.catalogue import GRAVE
from ops.panel.errand import Errand

if TYPE_CHECKING:
    from collections.abc import Callable

    from ops.panel.journal import Journal
    from ops.panel.timeline import Timeline

MARKS = {"fault": "fault", "undone": "undone"}
"""Kinds of a load's marks that the journal has; any other is a note."""


class RefusedError(Exception):
    """What was asked for cannot be done now; the message says why."""


class Doings:
    """The load and the drill. Any thread may call it."""

    def __init__(
        self,
        journal: Journal,
        timeline: Timeline,
        changed: Callable[[], object],
        errand: Callable[..., Errand] = Errand,
    ) -> None:
        """Do nothing yet."""
        self._journal = journal
        self._timeline = timeline
        self._changed = changed
        self._errand = errand
        self._lock = threading.RLock()
        self._load: Errand | None = None
        self._load_is: dict[str, Any] = {"on": False, "phase": "", "error": ""}
        self._ending: list[Errand] = []  # loads that were switched off
        self._drill: Errand | None = None
        self._drill_is: dict[str, Any] | None = None
        self._load_again = False
        self._closed = False

    def data(self) -> dict[str, Any]:
        """Return what the page shows of it."""
        with self._lock:
            drill = self._drill_is
            told = drill and {**drill, "marks": list(drill["marks"])}
            return {"load": dict(self._load_is), "drill": told}

    def load(self, *, on: bool) -> None:
        """Switch the load. Raises RefusedError while a drill runs, which brings its own."""
        with self._lock:
            if self._drill is not None:
                raise RefusedError("A drill is running: it brings its own load.")
            if on == self._load_is["on"]:
                return
            if on:
                self._start_load()
            else:
                self._stop_load()

    def drill(self, name: str, *, sure: bool = False) -> None:
        """Start a drill. Raises RefusedError."""
        with self._lock:
            if self._closed:
                raise RefusedError("The console is ending.")
            if name not in EVERY:
                raise RefusedError(f"There is no drill {name!r}.")
            if self._drill is not None:
                raise RefusedError("One drill at a time: another one is running.")
            if name in GRAVE and not sure:
                raise RefusedError(f"{GRAVE[name]} Say that you are sure.")
            self._load_again = self._load_is["on"]
            if self._load_is["on"]:
                self._stop_load()
            self._drill_is = {
                "name": name,
                "summary": EVERY[name].summary,
                "phase": "starting",
                "began": time.time(),
                "ended": None,
                "stopping": False,
                "lacks": [],
                "marks": [],
                "verdict": None,
                "error": "",
            }
            self._drill = self._errand(("drill", name), self._hear_drill, self._drill_ended)
            self._journal.add("note", f"Drill {name}: {EVERY[name].summary}")
            try:
                self._drill.start()
            except BaseException:
                self._drill = self._drill_is = None
                raise
        self._changed()

    def stop_drill(self) -> None:
        """End the drill early: what it broke is mended. Raises RefusedError without one."""
        with self._lock:
            if self._drill is None or self._drill_is is None:
                raise RefusedError("No drill is running.")
            self._drill_is |= {"stopping": True, "phase": "stopping: what was broken is mended"}
            self._drill.stop()
        self._changed()

    def close(self) -> bool:
        """End everything in order; say whether it has ended."""
        with self._lock:
            self._closed, self._load_again = True, False
            under_way = [each for each in (self._load, self._drill) if each is not None]
            for each in under_way:
                each.stop()
            under_way += self._ending
        return all(each.wait() for each in under_way)

    @property
    def drilling(self) -> bool:
        """Whether a drill is under way."""
        return self._drill is not None

    # ------------------------------------------------------------------ what the processes say

    def _start_load(self) -> None:
        if self._closed:
            return
        load = self._errand(("load",), lambda _: None, lambda: None)
        load.heard, load.ended = partial(self._hear_load, load), partial(self._load_ended, load)
        try:
            load.start()
        except BaseException as error:
            self._load_is = {"on": False, "phase": "", "error": str(error)}
            self._changed()
            raise
        self._load, self._load_is = load, {"on": True, "phase": "starting", "error": ""}
        self._journal.add("load", "The load is switched on.")
        self._changed()

    def _load_ended(self, load: Errand) -> None:
        with self._lock:
            if self._load is load:  # by itself: else another one may run already
                self._load = None
                self._load_is |= {"on": False, "phase": ""}
                self._journal.add("load", f"The load has ended. {self._load_is['error']}".strip())
        self._changed()

    def _stop_load(self) -> None:
        load, self._load = self._load, None
        self._load_is = {"on": False, "phase": "", "error": ""}
        if load is not None:
            load.stop()
            self._ending = [*(each for each in self._ending if each.runs), load]
        self._journal.add("load", "The load is switched off.")
        self._changed()

    def _hear_load(self, load: Errand, said: dict[str, Any]) -> None:
        if "seen" in said:
            self._timeline.add(tuple(each) for each in said["seen"])
        with self._lock:
            for what in ("phase", "error"):
                if what in said and self._load is load:
                    self._load_is[what] = said[what]

    def _hear_drill(self, said: dict[str, Any]) -> None:
        if "seen" in said:
            self._timeline.add(tuple(each) for each in said["seen"])
            return
        with self._lock:
            drill = self._drill_is
            if drill is None:
                return
            if "mark" in said:
                at, kind, what = said["mark"]
                drill["marks"].append({"at": at, "kind": kind, "what": what})
                if not drill["stopping"]:
                    drill["phase"] = _phase(kind, what)
                self._journal.add(MARKS.get(kind, "note"), f"Drill: {what}.", at)
            for what in ("phase", "lacks", "verdict", "error"):
                if what in said and not (what == "phase" and drill["stopping"]):
                    drill[what] = said[what]
        self._changed()

    def _drill_ended(self) -> None:
        with self._lock:
            self._drill = None
            if self._drill_is is not None:
                self._drill_is |= {"ended": time.time(), "phase": ""}
                if not self._drill_is["verdict"] and not self._drill_is["error"]:
                    self._drill_is["error"] = "It ended without a verdict."
                self._journal.add("note", f"Drill {self._drill_is['name']} is over.")
            if self._load_again and not self._closed:
                self._load_again = False
                with contextlib.suppress(StackError):  # the switch says it
                    self._start_load()
        self._changed()


def _phase(kind: str, what: str) -> str:
    """Return what goes on after a mark of a drill."""
    if what == "whole again":
        return "whole again: a little more load, then the checker judges"
    if kind == "undone":
        return f"mending: {what}; waiting for a whole stack"
    return what
