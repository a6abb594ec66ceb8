"""service.observability.exceptions: the log says what failed and where, never about what."""

import asyncio
import gc
import io
import json
from collections.abc import AsyncIterator, Callable

import asyncpg
import httpx
import pydantic
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from service.errors import ConstraintViolated, DatabaseFailure
from service.observability import exceptions
from service.observability.exceptions import CHAIN, FRAMES
from tests.unit.service.observability.test_logs import read

SECRET = "hunter2-of-nobody@example.com"
LINE_MOST = 20_000  # characters


class Model(pydantic.BaseModel):
    """Anything that can be wrong."""

    number: int


def wrong_model() -> None:
    """Raise what pydantic raises, with `input_value=` in its message."""
    Model.model_validate({"number": SECRET})


def wrong_bytes() -> None:
    """Raise a UnicodeError, whose text and arguments have the text."""
    f"{SECRET}\ud800".encode()


def wrong_key() -> None:
    """Raise a KeyError, whose text is the key."""
    {}[SECRET]


def of_the_driver() -> None:
    """Raise what asyncpg raises for a duplicate: the row is in its DETAIL."""
    fields = {
        "C": "23505",
        "V": "ERROR",
        "M": f"no {SECRET}",
        "D": f"Key (email)=({SECRET}) exists",
    }
    raise asyncpg.PostgresError.new(fields)


def of_its_arguments() -> None:
    """Raise what asyncpg raises for an argument that it cannot send."""
    raise asyncpg.DataError(f"invalid input for query argument $1: {SECRET!r}")


def chained() -> None:
    """Raise one error from another, with a note."""
    try:
        of_the_driver()
    except asyncpg.PostgresError as error:
        error.add_note(SECRET)
        raise LookupError(SECRET) from error


def while_handling() -> None:
    """Raise one error while another is handled."""
    try:
        wrong_key()
    except KeyError:
        raise RuntimeError(SECRET)  # noqa: B904 - its context is what is looked at


def group() -> None:
    """Raise several at once."""
    raise ExceptionGroup(SECRET, [ValueError(SECRET), KeyError(SECRET)])


def deep(depth: int = 900) -> None:
    """Raise from far down, past frames whose locals hold the secret."""
    local = SECRET * depth
    if depth:
        deep(depth - 1)
    raise RuntimeError(local)


KINDS = [
    wrong_model,
    wrong_bytes,
    wrong_key,
    of_the_driver,
    of_its_arguments,
    chained,
    while_handling,
    group,
    deep,
]


def check(text: str) -> None:
    """Assert that nothing of the request is in the log, and that its lines are short."""
    assert SECRET not in text
    assert "hunter2" not in text
    assert all(len(line) < LINE_MOST for line in text.splitlines())


def errors(stream: io.StringIO) -> list[dict[str, object]]:
    """Return the lines of level ERROR."""
    return [line for line in read(stream) if line["level"] == "error"]


@pytest.mark.parametrize("fail", KINDS, ids=lambda each: each.__name__)
async def test_an_unexpected_error_tells_nothing_of_the_request(
    app: FastAPI, client: httpx.AsyncClient, stream: io.StringIO, fail: Callable[[], None]
) -> None:
    """Neither its headers nor its body nor a parameter; but the type, and where it was raised."""

    async def endpoint(request: Request) -> None:
        body = await request.body()
        assert body
        fail()

    app.add_api_route("/fail", endpoint, methods=["POST"])
    headers = {"Authorization": f"Bearer {SECRET}", "Idempotency-Key": SECRET}
    response = await client.post("/fail", json={"email": SECRET}, headers=headers)

    assert response.status_code == 500
    (line,) = [line for line in read(stream) if line["event"] == "unexpected error"]
    assert fail.__name__ in json.dumps(line["exception"])
    check(stream.getvalue())


