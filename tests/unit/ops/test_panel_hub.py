"""What is sent to pages: everything at first, then what changes; the timeline, and the journal."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ops.events import Event
from ops.panel import hub as hub_module
from ops.panel import timeline as timeline_module
from ops.panel.facts import Facts
from ops.panel.hub import Hub, TooManyError
from ops.panel.journal import Journal
from ops.panel.timeline import KEPT, READ, WRITE, Timeline
from ops.panel.view import as_data
from tests.console_replay import RECORDED, killed, whole, without

NUMBER, W, R, FAILED, UNKNOWN, W50, W100, R50, R100, HELD = range(10)


class Stand:
    """A hub whose parts say what the test wants."""

    def __init__(self) -> None:
        self.facts = whole()
        self.journal, self.timeline = Journal(), Timeline()
        self.hub = Hub(lambda: self.facts, self.journal, self.timeline, None, threading.Event())
        self.hub.look()
        self.stream = self.hub.subscribe()

    def look(self, facts: Facts | None = None) -> dict[str, object]:
        """Look at other facts; return what is sent because of them."""
        self.facts = facts or self.facts
        self.hub.look()
        message = self.stream.get_nowait()
        assert message is not None
        return message


def test_only_what_changed_is_sent() -> None:
    """And nothing if nothing did, but a sign of life now and then."""
    stand = Stand()
    first = stand.stream.get_nowait()
    assert first is not None
    assert first["state"]["primary"] == "postgres1"  # type: ignore[index] # JSON
    quiet = stand.look()
    assert "state" not in quiet
    message = stand.look(killed(0.5))
    assert message["state"]["primary"] is None  # type: ignore[index] # as above
    assert json.dumps(message)


def test_a_kill_is_in_the_journal_and_so_is_the_promotion() -> None:
    """In words, in order."""
    stand = Stand()
    for at in (0.2, 1.0, 2.5, 5.0, 9.0):
        stand.facts = killed(at)
        stand.hub.look()
    assert [(each["kind"], each["what"]) for each in stand.journal.after(0)] == [
        ("down", "postgres1 is down."),
        ("down", "No node accepts writes."),
        ("promotion", "postgres2 accepts writes: it is the primary."),
        ("up", "postgres1 is started."),
    ]


def test_a_move_of_the_address_is_in_the_journal() -> None:
    """Also that nobody has it."""
    stand = Stand()
    stand.look(replace(whole(), holds={"haproxy1": False, "haproxy2": False}))
    stand.look(replace(whole(), holds={"haproxy1": False, "haproxy2": True}))
    assert [each["kind"] for each in stand.journal.after(0)] == ["down", "address"]
    assert stand.journal.after(1)[0]["what"] == "The virtual IP is with haproxy2."


def test_a_docker_that_is_silent_is_no_failure_of_everything() -> None:
    """Nothing is known then, so nothing has happened."""
    stand = Stand()
    stand.look(Facts())
    stand.look(whole())
    assert stand.journal.after(0) == []


def test_a_console_that_begins_invents_nothing() -> None:
    """That a part has not answered yet is no change, nor is its first answer."""
    facts = [replace(without(whole(), "app1"), asking=True, nodes={}, holds={}, servers={})]
    hub = Hub(lambda: facts[0], Journal(), Timeline(), None, threading.Event())
    hub.look()
    facts[0] = replace(whole(), asking=True)
    hub.look()
    facts[0] = whole()
    hub.look()
    assert hub.journal.after(0) == []
    facts[0] = without(whole(), "app1")
    hub.look()
    assert [each["what"] for each in hub.journal.after(0)] == ["app1 is down."]


def recorded(ago: float) -> list[Event]:
    """Return the monitor's events of a drill, as if the last one was so many seconds ago."""
    found = json.loads(RECORDED.read_text())["events"]
    shift = time.time() - ago - datetime.fromisoformat(found[-1]["time"]).timestamp()
    return [
        Event(
            each["number"],
            datetime.fromisoformat(each["time"]) + timedelta(seconds=shift),
            *(each[name] for name in ("node", "state", "goal", "what")),
        )
        for each in found
    ]


def test_what_the_monitor_heard_yesterday_did_not_happen_now() -> None:
    """The page shows times without a day. What comes after the first look is told in any case."""
    journal = Journal()
    old = recorded(ago=86_400)
    journal.hear_monitor(old[:-1])
    assert journal.after(0) == []
    late = next(each for each in old if each.reported)
    journal.hear_monitor([*old, replace(late, number=old[-1].number + 1)])
    assert [each["kind"] for each in journal.after(0)][-1:] == ["monitor"]
    journal = Journal()
    journal.hear_monitor([*old, replace(late, number=10**6, time=datetime.now(UTC))])
    assert len(journal.after(0)) == 1


