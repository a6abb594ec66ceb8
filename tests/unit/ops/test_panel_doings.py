"""What the page can do: a load, and one drill at a time, each a process that ends in order."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from ops.console import StackError
from ops.drills.faults import FAULTS, PAIR
from ops.drills.three import EVERY, OF_THREE
from ops.panel.catalogue import FIRST, GRAVE, offered
from ops.panel.doings import Doings, RefusedError
from ops.panel.errand import Errand
from ops.panel.journal import Journal
from ops.panel.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT = 20.0
"""Seconds for what is waited for here."""

PROCESS = """
import json, sys, time
def say(**what):
    print(json.dumps(what), flush=True)
now = time.time()
if sys.argv[1] == "load":
    say(phase="running")
    say(seen=[["write", now, now, "ok"]])
elif sys.argv[2] == "app-killed":
    say(mark=[now, "fault", "app1 killed"])
    say(seen=[["read", now, now, "failed"]])
    say(mark=[now, "undone", "app1 started"])
    say(mark=[now, "undone", "whole again"])
    say(verdict={"ok": True})
    sys.exit(0)
elif sys.argv[2] == "switchover":
    sys.exit(7)
sys.stdin.read()
say(error="Stopped.")
sys.exit(1)
"""
"""A worker: `app-killed` ends with a verdict, `switchover` dies, all else goes on until told."""


class Stand:
    """Doings, and what they leave behind."""

    def __init__(self) -> None:
        self.journal, self.timeline = Journal(), Timeline()
        self.errands: list[Errand] = []
        self.command = [sys.executable, "-c", PROCESS]
        self.doings = Doings(self.journal, self.timeline, lambda: None, self.errand)

    def errand(self, *given: Any) -> Errand:  # noqa: ANN401 - as Errand takes them
        """Make one whose process is PROCESS."""
        made = Errand(*given, command=self.command)
        self.errands.append(made)
        return made

    @property
    def load(self) -> dict[str, Any]:
        """What the page shows of the load."""
        shown: dict[str, Any] = self.doings.data()["load"]
        return shown

    @property
    def drill(self) -> dict[str, Any]:
        """What the page shows of the drill."""
        shown: dict[str, Any] = json.loads(json.dumps(self.doings.data()["drill"]))
        return shown

    def words(self) -> list[str]:
        """What happened."""
        return [each["what"] for each in self.journal.after(0)]


@pytest.fixture
def stand() -> Iterator[Stand]:
    """Doings that are ended, whatever the test began."""
    made = Stand()
    yield made
    assert made.doings.close()
    assert not any(each.runs for each in made.errands)


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait, a bounded time."""
    until = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < until, f"not within {LIMIT:.0f} s: {what}"
        time.sleep(0.01)


def test_the_load_goes_on_and_off(stand: Stand) -> None:
    """What its clients saw is in the timeline; off, its process ends."""
    stand.doings.load(on=True)
    stand.doings.load(on=True)  # no second one
    assert len(stand.errands) == 1
    wait_until(stand.timeline.everything, "what clients saw")
    assert stand.load == {"on": True, "phase": "running", "error": ""}
    stand.doings.load(on=False)
    assert stand.errands[0].wait(LIMIT)
    assert stand.load == {"on": False, "phase": "", "error": ""}


def test_a_load_that_has_ended_speaks_for_no_other(stand: Stand) -> None:
    """Off and on within a moment: the first one's last words come while the second one runs."""
    stand.doings.load(on=True)
    wait_until(lambda: stand.load["phase"] == "running", "the load")
    stand.doings.load(on=False)
    stand.doings.load(on=True)
    assert stand.errands[0].wait(LIMIT)
    wait_until(lambda: stand.load["phase"] == "running", "the second load")
    assert stand.load == {"on": True, "phase": "running", "error": ""}


def test_a_load_that_cannot_be_started_is_off(stand: Stand) -> None:
    """Also after a drill, when nobody has asked; and then it may be switched on."""
    well, stand.command = stand.command, ["/nowhere/python"]
    with pytest.raises(StackError, match="cannot be started"):
        stand.doings.load(on=True)
    assert not stand.load["on"]
    assert "/nowhere/python" in stand.load["error"]
    stand.errands.clear()
    stand.command = well
    stand.doings.load(on=True)
    stand.doings.drill("app-killed")
    stand.command = ["/nowhere/python"]
    wait_until(lambda: stand.load["error"], "what the switch says")
    assert not stand.load["on"]
    assert not stand.doings.drilling
    del stand.errands[2:]


