"""service.observability.logs: every line is JSON, and carries the request's id."""

import io
import json
import logging

import httpx
import structlog
from fastapi import FastAPI

from service.observability.record import request_record


def read(stream: io.StringIO) -> list[dict[str, object]]:
    """Parse everything that was written: a line that is not JSON fails here."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_libraries_and_service_write_alike(stream: io.StringIO) -> None:
    """Lines of uvicorn's loggers have the same fields as ours, the request's id included."""
    with request_record([(b"x-request-id", b"r-1")]):
        structlog.get_logger().info("ours", answer=42)
        logging.getLogger("uvicorn.error").warning("theirs %d", 42)
        logging.getLogger("uvicorn.access").info("theirs too")

    ours, theirs, access = read(stream)

    assert (ours["event"], ours["answer"], ours["level"]) == ("ours", 42, "info")
    assert (theirs["event"], theirs["logger"]) == ("theirs 42", "uvicorn.error")
    assert theirs["level"] == "warning"
    for line in (ours, theirs, access):
        assert (line["request_id"], line["instance"]) == ("r-1", "app1")
        assert str(line["timestamp"]).endswith("Z")


def test_a_librarys_sentence_is_its_first_line(stream: io.StringIO) -> None:
    """What follows is a traceback as text, or a repr; and no line is longer than it need be."""
    logging.getLogger("uvicorn.error").error("Traceback (most recent call last):\n  more")
    logging.getLogger("other").error("x" * 100_000)
    logging.getLogger("asyncio").error("socket.send() raised exception.\nfuture: <Future secret>")

    first, second, third = read(stream)

    assert first["event"] == "Traceback (most recent call last):"
    assert len(str(second["event"])) == 1000
    assert third["event"] == "socket.send"


def test_outside_of_a_request_the_id_is_null(stream: io.StringIO) -> None:
    """The field is always there, so that a query on it needs no exception."""
    structlog.get_logger().info("alone")

    (line,) = read(stream)

    assert line["request_id"] is None


def test_exceptions_stay_on_their_line(stream: io.StringIO) -> None:
    """A traceback is a field, of our lines and of the libraries', not twenty more lines."""
    try:
        json.loads("boom")
    except ValueError:
        structlog.get_logger().exception("ours")
        logging.getLogger("asyncio").exception("theirs")

    lines = read(stream)

    assert [line["event"] for line in lines] == ["ours", "theirs"]
    assert all("JSONDecodeError" in json.dumps(line["exception"]) for line in lines)


async def test_request_is_traced_through_the_log(
    client: httpx.AsyncClient, stream: io.StringIO
) -> None:
    """The first retry, the final problem and the access line all carry the request's id."""
    headers = {
        "x-request-id": "r-77",
        "x-client-request-id": "mine",
        "x-forwarded-for": "192.0.2.7",
    }
    await client.get("/api/users/1", headers=headers)

    mine = [line for line in read(stream) if line["request_id"] == "r-77"]

    assert [line["event"] for line in mine] == ["retrying", "unavailable", "request"]
    assert mine[-1]["path"] == "/api/users/1"
    assert mine[-1]["status"] == 503
    assert mine[-1]["client_ip"] == "192.0.2.7"
    assert mine[-1]["client_request_id"] == "mine"


async def test_unexpected_error_is_logged_with_its_traceback(
    app: FastAPI, client: httpx.AsyncClient, stream: io.StringIO
) -> None:
    """What the client is not told the log has, under the id that the client was given."""

    async def fail() -> None:
        raise RuntimeError("a detail of ours")

    app.add_api_route("/fail", fail)
    response = await client.get("/fail")

    lines = [line for line in read(stream) if line["event"] == "unexpected error"]
    assert len(lines) == 1
    assert lines[0]["request_id"] == response.json()["request_id"]
    told = json.dumps(lines[0]["exception"])
    assert "RuntimeError" in told
    assert ".fail" in told
    assert "a detail of ours" not in told  # it could be the client's: test_exceptions.py


async def test_probes_are_quiet(client: httpx.AsyncClient, stream: io.StringIO) -> None:
    """What machines ask every second is logged at DEBUG only."""
    await client.get("/health")

    (line,) = [line for line in read(stream) if line.get("path") == "/health"]

    assert line["level"] == "debug"


async def test_a_requests_line_is_as_long_as_is_said(
    client: httpx.AsyncClient, stream: io.StringIO
) -> None:
    """A week of logs is sized by it (deploy/compose/README.md): 550 bytes with Docker's frame."""
    headers = {
        "X-Request-Id": "a" * 32,
        "X-Client-Request-Id": "b" * 36,
        "X-Forwarded-For": "2001:db8:1234:5678:9abc:def0:1234:5678",
    }
    await client.get(f"/api/users/{10**9}", headers=headers)

    (line,) = [line for line in stream.getvalue().splitlines() if '"event":"request"' in line]

    # As Docker writes it; the name of a token's holder comes on top.
    frame = {"log": f"{line}\n", "stream": "stdout", "time": "2026-11-27T02:44:35.406747123Z"}
    assert 400 < len(json.dumps(frame, separators=(",", ":"))) + 1 <= 520