def test_the_monitors_events_are_told_once_and_in_words() -> None:
    """As recorded in a drill: what nodes reported, not the monitor's thoughts between."""
    events = recorded(ago=60)
    journal = Journal()
    journal.hear_monitor(events[:-1])
    journal.hear_monitor(events)
    told = [each["what"] for each in journal.after(0)]
    assert "Monitor: postgres2 is wait_primary (primary, alone)" in told
    assert len(told) == len(set(told)) == sum(each.reported for each in events)
    journal.hear_monitor(None)
    fresh = Event(1, datetime.now(UTC), "postgres1", "single", "single", "New state is reported")
    journal.hear_monitor([fresh])  # the monitor was made anew
    assert journal.after(0)[-1]["what"] == "Monitor: postgres1 is single (primary, alone)"


def test_new_events_of_the_monitor_are_asked_for_at_once() -> None:
    """The states carry the number of the newest."""
    stand = Stand()
    asked: list[str] = []
    stand.hub.news_of_monitor = lambda: asked.append("now")
    stand.hub.look()
    assert asked == []
    stand.look(replace(whole(), states={**(whole().states or {}), "last": 9}))
    assert asked == ["now"]


def test_whoever_cannot_follow_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that is asleep fills no memory: its stream ends."""
    monkeypatch.setattr(hub_module, "BEHIND", 3)
    stand = Stand()
    for at in range(20):
        stand.facts = killed(0.5) if at % 2 else whole()
        stand.hub.look()
    messages = []
    while not stand.stream.empty():
        messages.append(stand.stream.get_nowait())
    assert messages[-1] is None
    assert len(messages) < 8


def test_streams_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who leaves makes room."""
    monkeypatch.setattr(hub_module, "STREAMS", 1)
    stand = Stand()
    with pytest.raises(TooManyError):
        stand.hub.subscribe()
    stand.hub.leave(stand.stream)
    stand.hub.subscribe()


def test_a_change_is_sent_when_it_is_known() -> None:
    """Not at the next tick."""
    wake = threading.Event()
    facts = [whole()]
    hub = Hub(lambda: facts[0], Journal(), Timeline(), None, wake)
    hub.start()
    try:
        stream = hub.subscribe()
        stream.get(timeout=5)
        facts[0] = without(whole(), "app1")
        begun = time.monotonic()
        wake.set()
        while True:
            message = stream.get(timeout=5)
            assert message is not None
            if "state" in message:
                break
        assert time.monotonic() - begun < 0.5
    finally:
        hub.stop()


# ---------------------------------------------------------------------- timeline


def test_counts_stand_where_requests_end_and_latencies_where_they_were_due() -> None:
    """So a pause is a gap, and what was held shows how long, from when it was due."""
    timeline, now = Timeline(), int(time.time()) - 10.0
    timeline.add([(WRITE, now + 0.05, now + 2.45, "ok"), (READ, now + 0.31, now + 0.33, "ok")])
    timeline.add([(WRITE, now + 0.01, now + 0.09, "failed"), (WRITE, now, now + 0.05, "unknown")])
    rows = {row[NUMBER]: row for row in timeline.everything()}
    due, ended = rows[int(now * 10)], rows[int(now * 10) + 24]
    assert (due[W], due[FAILED], due[UNKNOWN]) == (0, 1, 1)
    assert (due[W50], due[W100]) == (80, 2400)
    assert (ended[W], ended[W100]) == (1, None)
    assert rows[int(now * 10) + 3][R50 : R100 + 1] == [20, 20]


def test_only_changed_steps_are_told_again() -> None:
    """What comes late changes a step that was told."""
    timeline, now = Timeline(), time.time() - 1
    timeline.add([(WRITE, now, now, "ok")])
    assert [row[W] for row in timeline.changes()] == [1]
    assert timeline.changes() == []
    timeline.add([(WRITE, now, now, "ok")])
    assert [row[W] for row in timeline.changes()] == [2]


def test_fifteen_minutes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not more; what is older, or from the future, is nowhere."""
    clock = [1_000_000.0]
    monkeypatch.setattr(timeline_module.time, "time", lambda: clock[0])
    timeline = Timeline()
    timeline.add([(WRITE, clock[0] - 901, clock[0] - 901, "ok")])
    timeline.add([(WRITE, clock[0] + 60, clock[0] + 60, "ok")])
    assert timeline.everything() == []
    for _ in range(3 * KEPT):
        timeline.hold(1)
        clock[0] += 0.1
    assert len(timeline._steps) <= 2 * KEPT
    assert len(timeline.everything()) <= KEPT


def test_what_is_held_is_in_its_step() -> None:
    """The last one that was said."""
    timeline = Timeline()
    timeline.hold(3)
    timeline.hold(5)
    assert timeline.everything()[-1][HELD] == 5


def test_the_page_gets_what_json_can_carry() -> None:
    """Whatever the parts say."""
    for at in (-1.0, 0.5, 1.5, 3.0, 5.0, 9.0):
        assert json.loads(json.dumps(as_data(killed(at))))
