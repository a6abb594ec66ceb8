"""A bucket of S3 for the repository of backups, instead of a volume: all of it is said, or nothing.

The access key's secret and the CA are files among the stack's secrets (ops/secret_files.py). The
rest is kept as all settings are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ops import authorities
from ops.console import StackError
from ops.secret_files import S3_CA, S3_SECRET

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ops.secret_files import SecretFiles

BUCKET = "BACKUP_S3_BUCKET"

SETTINGS = {
    BUCKET: (
        re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"),
        "a bucket's name: 3 to 63 of a to z, 0 to 9, '.' and '-'",
    ),
    "BACKUP_S3_ENDPOINT": (
        re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[1-9][0-9]{0,4})?"),
        "a host or host:port without https://, such as s3.eu-central-1.amazonaws.com",
    ),
    "BACKUP_S3_REGION": (re.compile(r"[A-Za-z0-9_-]+"), "a region, such as eu-central-1"),
    "BACKUP_S3_KEY": (re.compile(r"[^\s\"']+"), "the ID of an access key"),
}
"""What is kept: what each may be, and the same in words."""

SECRET = "BACKUP_S3_SECRET"  # noqa: S105 - a variable's name
CA = "BACKUP_S3_CA"
"""What becomes a file: the access key's secret, and the CAs of an endpoint that no public one knows
(the path of a PEM file; it may be left out)."""


def is_meant(environment: Mapping[str, str]) -> bool:
    """Tell whether there is a repository of backups, and it is in S3."""
    return environment.get("BACKUP") != "no" and bool(environment.get(BUCKET))


def check(environment: Mapping[str, str], files: SecretFiles) -> None:
    """Raise StackError that names what is missing, or cannot be."""
    said = {name: environment.get(name, "") for name in (*SETTINGS, SECRET, CA)}
    if not any(said.values()):
        return
    if SECRET not in environment:
        said[SECRET] = files.read(S3_SECRET)
    missing = [name for name, value in said.items() if not value and name != CA]
    if missing:
        every = ", ".join((*SETTINGS, SECRET))
        raise StackError(
            f"A repository in S3 needs {' and '.join(missing)}, too. With none of {every} it is "
            "in a volume."
        )
    for name, (form, words) in SETTINGS.items():
        if not form.fullmatch(said[name]):
            raise StackError(f"{name} is '{said[name]}'; it must be {words}")
    if re.search(r"\s", said[SECRET]):
        raise StackError(f"{SECRET} has a blank in it, which no access key's secret has")
    authorities.read(CA, said[CA])


def keep(environment: Mapping[str, str], files: SecretFiles) -> None:
    """Write what was said into the files; empty them where no bucket is named."""
    named = bool(environment.get(BUCKET))
    if SECRET in environment or not named:
        files.put(S3_SECRET, environment.get(SECRET, "") if named else "")
    if CA in environment or not named:
        files.put(S3_CA, authorities.read(CA, environment.get(CA, "")) if named else "")
