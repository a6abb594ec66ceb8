"""The console on the real stack, in a real Chromium: what it shows, how soon, and what it does.

With PICTURES=docs/pictures its pictures are those of the documentation.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import pytest

from ops import cluster, events
from tests import browser
from tests.browser import Browser
from tests.stack.support import (
    REDUNDANT_LIMIT,
    ROOT,
    docker,
    is_whole,
    kill,
    other,
    primary,
    start,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.browser import Page

START_LIMIT = 30.0
"""Seconds for the console to print its link; its packages are there."""

END_LIMIT = 60.0
"""Seconds for it to end, and for what it broke to be mended."""

KILL_SHOWN = 2.0
PROMOTION_SHOWN = 1.0
"""Seconds: what is promised."""

QUIET = 2.0
"""Seconds without a message that nothing may cause: it sends one a second at least."""

WIDTHS = {1400: 900, 800: 1100, 390: 844}


@dataclass
class Console:
    """`./holdfast console` as an operator starts it."""

    options: tuple[str, ...] = ()
    port: int = 0
    link: str = ""
    dead: bool = False

    def __enter__(self) -> Self:
        """Start it, and wait for its link."""
        if not self.port:
            with socket.create_server(("127.0.0.1", 0)) as free:
                self.port = free.getsockname()[1]
        command = [str(ROOT / "holdfast"), "console", "--port", str(self.port), *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        watch = threading.Timer(START_LIMIT, self.process.kill)
        watch.start()
        assert self.process.stdout is not None
        self.link = self.process.stdout.readline().removeprefix("Open ").strip()
        watch.cancel()
        assert self.link.startswith(f"http://127.0.0.1:{self.port}/?token=")
        return self

    def __exit__(self, *_: object) -> None:
        """End it in order."""
        try:
            if not self.dead:
                self.process.send_signal(signal.SIGTERM)
                assert self.process.wait(END_LIMIT) == 0
        finally:
            self.die()

    def die(self) -> None:
        """Kill it, as when its machine has no memory left."""
        self.dead = True
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@dataclass
class Stream:
    """The console's stream, each message with the moment at which it came."""

    console: Console
    messages: list[tuple[float, dict[str, Any]]] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Hear it."""
        token = urlsplit(self.console.link).query.removeprefix("token=")
        self._connection = http.client.HTTPConnection("127.0.0.1", self.console.port, timeout=10)
        cookie = {"Cookie": f"holdfast-console-{self.console.port}={token}"}
        self._connection.request("GET", "/stream", headers=cookie)
        self._answer = self._connection.getresponse()
        assert self._answer.status == http.client.OK
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()
        wait_until("what the stack is", START_LIMIT, lambda: self.state)
        return self

    def __exit__(self, *_: object) -> None:
        """Hear no more."""
        if self._connection.sock is not None:
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._answer.close()
        self._connection.close()

    def _listen(self) -> None:
        try:
            while line := self._answer.readline():
                if line.startswith(b"data: "):
                    self.messages.append((time.time(), json.loads(line[6:])))
        except (OSError, ValueError, AttributeError):  # it was closed under this thread
            pass

    @property
    def state(self) -> dict[str, Any]:
        """The last state that was sent."""
        states = [each["state"] for _, each in list(self.messages) if each.get("state")]
        return states[-1] if states else {}

    def await_state(self, what: str, fits: Any, since: float, limit: float = 60.0) -> float:  # noqa: ANN401 - a predicate
        """Wait for a state that came after a moment; return when it did."""
        found: list[float] = []

        def there_is() -> bool:
            for at, each in list(self.messages):
                if at >= since and each.get("state") and fits(each["state"]):
                    found.append(at)
                    return True
            return False

        wait_until(what, limit, there_is)
        return found[0]

    def longest_quiet(self, since: float) -> float:
        """Return the longest time between two messages from then on."""
        times = [at for at, _ in self.messages if at >= since]
        return max(later - at for at, later in pairwise(times))


@pytest.fixture
def console() -> Iterator[Console]:
    """A console that runs."""
    with Console() as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser."""
    program = browser.find()
    if program is None:
        pytest.skip("not run: there is no chromium (deploy/bootstrap/install-chromium.sh)")
    with Browser(program) as running:
        yield running


def opened(chromium: Browser, console: Console) -> Page:
    """Open the page, and wait until it shows the stack."""
    page = chromium.open(console.link)
    page.wait("document.querySelector('#word').textContent !== '…'", "what the stack is")
    return page


def node_is_down(state: dict[str, Any], node: str) -> bool:
    """Tell whether a node's container is shown as down."""
    return any(each["name"] == node and not each["runs"] for each in state["nodes"])