def test_a_load_that_ends_by_itself_says_why(stand: Stand) -> None:
    """As where no user can be created."""
    stand.doings.load(on=True)
    wait_until(lambda: stand.load["phase"] == "running", "the load")
    stand.errands[0].stop()
    wait_until(lambda: not stand.load["on"], "its end")
    assert stand.load["error"] == "Stopped."


def test_a_drill_goes_to_its_verdict(stand: Stand) -> None:
    """Its marks are in the journal, by kind; its clients' requests in the timeline."""
    stand.doings.drill("app-killed")
    wait_until(lambda: stand.drill["ended"], "its end")
    assert stand.drill["verdict"] == {"ok": True}
    assert stand.drill["error"] == ""
    assert next(each["what"] for each in stand.drill["marks"]) == "app1 killed"
    kinds = [(each["kind"], each["what"]) for each in stand.journal.after(0)]
    assert ("fault", "Drill: app1 killed.") in kinds
    assert ("undone", "Drill: whole again.") in kinds
    assert stand.timeline.everything()[0][3] == 1  # failed


def test_one_drill_at_a_time(stand: Stand) -> None:
    """Another one, and the load, are refused while it runs."""
    stand.doings.drill("primary-killed")
    for wanted in (
        lambda: stand.doings.drill("app-killed"),
        lambda: stand.doings.load(on=True),
    ):
        with pytest.raises(RefusedError, match="drill"):
            wanted()
    assert len(stand.errands) == 1


@pytest.mark.parametrize("name", GRAVE)
def test_what_stops_everything_asks_first(stand: Stand, name: str) -> None:
    """The server does, whatever the page has asked."""
    with pytest.raises(RefusedError, match="sure"):
        stand.doings.drill(name)
    assert stand.errands == []
    stand.doings.drill(name, sure=True)
    assert stand.doings.drilling


def test_what_there_is_not_is_refused(stand: Stand) -> None:
    """Before anything is started."""
    with pytest.raises(RefusedError, match="no drill"):
        stand.doings.drill("--help")
    with pytest.raises(RefusedError, match="No drill"):
        stand.doings.stop_drill()


def test_a_drill_that_is_stopped_mends_and_says_so(stand: Stand) -> None:
    """Then there may be another one."""
    stand.doings.drill("primary-killed")
    stand.doings.stop_drill()
    assert stand.drill["stopping"]
    wait_until(lambda: stand.drill["ended"], "its end")
    assert stand.drill["error"] == "Stopped."
    stand.doings.drill("app-killed")
    assert not stand.drill["stopping"]


def test_a_drill_that_dies_is_no_verdict(stand: Stand) -> None:
    """It says so, and the next one may begin."""
    stand.doings.drill("switchover")
    wait_until(lambda: stand.drill["ended"], "its end")
    assert "exit code 7" in stand.drill["error"]
    assert not stand.doings.drilling


def test_a_drill_brings_its_own_load_and_the_switch_comes_back(stand: Stand) -> None:
    """Two loads at once would be another drill than the one that was measured."""
    stand.doings.load(on=True)
    wait_until(lambda: stand.load["phase"] == "running", "the load")
    stand.doings.drill("app-killed")
    wait_until(lambda: stand.load["on"] and stand.load["phase"] == "running", "the load again")
    assert [each.words[0] for each in stand.errands] == ["load", "drill", "load"]
    assert not stand.errands[0].runs


def test_closing_ends_what_runs_and_starts_nothing(stand: Stand) -> None:
    """The load that waits for the drill's end does not come back."""
    stand.doings.load(on=True)
    stand.doings.drill("primary-killed")
    assert stand.doings.close()
    assert len(stand.errands) == 2
    assert not stand.load["on"]
    with pytest.raises(RefusedError, match="ending"):
        stand.doings.drill("app-killed")
    assert len(stand.errands) == 2


def test_all_drills_are_offered_with_what_they_do() -> None:
    """Each of `drill list`, the plainest first; each that asks is one that there is."""
    names = [each["name"] for each in offered()]
    assert sorted(names) == sorted(EVERY)
    assert tuple(names[: len(FIRST)]) == FIRST
    assert all(each["summary"] == EVERY[each["name"]].summary for each in offered())
    assert {each["name"] for each in offered() if each["nodes"] > PAIR} == set(OF_THREE)
    assert set(GRAVE) <= set(FAULTS)
    assert not set(GRAVE) & set(FIRST)
