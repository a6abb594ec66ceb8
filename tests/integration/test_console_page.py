"""The console's page in a real Chromium, on a stack that is played (tests/console_replay.py)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ops.panel.facts import Facts
from tests import browser
from tests.browser import Browser, Page
from tests.console_replay import Played, row, whole, without

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTHS = (1400, 800, 390)

CONTRAST = """(() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (text) => {
    const [r, g, b] = parts(text).slice(0, 3).map((v) => v / 255)
      .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (parts(colour)[3] !== 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const weak = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.getClientRects().length) continue;
    if (e.closest("svg, [disabled], .unseen, .skip")) continue;
    const style = getComputedStyle(e);
    const [a, b] = [light(style.color), light(behind(e))].sort((x, y) => y - x);
    const large = parseFloat(style.fontSize) >= 24;
    const least = large ? 3 : 4.5;
    if ((a + 0.05) / (b + 0.05) < least) weak.push(`${e.textContent.trim()}: ${style.color}`);
  }
  return weak;
})()"""
"""Texts whose contrast is below WCAG's AA."""

UNNAMED = """[...document.querySelectorAll("button, input, a, canvas, [role]")].filter((e) =>
  !(e.getAttribute("aria-label") || e.labels?.length || e.textContent.trim())
  && e.getAttribute("role") !== "status" && e.getAttribute("role") !== "alert").length"""
"""How many elements a screen reader has no name for; places that speak are empty at times."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser."""
    program = browser.find()
    if program is None:
        pytest.skip("not run: there is no chromium (deploy/bootstrap/install-chromium.sh)")
    with Browser(program) as running:
        yield running


@pytest.fixture
def played() -> Iterator[Played]:
    """A console whose stack is played."""
    console = Played()
    console.start()
    yield console
    console.close()


@pytest.fixture
def page(chromium: Browser, played: Played) -> Iterator[Page]:
    """The page, open; afterwards nothing was wrong with it."""
    chromium.errors.clear()
    opened = chromium.open(played.server.link)
    opened.wait("document.querySelector('#word').textContent !== '…'", "what the stack is")
    yield opened
    opened.close()
    assert chromium.errors == []


def test_the_page_draws_the_stack(page: Page) -> None:
    """Who leads, who has the address, where requests go; in the drawing, in words, in a table."""
    assert page.text("#word") == "all is well"
    assert page.value("document.title") == "all is well · Holdfast"
    boxes = page.value("[...document.querySelectorAll('.title-text')].map((e) => e.textContent)")
    assert set(boxes) == {
        *("Clients", "Edge", "haproxy1", "haproxy2", "app1", "app2", "Virtual IP"),
        *("postgres1", "postgres2", "Monitor", "Backups"),
    }
    assert page.text(".leads .title-text") == "postgres1"
    words = "Writes go through haproxy1 to postgres1; reads go to postgres1 and postgres2."
    assert page.text("#in-words") == words
    page.click("details summary")
    assert page.value("document.querySelectorAll('#table tbody tr').length") == len(boxes) - 1


def test_the_token_is_nowhere_to_be_seen(page: Page, played: Played) -> None:
    """Not in the address, not in the history, not for scripts."""
    port = played.server.guard.port
    assert page.value("location.href") == f"http://127.0.0.1:{port}/"
    history = page.send("Page.getNavigationHistory")["entries"]
    assert not any("token" in each["url"] or "#" in each["url"] for each in history)
    assert page.value("document.cookie") == ""
    page.send("Page.reload")  # the cookie is enough
    page.wait("document.querySelector('#word')?.textContent === 'all is well'", "the page again")


def test_a_drill_by_its_button(page: Page) -> None:
    """A click, the arrow moves, and the verdict is read; the load is the drill's own meanwhile."""
    page.click("#load")
    page.wait("document.querySelector('#n-writes').textContent > 10", "writes")
    page.click("[data-drill=primary-killed]")
    took = page.wait("document.querySelector('#word').textContent === 'no writes'", "the kill")
    assert page.text(".cut") == "✕ writes wait"
    assert "wrong" in page.text("#verdict")
    assert "docs/runbook.md, “No node accepts writes”" in page.text("#wrong")
    assert page.value("document.querySelector('#load').disabled")
    page.wait(
        "document.querySelector('.leads .title-text')?.textContent === 'postgres2'", "the arrow"
    )
    page.wait("document.querySelector('.run.well .big')", "the verdict", 30)
    assert page.text(".run .big") == "lost0failed0write pause2.4 s"
    assert "Every promise was kept." in page.text(".run")
    page.wait("document.querySelector('#load').ariaChecked === 'true'", "the load again")
    happened = page.text("#events")
    for what in ("postgres1 killed", "postgres2 accepts writes: it is the primary", "whole again"):
        assert what in happened
    assert took < 10