def test_a_kill_is_shown_and_so_is_the_new_primary(console: Console) -> None:
    """Within two seconds, and within one of the monitor's word; nothing ceases meanwhile."""
    node = primary()
    with Stream(console) as stream:
        wait_until("all is well", REDUNDANT_LIMIT, lambda: stream.state["level"] == "well")
        struck = time.time()
        kill(node)
        shown = stream.await_state("the kill", lambda now: node_is_down(now, node), struck)
        new = other(node)
        leads = stream.await_state("the new primary", lambda now: now["primary"] == new, struck)
        goes = stream.await_state(
            "writes there", lambda now: now["routes"]["writes"] == [new], struck
        )
        start(node)
        wait_until("a whole stack", REDUNDANT_LIMIT, is_whole)
        word = next(
            each.time.timestamp()
            for each in events.recent(60)
            if each.reported and each.node == new and each.state == "wait_primary"
            if each.time.timestamp() > struck
        )
        quiet = stream.longest_quiet(struck)
        print(
            f"kill shown after {shown - struck:.2f} s, new primary after {leads - struck:.2f} s "
            f"({leads - word:+.2f} s from the monitor's word), writes there after "
            f"{goes - struck:.2f} s; longest time without a message {quiet:.2f} s"
        )
        assert shown - struck < KILL_SHOWN
        assert leads - word < PROMOTION_SHOWN
        assert goes - word < PROMOTION_SHOWN
        assert quiet < QUIET


@pytest.mark.long
@pytest.mark.parametrize("member", ["pg-monitor", "proxy", "app1", "vip-access"])
def test_it_keeps_drawing_whatever_is_down(console: Console, member: str) -> None:
    """What is gone is shown as gone within two seconds; the rest goes on being asked."""
    name = cluster.find_vip_holder() if member == "proxy" else member
    assert name is not None

    def shown(now: dict[str, Any]) -> bool:
        parts = [*now["proxies"], *now["apps"], {"name": "pg-monitor", **now["monitor"]}]
        parts.append({"name": "vip-access", **now["edge"]})
        return any(each["name"] == name and not each["runs"] for each in parts)

    with Stream(console) as stream:
        wait_until("all is well", REDUNDANT_LIMIT, lambda: stream.state["level"] == "well")
        struck = time.time()
        kill(name)
        took = stream.await_state("the kill", shown, struck) - struck
        if member == "proxy":
            spare = next(each for each in cluster.PROXIES if each != name)
            moved = stream.await_state(
                "the move", lambda now: now["vip"]["holder"] == spare, struck
            )
            print(f"the virtual IP's move shown after {moved - struck:.2f} s")
        time.sleep(3)  # what is late by then would be so for as long as this lasts
        assert stream.state["primary"] is not None
        quiet = stream.longest_quiet(struck)
        start(name)
        print(f"{name} shown as down after {took:.2f} s; longest quiet {quiet:.2f} s")
        assert took < KILL_SHOWN
        assert quiet < QUIET


@pytest.mark.long
def test_a_frozen_node_holds_nothing_back(console: Console) -> None:
    """Whoever asks it waits; nobody else does."""
    node = primary()
    with Stream(console) as stream:
        wait_until("all is well", REDUNDANT_LIMIT, lambda: stream.state["level"] == "well")
        struck = time.time()
        docker("pause", node)
        try:
            frozen = stream.await_state("it frozen", lambda now: node_is_down(now, node), struck)
            leads = stream.await_state(
                "the other one", lambda now: now["primary"] == other(node), struck
            )
        finally:
            docker("unpause", node)
        quiet = stream.longest_quiet(struck)
        print(
            f"frozen shown after {frozen - struck:.2f} s, "
            f"the new primary after {leads - struck:.2f} s"
        )
        assert frozen - struck < KILL_SHOWN
        assert quiet < QUIET


