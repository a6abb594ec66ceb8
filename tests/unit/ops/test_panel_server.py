"""The console over HTTP: what it answers, to whom, and its stream."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from ops.console import StackError
from ops.panel import hub as hub_module
from ops.panel import server as server_module
from ops.panel.access import Keys
from ops.panel.server import PAGE, Server
from tests.console_replay import Played, killed

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 10.0
"""Seconds for an answer."""


@pytest.fixture
def played() -> Iterator[Played]:
    """A console whose stack is played."""
    console = Played()
    console.start()
    yield console
    console.close()


def ask(
    played: Played, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    """Return the answer to a request with these headers (`_` is `-`) and no others."""
    connection = http.client.HTTPConnection("127.0.0.1", played.server.guard.port, timeout=LIMIT)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    host = f"127.0.0.1:{played.server.guard.port}"
    for name, value in {"Host": host, **headers}.items():
        connection.putheader(name.replace("_", "-"), value)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    streams = answer.headers.get("Content-Type") == "text/event-stream"
    return answer, b"" if streams else answer.read()


def cookie(played: Played) -> str:
    """Return what a browser sends that has opened the link."""
    return f"{played.server.guard.cookie}={played.server.keys.look}"


def post(
    played: Played, path: str, what: dict[str, Any] | bytes, **headers: str
) -> tuple[int, str]:
    """Ask for something as the page does."""
    said = {
        "Cookie": cookie(played),
        "Origin": f"http://127.0.0.1:{played.server.guard.port}",
        "Content_Type": "application/json",
        "X_Console_Key": played.key,
        **headers,
    }
    body = what if isinstance(what, bytes) else json.dumps(what).encode()
    answer, text = ask(played, "POST", path, body, **said)
    return answer.status, text.decode()


FILES = sorted(each.name for each in PAGE.iterdir())


@pytest.mark.parametrize("path", ["/", "/stream", "/nothing", *(f"/{name}" for name in FILES)])
def test_nothing_is_answered_without_the_token(played: Played, path: str) -> None:
    """Not even whether there is such a file."""
    answer, text = ask(played, "GET", path)
    assert answer.status == 403
    assert b"Open the link" in text
    assert answer.headers["Set-Cookie"] is None
    assert ask(played, "POST", path, b"{}")[0].status == 403
    for method in ("HEAD", "PUT", "DELETE", "OPTIONS"):
        assert ask(played, method, path)[0].headers["Allow"] is None
        assert b"Python" not in ask(played, method, path)[1]
    for name in ("evil.example", f"evil.example:{played.server.guard.port}"):
        assert ask(played, "GET", path, Host=name, Cookie=cookie(played))[0].status == 403


def test_the_link_gives_a_cookie_of_this_host_alone(played: Played) -> None:
    """That no script reads, and no other site's request carries; every file then has its answer."""
    answer, page = ask(played, "GET", f"/?token={played.server.keys.look}")
    assert answer.status == 200
    assert page == (PAGE / "index.html").read_bytes()
    given = answer.headers["Set-Cookie"]
    assert given == f"{cookie(played)}; Path=/; HttpOnly; SameSite=Strict"
    for name in FILES:
        assert ask(played, "GET", f"/{name}", Cookie=cookie(played))[0].status == 200
    assert ask(played, "GET", "/../server.py", Cookie=cookie(played))[0].status == 404
    assert ask(played, "GET", f"/app.js?token={played.server.keys.look}")[0].status == 403


def test_every_answer_forbids_what_the_page_does_not_need(played: Played) -> None:
    """No script but its own files, no frame, nothing kept in a cache, no address passed on."""
    for path, headers in {"/": {"Cookie": cookie(played)}, "/x": {}}.items():
        answer, _ = ask(played, "GET", path, **headers)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy


def test_the_page_is_itself_alone() -> None:
    """Nothing from elsewhere, and no script or style within: the policy would refuse it."""
    for file in PAGE.iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text, file
        assert "https:" not in text, file
        assert "innerHTML" not in text, file
        assert len(text.splitlines()) <= 300, file
    page = (PAGE / "index.html").read_text()
    assert "<style" not in page
    assert "style=" not in page
    assert "onclick" not in page
    assert page.count("<script") == page.count('<script type="module" src=') == 1


def test_it_listens_on_loopback_alone(played: Played) -> None:
    """And says so where the port is another's."""
    assert played.server.server_address[0] == "127.0.0.1"
    with pytest.raises(StackError, match="--port"):
        Server(played.server.guard.port, Keys("x"), played.hub)