async def test_the_drivers_error_has_its_sqlstate(
    app: FastAPI, client: httpx.AsyncClient, stream: io.StringIO
) -> None:
    """A failure of ours keeps its own message, and of what the driver said the class."""

    async def endpoint() -> None:
        try:
            of_the_driver()
        except asyncpg.PostgresError as error:
            raise DatabaseFailure("42P01 UndefinedTableError", kind="permanent") from error

    app.add_api_route("/fail", endpoint)
    await client.get("/fail")

    (line,) = [line for line in read(stream) if line["event"] == "internal"]
    assert line["error"] == "42P01 UndefinedTableError"
    assert str(line["cause"]).endswith("UniqueViolationError 23505")
    ours, theirs = line["exception"]  # type: ignore[misc]
    assert ours["message"] == "42P01 UndefinedTableError"
    assert "message" not in theirs
    assert any("in of_the_driver" in frame for frame in theirs["frames"])
    check(stream.getvalue())


async def test_a_violated_constraint_nobody_expected(
    app: FastAPI, client: httpx.AsyncClient, stream: io.StringIO
) -> None:
    """Its cause's DETAIL has the row."""

    async def endpoint() -> None:
        try:
            of_the_driver()
        except asyncpg.PostgresError as error:
            raise ConstraintViolated("23505", kind="unique", constraint="key") from error

    app.add_api_route("/fail", endpoint)
    assert (await client.get("/fail")).status_code == 500
    check(stream.getvalue())


async def test_after_the_response_began(
    app: FastAPI, client: httpx.AsyncClient, stream: io.StringIO
) -> None:
    """The same line; the connection is cut, which is all that is left to tell the client."""

    async def parts() -> AsyncIterator[bytes]:
        yield b"begun"
        wrong_key()

    app.add_api_route("/fail", lambda: StreamingResponse(parts()))
    with pytest.raises(KeyError):
        await client.get("/fail")

    assert [line for line in read(stream) if line["event"] == "unexpected error"]
    check(stream.getvalue())


async def test_a_task_that_nobody_asked_for_its_end(stream: io.StringIO) -> None:
    """What asyncio says goes on with the repr of the task and its exception: it is cut."""

    async def fail() -> None:
        wrong_key()

    task = asyncio.create_task(fail())
    await asyncio.wait([task], timeout=5)
    del task
    gc.collect()

    (line,) = errors(stream)
    assert line["event"] == "Task exception was never retrieved"
    assert "wrong_key" in json.dumps(line["exception"])
    check(stream.getvalue())


async def test_a_callback_that_fails(stream: io.StringIO) -> None:
    """What asyncio says has the callback's arguments in its first line."""

    def fail(_: str) -> None:
        wrong_key()

    asyncio.get_running_loop().call_soon(fail, SECRET)
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    (line,) = errors(stream)
    assert str(line["event"]).startswith("Exception in callback")
    assert "KeyError" in json.dumps(line["exception"])
    check(stream.getvalue())


async def test_an_application_that_cannot_start(
    app: FastAPI, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server would say so by the text of a traceback: of that its log has the first line."""

    async def fail() -> None:
        wrong_key()

    monkeypatch.setattr(app.state.database, "open", fail)
    with pytest.raises(KeyError):
        async with app.router.lifespan_context(app):
            pass

    (line,) = errors(stream)
    assert "wrong_key" in json.dumps(line["exception"])
    check(stream.getvalue())


def test_a_chain_is_bounded() -> None:
    """Also one that leads back to itself, and however deep each was raised."""
    first, second = ValueError("1"), ValueError("2")
    first.__context__, second.__context__ = second, first
    assert len(exceptions.describe((ValueError, first, None))) == 2
    error: Exception = ValueError("0")
    for number in range(50):
        error, error.__cause__ = ValueError(str(number)), error
    assert len(exceptions.describe((ValueError, error, None))) <= CHAIN
    with pytest.raises(RuntimeError) as raised:
        deep()
    (told,) = exceptions.describe((RuntimeError, raised.value, None))
    assert len(told["frames"]) == FRAMES
    assert "in deep" in told["frames"][-1]
