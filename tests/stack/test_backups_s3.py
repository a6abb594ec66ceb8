"""A stack whose repository of backups is in S3: a server of its own, over TLS, on this host."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from ops import settings
from tests.stack.support import ROOT, docker, run, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "saved-s3"
BUCKET = "backups"
PORT = 19443
IMAGE = "holdfast-test-s3"
SERVER = f"{NAME}-server"
KEY_SECRET = "not/to+be==seen"

BUILD_LIMIT = 300.0
"""Seconds to build the server's image: packages of Debian."""

SERVER_LIMIT = 30.0
"""Seconds for the server to have a bucket; measured is 2."""

UP_LIMIT = 600.0
"""Seconds for this stack to come up beside the first, images being there."""

FIRST_LIMIT = 180.0
"""Seconds for the first full backup: what is promised."""

SALT = b"Salted__"
"""What a file begins with that OpenSSL's way of deriving a key has encrypted, as pgBackRest does;
what is bundled begins with the salt itself."""


class Bucket:
    """What is in it, as one sees who is let in. The server does not look at signatures."""

    def __init__(self, client: httpx.Client) -> None:
        credential = "Credential=any/20260101/eu-central-1/s3/aws4_request"
        signed = f"AWS4-HMAC-SHA256 {credential}, SignedHeaders=host, Signature=0"
        client.headers["Authorization"] = signed
        self._client = client

    def is_there(self) -> bool:
        """Tell whether the server answers, and has it."""
        try:
            return self._client.get("", params={"list-type": "2"}).is_success
        except httpx.TransportError:
            return False

    def keys(self) -> list[str]:
        """Return the names of its objects: less than 1,000."""
        answer = self._client.get("", params={"list-type": "2"}).raise_for_status()
        return re.findall("<Key>(.*?)</Key>", answer.text)

    def read(self, key: str) -> bytes:
        """Return an object."""
        return self._client.get(f"/{key}").raise_for_status().content


@pytest.fixture(scope="module")
def bucket(
    running_stack: None,  # noqa: ARG001 - the server's image is made from one of its images
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, Path, Bucket]]:
    """The server's address, its CA, and the bucket; the address is one that containers reach."""
    source = Path(__file__).parent / "s3"
    subprocess.run(
        ["docker", "build", "--quiet", "--tag", IMAGE, source], check=True, timeout=BUILD_LIMIT
    )
    # As a container has it: a new engine's `network inspect` names no gateway of its bridge.
    routes = docker("run", "--rm", "--entrypoint", "cat", IMAGE, "/proc/net/route")
    default = routes.splitlines()[1].split()[2]
    address = str(IPv4Address(bytes.fromhex(default)[::-1]))
    docker(
        *("run", "--detach", "--init", "--network", "host", "--name", SERVER),
        *(IMAGE, "serve", address, str(PORT), BUCKET),
    )
    try:
        ca = tmp_path_factory.mktemp("s3") / "ca.crt"
        has_ca = ("docker", "cp", f"{SERVER}:/tmp/s3/ca.crt", str(ca))
        copied = lambda: subprocess.run(has_ca, capture_output=True, check=False).returncode == 0  # noqa: E731
        wait_until("the server's certificate", SERVER_LIMIT, lambda: copied() and ca.stat().st_size)
        context = ssl.create_default_context(cafile=str(ca))
        url = f"https://{address}:{PORT}/{BUCKET}"
        with httpx.Client(base_url=url, verify=context, trust_env=False) as client:
            there = Bucket(client)
            wait_until("a bucket", SERVER_LIMIT, there.is_there)
            yield address, ca, there
    finally:
        docker("rm", "--force", SERVER)


@pytest.fixture(scope="module")
def saved(bucket: tuple[str, Path, Bucket]) -> Iterator[Bucket]:
    """The stack; nothing of it is left afterwards."""
    address, ca, there = bucket
    said = {
        "BACKUP_S3_BUCKET": BUCKET,
        "BACKUP_S3_ENDPOINT": f"{address}:{PORT}",
        "BACKUP_S3_REGION": "eu-central-1",
        "BACKUP_S3_KEY": "AKIAIOSFODNN7EXAMPLE",
        "BACKUP_S3_SECRET": KEY_SECRET,
        "BACKUP_S3_CA": str(ca),
    }
    up = run("ops", "up", limit=UP_LIMIT, NAME=NAME, HTTP_PORT="18080", BACKUP="yes", **said)
    try:
        assert up.returncode == 0, up.stdout
        yield there
    finally:
        gone = run("ops", "distclean", NAME=NAME, YES="1")
        assert gone.returncode == 0, gone.stdout
        assert f"{NAME}_outside" not in docker("network", "ls", "--format", "{{.Name}}").split()


def kinds() -> list[str]:
    """Return what kinds of backups there are; none while that is not known."""
    done = run("ops.cli", "backup", "list", "--json", NAME=NAME)
    found = json.loads(done.stdout)["backups"] if done.returncode == 0 else []
    return [each["kind"] for each in found]


@pytest.mark.long
def test_the_repository_is_in_the_bucket(saved: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it, encrypted; the volume has nothing, and only a file has the key's secret."""
    wait_until("a full backup", FIRST_LIMIT, lambda: "full" in kinds())
    check = run("ops.cli", "backup", "check", NAME=NAME)
    assert check.returncode == 0, check.stdout
    # A copy is restored from there, and its WAL.
    assert run("ops.cli", "backup", "verify", NAME=NAME).returncode == 0
    keys = saved.keys()
    assert {key.split("/")[0] for key in keys} == {f"{NAME}-holdfast"}
    whole = [key for key in keys if key.endswith((".info", ".manifest", ".zst"))]
    for kind in ("/archive.info", "/backup.info", "F/backup.manifest", ".zst"):
        assert any(key.endswith(kind) for key in whole), kind
    assert [key for key in whole if not saved.read(key).startswith(SALT)] == []
    inside = docker("exec", f"{NAME}-backup", "find", "/var/lib/pgbackrest", "-type", "f")
    assert inside.split() == ["/var/lib/pgbackrest/verified"]  # when, which is nobody's secret
    monkeypatch.setenv("NAME", NAME)
    assert KEY_SECRET not in settings.file(ROOT).read_text()
    assert KEY_SECRET not in docker("inspect", f"{NAME}-backup")