def test_what_stops_everything_asks(page: Page, played: Played) -> None:
    """With the keyboard as well: Escape leaves it alone, and so does the button that has focus."""
    page.value("document.querySelector('#more').open = true")
    page.click("[data-drill=power-lost]")
    page.wait("document.querySelector('#ask').open", "the question")
    assert page.value("document.activeElement.id") == "ask-no"
    page.press("Escape")
    page.wait("!document.querySelector('#ask').open", "no question any more")
    assert played.doings is not None
    assert not played.doings.drilling
    page.click("[data-drill=power-lost]")
    page.wait("document.querySelector('#ask').open", "the question")
    page.press("Tab")
    page.press("Enter")
    page.wait("document.querySelector('.run h3')?.textContent === 'power-lost'", "the drill")
    page.click(".run button")
    page.wait("document.querySelector('.run.bad .now')", "its end")


def test_everything_is_reached_by_keyboard(page: Page) -> None:
    """In the order in which it is read; what has focus shows it."""
    reached = []
    for _ in range(10):
        page.press("Tab")
        name = "document.activeElement.id || document.activeElement.dataset.drill || "
        reached.append(page.value(f"{name} document.activeElement.tagName.toLowerCase()"))
        assert page.value("getComputedStyle(document.activeElement).outlineStyle !== 'none' "
                          "|| document.activeElement.matches('input')")  # fmt: skip
    assert reached[:4] == ["a", "load", "summary", "input"]
    assert reached[4:9] == [
        *("primary-killed", "switchover", "proxy-killed", "app-killed", "standby-killed"),
    ]
    page.press("Tab")
    page.value("document.querySelector('[data-drill=switchover]').focus()")
    page.press("Enter")
    page.wait("document.querySelector('.run h3')?.textContent === 'switchover'", "the drill")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read(chromium: Browser, played: Played, scheme: str) -> None:
    """Contrast of AA in both schemes, names for all that a screen reader comes across."""
    page = chromium.open(played.server.link, prefers_color_scheme=scheme)
    page.wait("document.querySelector('#word').textContent === 'all is well'", "the stack")
    page.click("[data-drill=primary-killed]")
    page.wait("document.querySelector('#word').textContent === 'no writes'", "the kill")
    assert page.value(CONTRAST) == []
    assert page.value(UNNAMED) == 0
    levels = "[...document.querySelectorAll('h1,h2,h3')].map((e) => e.tagName)"
    assert page.value(levels)[0] == "H1"
    assert page.value("document.querySelectorAll('main, header, footer').length") == 3
    assert page.value("document.querySelectorAll('section:not([aria-labelledby])').length") == 0
    page.wait("document.querySelector('.run.well .big')", "the verdict", 30)
    assert page.value(CONTRAST) == []
    page.close()


THREE = {
    "last": 1,
    "nodes": [
        *(whole().states or {})["nodes"],
        {
            **row("postgres2", "catchingup", "secondary", timeline=4),
            "node_id": 3,
            "nodename": "postgres3",
        },
    ],
}
NOBODY = {"haproxy1": False, "haproxy2": False}

SILENCES = {
    "Docker": Facts(),
    "the monitor": replace(whole(), states=None),
    "a monitor without data": replace(whole(), states={"last": 1, "nodes": []}),
    "both nodes": replace(without(without(whole(), "postgres1"), "postgres2"), nodes={}),
    "both proxies": replace(whole(), holds={}, servers={}),
    "who holds the address": replace(whole(), holds=NOBODY),
    "the edge": replace(without(whole(), "vip-access"), edge=False),
    "both instances": replace(whole(), instances={}),
    "the repository": without(replace(whole(), backups=None), "backup"),
    "nobody of three": replace(whole(), states=THREE),
}


