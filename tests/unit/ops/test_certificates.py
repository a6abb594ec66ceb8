"""ops.certificates: the edge is asked for what it shows, which may not be what it was given."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ops import certificates, names
from ops.cluster import EDGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.certificates import Certificate

MAKE = Path(__file__).parents[3] / "deploy" / "tls" / "make-certificates"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Certificates as the stack has them."""
    monkeypatch.setattr(names, "ROOT", tmp_path)
    folder = names.secrets(tmp_path) / "tls"
    folder.mkdir(parents=True)
    subprocess.run([MAKE], cwd=folder, check=True, capture_output=True, timeout=60)
    return folder


@contextmanager
def edge(file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Serve TLS on the edge's port, for one client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        monkeypatch.setenv("HTTPS_PORT", str(listener.getsockname()[1]))

        def serve() -> None:
            plain, _ = listener.accept()
            with plain, suppress(OSError):  # the client may refuse
                context.wrap_socket(plain, server_side=True).close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join(10)


def of_edge() -> Certificate:
    """Return what is known of the edge's."""
    return next(one for one in certificates.now(edge=True) if one.name == EDGE)


def test_what_the_edge_shows_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new one that it has not taken up is not what clients meet."""
    written = {one.name: one.ends for one in certificates.read(folder)}
    with edge(folder / EDGE / "tls.pem", monkeypatch):
        assert of_edge().ends == written[EDGE]
    old = (folder / EDGE / "tls.pem").rename(folder / "old.pem")
    seconds = str(2 * 7776000)
    subprocess.run(
        [MAKE], cwd=folder, check=True, capture_output=True, timeout=60,
        env={"PATH": "/usr/bin:/bin", "CERTIFICATE_SECONDS": seconds},
    )  # fmt: skip
    with edge(old, monkeypatch):
        assert of_edge().ends == written[EDGE]
    assert of_edge().ends > written[EDGE] + 7776000 / 2


def test_one_that_has_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is known by the refusal: whoever verifies it is not told when it ended."""
    back = int(time.time()) - 1000
    subprocess.run(
        [MAKE], cwd=folder, check=True, capture_output=True, timeout=60,
        env={"PATH": f"{_clock(folder, back)}:/usr/bin:/bin", "CERTIFICATE_SECONDS": "60"},
    )  # fmt: skip
    with edge(folder / EDGE / "tls.pem", monkeypatch):
        assert of_edge().left < 0


def test_an_edge_that_is_away(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written counts, whatever answers."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("HTTPS_PORT", str(taken.getsockname()[1]))
    assert of_edge() in certificates.read(folder)


def _clock(folder: Path, now: int) -> Path:
    """Return a folder of programs with a `date` that is late."""
    programs = folder / "bin"
    programs.mkdir()
    (programs / "date").write_text(
        f'#!/bin/sh\n[ "$*" = +%s ] && {{ echo {now}; exit; }}\nexec /bin/date "$@"\n'
    )
    (programs / "date").chmod(0o755)
    return programs
