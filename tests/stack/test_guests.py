"""Who comes by the edge and is not who he should be: others find their places all the same."""

from __future__ import annotations

import time

import httpx

from ops import cluster
from tests.stack.support import BASE_URL, CLIENT_TIMEOUT, docker, new_user, read_back
from tests.stack.test_hostile import attack, failed_checks

WATCHED = 20.0
"""Seconds that others are watched for, while strangers stand at the door."""

HALF_OPEN = """
import asyncio, socket, ssl, struct
EDGE = socket.gethostbyname("vip-access")
PARAMETERS = b"user\\0holdfast_app\\0database\\0holdfast\\0\\0"
STARTUP = struct.pack("!ii", 8 + len(PARAMETERS), 196608) + PARAMETERS
async def one(port):
    while True:
        try:
            reader, writer = await asyncio.open_connection(EDGE, port)
            writer.write(struct.pack("!ii", 8, 80877103))
            await reader.readexactly(1)
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            await writer.start_tls(context, server_hostname="vip-access")
            writer.write(STARTUP)
            await reader.read(-1)
        except (OSError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.05)
        finally:
            writer.close()
async def main():
    async with asyncio.timeout(LIMIT):
        await asyncio.gather(*(one(6432 + n % 2) for n in range(200)))
print("begun", flush=True)
asyncio.run(main())
"""
"""Logins that stop where the password is asked for: TLS, a startup message, silence."""

UPLOADS = """
import asyncio, socket
EDGE = socket.gethostbyname("vip-access")
HEAD = b"POST /api/users HTTP/1.1\\r\\nHost: slow\\r\\nContent-Length: 60000\\r\\n\\r\\n"
async def one():
    while True:
        try:
            reader, writer = await asyncio.open_connection(EDGE, 8080)
            writer.write(HEAD + b"x" * 50000)
            await reader.read(-1)
            writer.close()
        except OSError:
            await asyncio.sleep(0.5)
async def main():
    async with asyncio.timeout(LIMIT):
        await asyncio.gather(*(one() for _ in range(600)))
print("begun", flush=True)
asyncio.run(main())
"""
"""Bodies that stop before their end."""


def use(seconds: float) -> None:
    """Write and read as somebody who never tries again; all of it succeeds."""
    end = time.monotonic() + seconds
    with httpx.Client(base_url=BASE_URL, timeout=CLIENT_TIMEOUT) as client:
        while time.monotonic() < end:
            written = client.post("/api/users", json=new_user("home"))
            assert written.status_code == 201, written.text
            read = read_back(client, written)
            assert read.status_code == 200, read.text
            time.sleep(0.05)  # the client's pace; waits for nothing


def test_logins_that_never_end_take_nothing_from_others() -> None:
    """200 of them, again and again: no check fails, no request of the service."""
    before = failed_checks()
    with attack(HALF_OPEN) as attacker:
        use(WATCHED)
        assert attacker.poll() is None, "the attack ended before its measurement"
    assert failed_checks() == before


def test_uploads_that_never_end_fill_nothing() -> None:
    """600 of them: the edge has no file of them, and room for others."""
    with attack(UPLOADS) as attacker:
        use(WATCHED / 2)
        assert attacker.poll() is None, "the attack ended before its measurement"
        assert docker("exec", "vip-access", "sh", "-c", "ls /tmp/body | wc -l").strip() == "0"
        use(WATCHED / 2)
    state = docker("inspect", "--format", "{{.State.OOMKilled}} {{.RestartCount}}", "vip-access")
    assert state.split() == ["false", "0"]
    assert cluster.edge_answers()
