"""A container that restores: it sees the repository, read-only, and one volume.

It has no network, but where the repository is in S3: there the way to the bucket.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ops import cluster, names, s3
from ops.secret_files import CIPHER, READERS, S3_FILES

if TYPE_CHECKING:
    from pathlib import Path

    from ops.backups.points import Target

OUTSIDE = "outside"
"""The network that leads to S3 (deploy/compose/s3.yaml)."""

USER = "471101"
IMAGE = "holdfast-postgres"

LIMIT = 3600.0
"""Seconds for a restore: as long as somebody looks on, who is told how it goes."""


def command(member: str, volume: str, secrets: Path, script: str, wanted: Target) -> list[str]:
    """Return what `docker` has to be told.

    `member`: of the container; `volume`: Docker's name of what is restored to; `secrets`: the
    folder of them; `script`: an entry point of the image.
    """
    where = _in_s3(secrets) if s3.is_meant(os.environ) else _in_a_volume()
    return [
        *("run", "--name", names.container(member), "--read-only", *where),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges:true"),
        *("--user", USER, "--group-add", str(READERS), "--memory", "2g", "--shm-size", "256m"),
        *("--tmpfs", "/tmp", "--tmpfs", f"/run/postgresql:uid={USER},gid={USER},mode=2775"),  # noqa: S108 - the container's
        *("--init", "--volume", f"{volume}:/var/lib/postgresql", *_secret(secrets, CIPHER)),
        *(IMAGE, script, *wanted.words),
    ]  # fmt: skip


def _in_a_volume() -> list[str]:
    volume = f"{names.volume(cluster.REPOSITORY)}:/var/lib/pgbackrest:ro"
    return ["--network", "none", "--volume", volume]


def _in_s3(secrets: Path) -> list[str]:
    words = [f"--env={name}={os.environ[name]}" for name in s3.SETTINGS]
    words += [f"--env=BACKUP_S3_PATH=/{names.prefix()}holdfast"]
    files = [word for name in S3_FILES for word in _secret(secrets, name)]
    return [*words, *files, "--network", names.network(OUTSIDE)]


def _secret(secrets: Path, name: str) -> tuple[str, str]:
    return ("--volume", f"{secrets / name}:/run/secrets/{name}:ro")


def on_volume(node: str, script: str) -> str:
    """Return what a shell script says that sees nothing but a node's volume. Raises StackError."""
    where = ("--network", "none", "--volume", f"{names.volume(node)}:/var/lib/postgresql")
    return cluster.docker("run", "--rm", *where, IMAGE, "sh", "-c", script)