@pytest.mark.long
def test_a_drill_by_its_button_to_its_verdict(
    console: Console, chromium: Browser, tmp_path: Path
) -> None:
    """Click, watch the arrow move, read the verdict; pictures of it at three widths."""
    pictures = ROOT / os.environ["PICTURES"] if "PICTURES" in os.environ else tmp_path
    chromium.errors.clear()
    page = opened(chromium, console)
    node = primary()
    page.click("#load")
    page.wait("Number(document.querySelector('#n-writes').textContent) > 10", "writes", 30)
    time.sleep(15)  # a curve to see
    page.click("[data-drill=primary-killed]")
    page.wait("document.querySelector('#word').textContent === 'no writes'", "the kill", 60)
    page.picture(pictures / "console-killed.png", whole=False)
    new = f"document.querySelector('.leads .title-text')?.textContent === '{other(node)}'"
    page.wait(new, "the arrow at the other node", 30)
    page.wait("document.querySelector('.run .big, .run.bad')", "the verdict", 180)
    assert page.value("document.querySelector('.run').classList.contains('well')"), page.shown()
    assert page.text(".run .big").startswith("lost0failed0write pause")
    time.sleep(2)  # the load that was on before is on again
    for width, height in WIDTHS.items():
        page.resize(width, height)
        page.wait(f"document.querySelector('#drawing svg').viewBox.baseVal.width <= {width}", "it")
        time.sleep(1)  # the arrows are where they go
        page.picture(pictures / f"console-{width}.png", whole=width != max(WIDTHS))
        assert page.value("document.documentElement.scrollWidth") <= width
    page.close()
    dark = chromium.open(console.link, prefers_color_scheme="dark")
    dark.wait("document.querySelector('#word').textContent !== '…'", "the page in the dark")
    time.sleep(1)  # as above
    dark.picture(pictures / "console-dark.png", whole=False)
    dark.close()
    assert chromium.errors == []


def test_a_page_goes_on_after_a_restart(chromium: Browser) -> None:
    """Of a console that was killed: the same link, and nothing to do for whoever looks."""
    with Console() as first:
        page = opened(chromium, first)
        first.die()
        page.wait("!document.querySelector('#gone').hidden", "a word that it is gone")
        with Console(port=first.port) as second:
            assert second.link == first.link
            page.wait("document.querySelector('#gone').hidden", "the console again", 30)
            page.wait("document.querySelector('#word').textContent === 'all is well'", "the stack")
            assert page.value("document.querySelector('#offer-standby-behind').hidden")  # two nodes
            assert not page.value("document.querySelector('#offer-standby-killed').hidden")
            page.click("#load")
            page.wait("document.querySelector('#load').ariaChecked === 'true'", "the load")
        page.close()


def test_a_console_that_dies_leaves_nothing_broken(console: Console) -> None:
    """In the middle of a drill: its process hears of it, and mends."""
    key = urlsplit(console.link).fragment
    token = urlsplit(console.link).query.removeprefix("token=")
    connection = http.client.HTTPConnection("127.0.0.1", console.port, timeout=10)
    headers = {
        "Cookie": f"holdfast-console-{console.port}={token}",
        "Origin": f"http://127.0.0.1:{console.port}",
        "Content-Type": "application/json",
        "X-Console-Key": key,
    }
    connection.request("POST", "/drill", json.dumps({"name": "app-killed"}), headers)
    assert connection.getresponse().status == http.client.NO_CONTENT
    connection.close()

    def app_runs() -> bool:
        return any(each.name == "app1" and each.state == "running" for each in cluster.containers())

    wait_until("app1 killed", 60, lambda: not app_runs())
    console.die()
    wait_until("app1 mended", END_LIMIT, app_runs)


def test_the_key_is_its_owners_alone(console: Console) -> None:
    """Not in the list of processes, which every user here can read, and in a file of mode 600."""
    key = urlsplit(console.link).fragment
    told = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _readable(path)]
    assert not any(key.encode() in each for each in told)
    file = ROOT / ".holdfast" / "console.key"
    assert file.stat().st_mode & 0o077 == 0
    assert file.read_text().strip() == key


def _readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:  # it has ended
        return False
    return True


@pytest.mark.long
def test_what_it_costs(console: Console) -> None:
    """Of this machine's processors, while nothing happens: its own, and the engine's for it."""
    with Stream(console):
        time.sleep(3)  # all sessions are open
        before, engine = _used(console.process.pid), _engine()
        time.sleep(20)
        used = (_used(console.process.pid) - before) / 20
        print(
            f"the console uses {used:.3f} of a core, "
            f"the engine with it {(_engine() - engine) / 20:.3f}"
        )
        assert used < 0.35


def _used(pid: int) -> float:
    """Return the seconds of processor time of a process and its children."""
    ticks, found, left = 0, set(), {pid}
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        parents[int(path.parent.name)] = (int(words[1]), int(words[11]) + int(words[12]))
    while left:
        found |= left
        left = {each for each, (parent, _) in parents.items() if parent in left} - found
    ticks = sum(parents[each][1] for each in found if each in parents)
    return ticks / os.sysconf("SC_CLK_TCK")


def _engine() -> float:
    """Return the same of dockerd and containerd."""
    pids = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/comm")
        if _readable(path) and path.read_text().strip() in {"dockerd", "containerd"}
    ]
    return sum(_used(each) for each in pids if each != os.getpid())
