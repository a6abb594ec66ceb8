"""The certificates of the stack at a real PostgreSQL: how they are taken up, and how they end."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
import uvloop

from ops.embedded.pair import APP
from service.database import DatabaseOptions, EndpointOptions, Observer, Role
from service.database.session import Session, connect
from service.errors import EndpointUnreachable
from tests.integration.bare_database import warm_database
from tests.integration.support import ROOT, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ops.embedded import EmbeddedStack
    from ops.embedded.postgres import Node

pytestmark = pytest.mark.tls

MAKE = ROOT / "deploy" / "tls" / "make-certificates"
SHORT, LONG = 30, 3600  # seconds
PAST = """#!/bin/sh
[ "$*" = +%s ] || exec /bin/date "$@"
echo $(($(/bin/date +%s) - ${AGO}))
"""  # `date`, for a certificate that was made a while ago


class Certificates:
    """The stack's own, at the embedded primary: postgres1's file, with the link of the image."""

    def __init__(self, folder: Path, stack: EmbeddedStack) -> None:
        self.folder = folder
        self.node: Node = stack.primary
        self.target = stack.directory / "tls.pem"
        self._account = stack._account

    def make(self, seconds: int, *, ago: int = 0, folder: Path | None = None) -> None:
        """Make them for so long, as if so many seconds ago; nobody has them yet."""
        date = self.folder / "bin" / "date"
        date.parent.mkdir(exist_ok=True)
        date.write_text(PAST)
        date.chmod(0o755)
        subprocess.run(
            [MAKE], cwd=folder or self.folder, check=True, capture_output=True, timeout=60,
            env={
                **os.environ, "CERTIFICATE_SECONDS": str(seconds), "CA_SECONDS": str(3 * seconds),
                "RENEW": "yes", "AGO": str(ago), "PATH": f"{date.parent}:{os.environ['PATH']}",
            },
        )  # fmt: skip

    def take_up(self, member: str = "postgres1") -> None:
        """Let the server use what was made, as a node does: one rename, then SIGHUP."""
        new = self.target.with_suffix(".new")
        shutil.copyfile(self.folder / member / "tls.pem", new)
        new.chmod(0o600)
        self._account.own(new)
        new.rename(self.target)
        key = self.target.with_name("tls.key")
        if not key.is_symlink():
            key.symlink_to(self.target.name)
        for setting, value in (
            ("ssl_cert_file", self.target),
            ("ssl_key_file", key),
            ("ssl", "on"),
        ):
            self.node.sql(f"ALTER SYSTEM SET {setting} = '{value}'")
        self.node.reload("ssl", "on")

    def end_ca(self) -> None:
        """Put a certificate in place of the CA's that has its key and name, and has ended."""
        other = self.folder / "other"
        shutil.copytree(self.folder / "keys", other / "keys")
        self.make(SHORT, ago=4 * SHORT, folder=other)
        shutil.copyfile(other / "nodes" / "ca.crt", self.folder / "nodes" / "ca.crt")

    def options(self) -> DatabaseOptions:
        """What a service is told that verifies the node, by a name that all nodes have."""
        endpoint = EndpointOptions(host="127.0.0.1", port=self.node.port, pool_min=1)
        return DatabaseOptions(
            write=endpoint, read=endpoint, name="postgres", user=APP, sslmode="verify-full",
            sslrootcert=str(self.folder / "nodes" / "ca.crt"), connect_timeout=5,
        )  # fmt: skip

    async def session(self) -> Session:
        """Log in."""
        options = self.options()
        return await connect(options.write, options, Role.WRITE, lambda _: None)

    async def refusal(self) -> str | None:
        """Return the kind of failure of a login; None when it succeeds."""
        try:
            (await self.session()).drop()
        except EndpointUnreachable as error:
            return error.kind
        return None


@pytest.fixture
def certificates(disturbed_stack: EmbeddedStack, tmp_path: Path) -> Iterator[Certificates]:
    """Certificates for an hour, in use."""
    found = Certificates(tmp_path, disturbed_stack)
    found.make(LONG)
    found.take_up()
    yield found
    for setting in ("ssl", "ssl_cert_file", "ssl_key_file"):
        found.node.sql(f"ALTER SYSTEM RESET {setting}")
    found.node.reload("ssl", "off")


async def test_sessions_go_on_through_a_renewal(certificates: Certificates) -> None:
    """Key and certificate in one file serve; what is open stays, and new ones see the new one."""
    await eventually("TLS", lambda: _verified(certificates))
    session = await certificates.session()
    certificates.make(LONG + 100)
    certificates.take_up()

    async def another() -> bool:
        return await _serial(certificates) != _serial_of(session)

    await eventually("the new certificate", another)
    assert await session.fetchval("SELECT 1") == 1
    session.drop()


def test_an_expired_certificate_is_called_so(certificates: Certificates) -> None:
    """By the loop that the service has, and by asyncio's: not a lost connection, as a failover's.

    A renewed one mends it, and so is a CA's that has ended.
    """
    certificates.make(SHORT, ago=20)
    certificates.take_up()
    for run in (asyncio.run, uvloop.run):
        run(eventually("TLS", lambda: _verified(certificates)))
    time.sleep(max(0.0, _end_of(certificates, "postgres1") + 1 - time.time()))
    for run in (asyncio.run, uvloop.run):
        assert run(certificates.refusal()) == "certificate-expired"
    certificates.make(LONG)
    certificates.take_up()
    uvloop.run(eventually("TLS again", lambda: _verified(certificates)))
    certificates.end_ca()
    assert uvloop.run(certificates.refusal()) == "certificate-expired"


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_the_edge_cannot_pose_as_a_node(certificates: Certificates, run: object) -> None:
    """It has 127.0.0.1 among its names as the nodes have, and another CA."""
    assert callable(run)
    run(eventually("TLS", lambda: _verified(certificates)))
    certificates.take_up("vip-access")
    run(eventually("the edge's", lambda: _refused(certificates, "certificate-refused")))


async def test_the_ends_are_told(certificates: Certificates, stack: EmbeddedStack) -> None:
    """The observer hears of the server's certificate and of its CA's, at each new session."""
    await eventually("TLS", lambda: _verified(certificates))
    heard: dict[str, float] = {}

    class Listener(Observer):
        def certificate(self, name: str, ends: float) -> None:
            heard[name] = ends

    options = certificates.options()
    async with warm_database(
        stack, "postgres", stack.primary.serving_port, 1, Listener(),
        sslmode=options.sslmode, sslrootcert=options.sslrootcert, connect_timeout=5.0,
    ):  # fmt: skip
        assert heard["postgres1"] == _end_of(certificates, "postgres1")
    (ca,) = heard.keys() - {"postgres1"}
    assert ca.startswith("Holdfast CA nodes")
    assert heard[ca] == _end_of(certificates, "ca-nodes")


async def _verified(certificates: Certificates) -> bool:
    return await certificates.refusal() is None


async def _refused(certificates: Certificates, kind: str) -> bool:
    return await certificates.refusal() == kind


def _serial_of(session: Session) -> object:
    assert session.sslobject is not None
    shown = session.sslobject.getpeercert()
    assert shown
    return shown["serialNumber"]


async def _serial(certificates: Certificates) -> object:
    session = await certificates.session()
    try:
        return _serial_of(session)
    finally:
        session.drop()


def _end_of(certificates: Certificates, name: str) -> int:
    lines = (line.split() for line in (certificates.folder / "ends").read_text().splitlines())
    return next(int(end) for each, _, end in lines if each == name)