def test_a_header_that_comes_twice_is_none(played: Played) -> None:
    """No browser sends it; which one counts is a matter of taste."""
    with socket.create_connection(("127.0.0.1", played.server.guard.port), LIMIT) as raw:
        host = f"127.0.0.1:{played.server.guard.port}"
        lines = ["GET / HTTP/1.1", f"Host: {host}", "Host: evil", f"Cookie: {cookie(played)}"]
        raw.sendall("\r\n".join([*lines, "", ""]).encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 403 ")


def test_the_page_can_switch_the_load_and_run_a_drill(played: Played) -> None:
    """One drill at a time; what is not understood is refused."""
    assert post(played, "/load", {"on": True}) == (204, "")
    assert played.doings is not None
    assert played.doings.data()["load"]["on"]
    assert post(played, "/load", {"on": False}) == (204, "")
    assert post(played, "/drill", {"name": "nothing"})[0] == 409
    assert post(played, "/drill", {"name": "primary-killed"}) == (204, "")
    status, why = post(played, "/drill", {"name": "app-killed"})
    assert (status, why) == (409, "One drill at a time: another one is running.\n")
    assert post(played, "/drill/stop", {}) == (204, "")
    for path, body in {
        "/else": b"{}",
        "/load": b"[]",
        "/drill": b"{}",
        "/drill/stop": b"x" * 2000,
    }.items():
        assert post(played, path, body)[0] == 400, path


@pytest.mark.parametrize(
    "changed",
    [
        {"Origin": "http://evil.example"},
        {"X_Console_Key": ""},
        {"Content_Type": "text/plain"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Cookie": "a=b"},
    ],
)
def test_another_site_can_do_nothing(played: Played, changed: dict[str, str]) -> None:
    """Whatever it knows or guesses of a request."""
    for path in ("/load", "/drill", "/drill/stop"):
        assert post(played, path, {"on": True, "name": "primary-killed"}, **changed)[0] == 403
    assert played.doings is not None
    assert played.doings.data() == {
        "load": {"on": False, "phase": "", "error": ""},
        "drill": None,
    }


def test_read_only_refuses_by_the_server() -> None:
    """Not only by leaving the buttons out."""
    played = Played(read_only=True)
    played.start()
    try:
        for path in ("/load", "/drill", "/drill/stop"):
            status, why = post(played, path, {"on": True, "name": "primary-killed"})
            assert status == 403
            assert "--read-only" in why
        assert stream(played)[0]["drills"] is None
    finally:
        played.close()


def stream(played: Played, messages: int = 1) -> list[dict[str, Any]]:
    """Return the first messages of the stream."""
    answer, _ = ask(played, "GET", "/stream", Cookie=cookie(played))
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.headers["Cache-Control"] == "no-store"
    found: list[dict[str, Any]] = []
    assert answer.readline() == b"retry: 500\n"
    while len(found) < messages:
        line = answer.readline()
        assert line, "the stream has ended"
        if line.startswith(b"data: "):
            found.append(json.loads(line[6:]))
    answer.close()
    return found


def test_the_stream_begins_with_everything_and_goes_on_with_changes(played: Played) -> None:
    """A page that comes back begins anew, and misses nothing."""
    first, second = stream(played, 2)
    assert first["first"]
    assert first["state"]["primary"] == "postgres1"
    assert len(first["drills"]) > 20
    assert "first" not in second
    played.facts = killed(0.5)
    begun = [each for each in stream(played, 3) if each.get("state")]
    assert begun[-1]["state"]["primary"] is None


def test_a_stream_ends_with_the_console_and_with_its_reader(played: Played) -> None:
    """No thread waits for ever, and nobody is kept who has gone."""
    answer, _ = ask(played, "GET", "/stream", Cookie=cookie(played))
    played.hub.stop()
    assert b"data: " in answer.read()  # to its end


def test_too_many_pages_are_refused(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a thread."""
    monkeypatch.setattr(hub_module, "STREAMS", 1)
    held = played.hub.subscribe()
    answer, _ = ask(played, "GET", "/stream", Cookie=cookie(played))
    assert answer.status == 503
    played.hub.leave(held)
    assert stream(played)


def raw(played: Played) -> socket.socket:
    """Connect, and say nothing."""
    return socket.create_connection(("127.0.0.1", played.server.guard.port), LIMIT)


def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody on this host may connect. Who leaves makes room."""
    monkeypatch.setattr(server_module, "CONNECTIONS", 2)
    played = Played()
    played.start()
    try:
        with raw(played), raw(played) as second:
            with raw(played) as third:
                assert third.recv(1) == b""
            second.shutdown(socket.SHUT_RDWR)
            until = time.monotonic() + LIMIT
            while True:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    if ask(played, "GET", "/")[0].status == 403:
                        break
                assert time.monotonic() < until, "no room"
                time.sleep(0.01)
    finally:
        played.close()


@pytest.mark.parametrize("head", [b"GET / HTTP/1.1\r\nX: ", b"GET /"])
def test_a_request_that_trickles_has_an_end(
    played: Played, monkeypatch: pytest.MonkeyPatch, head: bytes
) -> None:
    """Each byte in time, and never all of it."""
    monkeypatch.setattr(server_module, "ASK_LIMIT", 0.5)
    with raw(played) as slow:
        slow.sendall(head)
        slow.settimeout(0.05)
        until = time.monotonic() + LIMIT
        while True:
            assert time.monotonic() < until, "it is still heard"
            try:
                slow.sendall(b"x")
                slow.recv(1000)  # a refusal, or nothing: its end
                break
            except TimeoutError:
                continue
            except OSError:
                break
