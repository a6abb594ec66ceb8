"""A server that answers at once and stores nothing on disk: what the generator is measured with.

It speaks as much HTTP/1.1 as httpx needs and as much of the service's API as the generator uses.
Its `behave` hook can stall or answer something else, which is what the tests do with it.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import queue
import signal
import threading
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import uvloop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from multiprocessing.connection import Connection

START_LIMIT = 30.0
"""Seconds for the server's process to listen."""

GRACE = 2.0
"""Seconds for the server's process to end."""

REASONS = {200: "OK", 201: "Created", 404: "Not Found", 412: "Precondition Failed"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to give; `body` None gives none and closes the connection."""

    status: int
    body: dict[str, Any] | None
    headers: dict[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        """Return the bytes to send."""
        body = json.dumps(self.body).encode()
        lines = [f"HTTP/1.1 {self.status} {REASONS.get(self.status, 'Status')}"]
        headers = {"Content-Type": "application/json", "Content-Length": len(body), **self.headers}
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + body


Behave = Callable[[Asked], Awaitable[Answer | None]]
"""Answers in the server's place; None leaves it to the server."""


class NullServer:
    """Users in memory, with versions; a write whose key is known is answered as it was."""

    def __init__(self, behave: Behave | None = None) -> None:
        """Have no users yet."""
        self._behave = behave
        self._users: list[dict[str, Any]] = []
        self._keys: dict[str, Answer] = {}
        self.asked: list[Asked] = []  # only kept when there is a `behave`

    async def answer(self, asked: Asked) -> Answer:
        """Return what the service would say."""
        if self._behave is not None:
            self.asked.append(asked)
            own = await self._behave(asked)
            if own is not None:
                return own
        key = asked.headers.get("idempotency-key", "")
        if key in self._keys:
            return self._keys[key]
        made = self._made(asked)
        if key and made.status < 300:  # noqa: PLR2004 - success
            self._keys[key] = made
        return made

    def _made(self, asked: Asked) -> Answer:
        if asked.method == "POST":
            user = {"id": len(self._users) + 1, **asked.body, "version": 1}
            user["etag"] = _etag(user)
            self._users.append(user)
            return _of(user, 201)
        user = self._user(asked.path)
        if not user:
            return _problem(404, "not-found")
        if asked.method == "PATCH":
            if asked.headers.get("if-match") != f'"{user["etag"]}"':
                return _problem(412, "precondition-failed")
            user.update(asked.body, version=user["version"] + 1)
            user["etag"] = _etag(user)
        return _of(user, 200)

    def _user(self, path: str) -> dict[str, Any]:
        number = path.rpartition("/")[2]
        place = int(number) if number.isdecimal() else 0
        return self._users[place - 1] if 1 <= place <= len(self._users) else {}


def _of(user: dict[str, Any], status: int) -> Answer:
    headers = {
        "ETag": f'"{user["etag"]}"',
        "Location": f"/api/users/{user['id']}",
        "Consistency-Token": f"{user['id']}.{user['version']}",
        "X-Instance": "null",
    }
    return Answer(status, dict(user), headers)


def _etag(user: dict[str, Any]) -> str:
    """Return the tag of a version, which no other version has: nothing is ever lost here."""
    return f"{user['version']}-{user['id']}"


def _problem(status: int, name: str) -> Answer:
    return Answer(status, {"type": f"urn:holdfast:problem:{name}", "status": status})


async def _converse(
    server: NullServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer one connection's requests, one after the other, until it ends."""
    try:
        while True:
            answer = await server.answer(await _read(reader))
            if answer.body is None:
                return
            writer.write(answer.encoded())
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
        return
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, path, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    raw = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, path, headers, json.loads(raw) if raw else {})


@asynccontextmanager
async def listening(server: NullServer) -> AsyncIterator[str]:
    """Serve on a free port of 127.0.0.1 for as long as the block lasts; give the URL."""
    conversations: set[asyncio.Task[Any]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this is a coroutine of one
        conversations.add(task)
        task.add_done_callback(conversations.discard)
        await _converse(server, reader, writer)

    listener = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=1024)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        for task in conversations:
            task.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)


@contextmanager
def serving(server: NullServer) -> Iterator[str]:
    """Serve from a thread of this program for as long as the block lasts; give the URL."""
    began: queue.Queue[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = queue.Queue()

    async def serve() -> None:
        ended = asyncio.Event()
        async with listening(server) as url:
            began.put((url, asyncio.get_running_loop(), ended))
            await ended.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    url, loop, ended = began.get(timeout=START_LIMIT)
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(GRACE)


async def _serve(pipe: Connection) -> None:
    """Serve until the other end of the pipe is closed."""
    async with listening(NullServer()) as url:
        pipe.send(url)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(pipe.fileno(), ended.set)
        await ended.wait()


def _process(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent decides
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(pipe))


@contextmanager
def null_server() -> Iterator[str]:
    """Run a null server in a process of its own for as long as the block lasts; give its URL."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_process, args=(theirs,), name="load-null", daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(START_LIMIT):
            raise TimeoutError(f"the null server did not start within {START_LIMIT:.0f} s")
        yield ours.recv()
    finally:
        ours.close()
        process.join(GRACE)
        if process.is_alive():
            process.kill()
            process.join()
