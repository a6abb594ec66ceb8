"""The deployed nginx.conf sends every request again, and makes that safe: what writes has a key.

A second nginx runs in vip-access, with the same file but for its ports and for the address that it
passes to: there is a tiny server of ours, which reads a request and hangs up, as a proxy does that
is killed. tests/integration/test_resending.py asks the same of HAProxy.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.http_server import serving
from tests.stack.support import address, docker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.http_server import Request

HOST = "172.30.0.1"  # this machine, as the stack's network has it
SHIFT = 10_000  # the second nginx listens on the first one's ports, plus this
KEY = {"Idempotency-Key": '"5f1c6a52-6f0c-4f0e-9a3e-0c8f6a1e7b11"'}
CONFIGURATION = "/tmp/second.conf"  # noqa: S108 - in the container
SERVERS, OTHERS = "/tmp/servers.conf", "/tmp/second-servers.conf"  # noqa: S108 - the same
WRITES = ("POST", "PATCH", "PUT", "DELETE")


@dataclass
class Dying:
    """A server that hangs up on the first request and answers the others."""

    keys: list[str | None] = field(default_factory=list)  # of the requests, in turn

    def serve(self, request: Request) -> None:
        """Note the request's key; answer unless it is the first."""
        self.keys.append(request.headers["Idempotency-Key"])
        if len(self.keys) > 1:
            request.begin()


@contextmanager
def second_nginx(port: int) -> Iterator[str]:
    """Run the deployed file once more, passing requests to `port` of this machine."""
    text = docker("exec", "vip-access", "cat", "/etc/nginx/nginx.conf")
    text = text.replace(SERVERS, OTHERS).replace("nginx.pid", "second.pid")
    listens = re.compile(r"listen (\S+:)?(\d+)")
    text = listens.sub(lambda at: f"listen {at[1] or ''}{int(at[2]) + SHIFT}", text)
    docker("exec", "vip-access", "sh", "-c", f"cat >{CONFIGURATION} <<'END'\n{text}\nEND")
    there = f"sed 's/ 172.30.0.100:80 / {HOST}:{port} /' {SERVERS} >{OTHERS}"
    docker("exec", "vip-access", "sh", "-c", there)
    docker("exec", "--detach", "vip-access", "nginx", "-c", CONFIGURATION)
    try:
        yield f"http://{address('vip-access')}:{8080 + SHIFT}"
    finally:
        docker("exec", "vip-access", "nginx", "-c", CONFIGURATION, "-s", "stop")


def ask(method: str, headers: dict[str, str]) -> tuple[int, list[str | None]]:
    """Return the status that a client gets, and the keys with which the server got its request."""
    dying = Dying()
    server = serving(dying.serve, HOST)
    retrying = httpx.HTTPTransport(retries=5)  # connecting only: until nginx listens
    with server as port, second_nginx(port) as url, httpx.Client(transport=retrying) as client:
        body = None if method in {"GET", "HEAD"} else b"a body"
        answer = client.request(method, f"{url}/api/users", content=body, headers=headers)
    return answer.status_code, dying.keys


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_read_is_sent_again(method: str) -> None:
    """A read survives the proxy that had it."""
    status, keys = ask(method, {})
    assert (status, len(keys)) == (200, 2)


@pytest.mark.parametrize("method", WRITES)
def test_a_write_with_a_key_is_sent_again(method: str) -> None:
    """So does a write that the service knows by its key."""
    assert ask(method, KEY) == (200, [*KEY.values()] * 2)


@pytest.mark.parametrize("method", WRITES)
def test_a_write_without_a_key_gets_one(method: str) -> None:
    """All tries of one request carry the same key, and two requests never do."""
    status, keys = ask(method, {})
    assert status == 200
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert re.fullmatch(r'"edge-[0-9a-f]{32}"', str(keys[0]))
    _, others = ask(method, {})
    assert not set(keys) & set(others)
