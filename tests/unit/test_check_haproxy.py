"""deploy/keepalived/check-haproxy: an HAProxy that answers, and one that does not."""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import socket

CHECK = Path(__file__).parents[2] / "deploy" / "keepalived" / "check-haproxy"
LIMIT = 20.0  # seconds, for a check of less than one


def check(folder: Path, port: int) -> tuple[int, float]:
    """Return how check-haproxy ends at a port of ours, and after how many seconds."""
    program = folder / "check-haproxy"
    text = CHECK.read_text()
    assert text.count("/8404") == 1
    program.write_text(text.replace("/8404", f"/{port}"))
    program.chmod(0o755)
    began = time.monotonic()
    done = subprocess.run([program], capture_output=True, check=False, timeout=LIMIT)
    assert (done.stdout, done.stderr) == (b"", b"")
    return done.returncode, time.monotonic() - began


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"HTTP/1.0 200 OK\r\ncache-control: no-cache\r\n\r\n<html></html>\n", 0),
        (b"HTTP/1.1 200 OK\r\n\r\n", 0),
        (b"HTTP/1.0 503 Service Unavailable\r\n\r\n", 1),
        (b"HTTP/1.0 403 200\r\n\r\n", 1),
        (b"SSH 200 OK\r\n", 1),
        (b"", 1),
    ],
)
def test_haproxy_is_well_with_200_alone(
    tmp_path: Path, listener: socket.socket, answer: bytes, code: int
) -> None:
    """Whatever else is said, or a connection that ends without a word, is a failure."""
    port = listener.getsockname()[1]
    listener.settimeout(LIMIT)

    def serve() -> bytes:
        connection, _ = listener.accept()
        with connection:
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                request += connection.recv(4096)
            connection.sendall(answer)
            return request

    with ThreadPoolExecutor() as pool:
        request = pool.submit(serve)
        assert check(tmp_path, port)[0] == code
        assert request.result(LIMIT) == b"GET /healthz HTTP/1.0\r\n\r\n"


def test_haproxy_that_hangs_is_not_waited_for(tmp_path: Path, listener: socket.socket) -> None:
    """The kernel accepts for it; Keepalived gives a check 1 s."""
    code, seconds = check(tmp_path, listener.getsockname()[1])
    assert code == 1
    assert 0.8 <= seconds < 5


def test_haproxy_that_is_dead_is_noticed_at_once(tmp_path: Path, closed: int) -> None:
    """Its port is closed."""
    code, seconds = check(tmp_path, closed)
    assert code == 1
    assert seconds < 0.8
