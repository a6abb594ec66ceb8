"""All that a stack is made again with, in one encrypted file: its secrets and its settings.

Beside the repository of backups it is what an empty machine needs (docs/backup.md). The file is
one of age, by a passphrase; inside is a tar archive of the folder that has `secrets` and `.env`.
So it can be opened without this code: `age --decrypt FILE | tar -xC deploy/compose`.

`stack_id` is not in it: that says whose a stack on an engine is, and stays with the checkout. Nor
are certificates but the CAs': `make up` makes them with the keys that are in it.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from ops import age, durable, names, settings, tokens
from ops.console import StackError, agree
from ops.secret_files import ALERT_FILES, AUTHORITIES, CIPHER, GIVEN, PASSWORDS, STATS, STATS_FILE

CONTENTS = (*PASSWORDS, CIPHER, *GIVEN, STATS, STATS_FILE, tokens.PATH, *AUTHORITIES)
"""Files among the secrets. Each of them is in each export: one that lacked some would be no use."""

FORMAT = 2
"""Grows when an earlier version could not do with what is in a file."""

READ = (1, FORMAT)
"""Those that can be read: 1 knows nothing of whom Alertmanager tells."""

ABOUT = "holdfast-export.json"
SECRETS, SETTINGS = "secrets", ".env"
"""Names in the archive; nothing else is read from one."""

BIGGEST = 16 * 2**20
"""Bytes of a file that is read: tokens are the only part that grows, by 100 bytes each."""


@dataclass(frozen=True)
class Export:
    """What is in a file."""

    stack: str
    made: str  # when, in UTC
    secrets: dict[str, bytes]  # by CONTENTS
    settings: str | None  # the file's text; None where there was none

    @property
    def settings_here(self) -> dict[str, str]:
        """What another machine takes."""
        return {k: v for k, v in self._settings.items() if k not in settings.OF_THE_MACHINE}

    @property
    def settings_there(self) -> dict[str, str]:
        """What belongs to the machine that it was made on."""
        return {k: v for k, v in self._settings.items() if k in settings.OF_THE_MACHINE}

    @property
    def _settings(self) -> dict[str, str]:
        return settings.parse((self.settings or "").splitlines())


def collect(root: Path) -> Export:
    """Return what this checkout's stack would be made again with; raise StackError."""
    folder = names.secrets(root)
    up = names.command("make up")
    if not (folder / CIPHER).exists():
        raise StackError(f"there are no secrets in {folder}: `{up}` makes them")
    found = {}
    for name in CONTENTS:
        path = folder / name
        # Certificates are written by a container: a link of its making leads nowhere.
        if not path.is_file() or path.resolve() != folder.resolve() / name:
            raise StackError(f"{path} is missing, or no plain file: `{up}` makes what is missing")
        found[name] = path.read_bytes()
    file = settings.file(root)
    kept = file.read_text(encoding="utf-8") if file.exists() else None
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return Export(names.stack(), made, found, kept)


def write(export: Export, file: Path, passphrase: str) -> None:
    """Write it, encrypted, in one step; ask before it replaces anything but this stack's export."""
    target = file.resolve()
    if target.exists() and not target.is_file():
        raise StackError(f"{file} is no plain file: name one that is to be written")
    if not target.parent.is_dir():
        raise StackError(f"there is no folder {target.parent}")
    if target.exists() and not _is_of(target, export.stack, passphrase):
        agree(
            f"{file} is there, and is no export of the stack {export.stack} by this passphrase. "
            "It would be replaced.",
            "Name another file, or say so with YES=1.",
        )
    sealed = age.encrypt(_pack(export), passphrase)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # 0600
    try:
        with open(descriptor, "wb") as output:  # noqa: PTH123 - a descriptor
            output.write(sealed)
            output.flush()
            os.fsync(output.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    durable.sync_folder(target.parent)


def read(file: Path, passphrase: str) -> Export:
    """Return what is in a file; raise StackError where it is none, damaged, or not opened by it."""
    try:
        return _unpack(age.decrypt(content(file), passphrase))
    except age.AgeError as error:
        raise StackError(f"{file} was not opened, nothing is changed: {error}") from None
    except (tarfile.TarError, EOFError, KeyError, ValueError, TypeError):
        raise StackError(
            f"{file} was opened, and is no export of Holdfast that this version knows; nothing is "
            "changed"
        ) from None


def content(file: Path) -> bytes:
    """Return what a file has, if it can be an export."""
    if not file.is_file():
        raise StackError(f"there is no file {file}")
    with file.open("rb") as opened:
        found = opened.read(BIGGEST + 1)
    if len(found) > BIGGEST:
        raise StackError(f"{file} is no export: it is bigger than {BIGGEST >> 20} MiB")
    return found


# ---------------------------------------------------------------------- the archive


def _pack(export: Export) -> bytes:
    about = {"format": FORMAT, "stack": export.stack, "made": export.made}
    files = {ABOUT: json.dumps(about).encode()}
    files |= {f"{SECRETS}/{name}": found for name, found in export.secrets.items()}
    if export.settings is not None:
        files[SETTINGS] = export.settings.encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, found in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(found), mode(name)
            member.mtime = int(time.time())
            archive.addfile(member, io.BytesIO(found))
    return packed.getvalue()


def _unpack(packed: bytes) -> Export:
    """Return what is in an archive; raise where it has anything but what this version knows."""
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:") as archive:
        for member in archive:
            part = archive.extractfile(member) if member.isreg() else None
            if part is None or member.name in found:
                raise ValueError(member.name)
            found[member.name] = part.read()
    about = json.loads(found.pop(ABOUT))
    if about["format"] not in READ:
        raise ValueError(about["format"])
    if about["format"] < FORMAT:
        found |= {f"{SECRETS}/{name}": b"" for name in ALERT_FILES}
    kept = found.pop(SETTINGS, None)
    if set(found) != {f"{SECRETS}/{name}" for name in CONTENTS}:
        raise ValueError(sorted(found))
    secrets = {name: found[f"{SECRETS}/{name}"] for name in CONTENTS}
    text = None if kept is None else kept.decode()
    return Export(str(about["stack"]), str(about["made"]), secrets, text)


def _is_of(file: Path, stack: str, passphrase: str) -> bool:
    """Tell whether a file is an export of that stack, by that passphrase."""
    try:
        return read(file, passphrase).stack == stack
    except StackError:
        return False


def mode(name: str) -> int:
    """Return a file's mode until `make up` has handed it to who reads it; the CAs' is public."""
    return 0o644 if name.endswith("/ca.crt") else 0o600