@pytest.mark.parametrize("silent", SILENCES)
@pytest.mark.parametrize("width", [1400, 390])
def test_it_draws_whatever_is_silent(page: Page, played: Played, silent: str, width: int) -> None:
    """And says so; without an error, and not wider than the screen."""
    page.resize(width, 844)
    played.facts = SILENCES[silent]
    if silent == "Docker":
        page.wait("document.querySelector('#word').textContent === 'not known'", silent)
        assert "Docker does not answer" in page.text("#in-words")
    elif silent == "both instances":
        page.wait("document.querySelector('#table').textContent.includes('does not say')", silent)
    elif silent == "nobody of three":
        page.wait("document.querySelector('#drawing').textContent.includes('postgres3')", silent)
    else:
        page.wait("document.querySelector('#to-wrong').hidden === false", silent)
    assert page.value("document.querySelectorAll('.box').length") >= 8
    assert "NaN" not in page.value("document.querySelector('#drawing').innerHTML")
    assert page.value("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits(page: Page, width: int) -> None:
    """Nothing is wider than the screen, and no text in a box is wider than the box."""
    page.resize(width, 844)
    page.wait(f"innerWidth === {width}", "the width")
    shown = "document.querySelector('#drawing svg').viewBox.baseVal.width <= innerWidth"
    page.wait(shown, "the drawing in its width")
    assert page.value("document.documentElement.scrollWidth") <= width
    wide = """[...document.querySelectorAll('.box')].flatMap((box) => {
      const frame = box.querySelector('rect').getBBox();
      return [...box.querySelectorAll('text')].filter((e) => {
        const [at, text] = [e.getBBox(), e.textContent];
        return text && (at.x + at.width > frame.width || at.y + at.height > frame.height + 2);
      }).map((e) => e.textContent); })"""
    assert page.value(wide) == []


def test_nothing_moves_for_those_who_do_not_want_it(chromium: Browser, played: Played) -> None:
    """No dots on the arrows, no transitions."""
    page = chromium.open(played.server.link, prefers_reduced_motion="reduce")
    page.wait("document.querySelector('#word').textContent === 'all is well'", "the stack")
    page.click("#load")
    page.wait("document.querySelector('#n-writes').textContent > 10", "writes")
    assert page.value("document.querySelectorAll('.dot').length") == 0
    assert (
        page.value("getComputedStyle(document.querySelector('.flow')).transitionDuration") == "0s"
    )
    page.close()


def test_it_says_when_the_console_is_gone_and_goes_on_when_it_is_back(
    chromium: Browser, played: Played
) -> None:
    """What is shown is marked as old; the same page goes on, with the same link."""
    page = chromium.open(played.server.link)
    page.wait("document.querySelector('#word').textContent === 'all is well'", "the stack")
    port = played.server.guard.port
    played.close()
    page.wait("!document.querySelector('#gone').hidden", "a word that it is gone")
    page.wait("document.body.classList.contains('stale')", "the drawing marked as old")
    again = Played(port=port)
    again.start()
    try:
        page.wait("document.querySelector('#gone').hidden", "the console again")
        page.click("#load")
        page.wait("document.querySelector('#load').ariaChecked === 'true'", "the load")
    finally:
        page.close()
        again.close()
    played.start()  # for the fixture to end


def test_a_page_with_the_cookie_alone_only_looks(chromium: Browser, played: Played) -> None:
    """As one that another local user's server has stolen: it says so, and nothing is done."""
    page = chromium.open(played.server.link.partition("#")[0])
    page.wait("document.querySelector('#word').textContent === 'all is well'", "the stack")
    page.value("localStorage.clear()")
    page.click("#load")
    page.wait("!document.querySelector('#refused').hidden", "the refusal")
    assert "can only look" in page.text("#refused")
    page.close()


def test_read_only_has_no_switch_and_no_buttons(chromium: Browser) -> None:
    """And the chart takes the place."""
    played = Played(read_only=True)
    played.start()
    page = chromium.open(played.server.link)
    page.wait("document.querySelector('#word').textContent === 'all is well'", "the stack")
    assert page.value("document.querySelector('#load').hidden")
    assert page.value("document.querySelector('#drill-card').hidden")
    assert page.value("document.querySelectorAll('[data-drill]').length") == 0
    page.close()
    played.close()
