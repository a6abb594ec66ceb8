"""`holdfast secrets` and `holdfast certificates`: renewed on a running stack, kept elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 - the command line reads the annotations at run time
from typing import Annotated

from ops import ownership, passphrase, rotation, settings
from ops.cli import packages
from ops.cli.output import Json, print_json, reported
from ops.cli.plain import show
from ops.cli.verbs import Argument, Option, Verbs
from ops.console import agree
from ops.names import ROOT, command, stack
from ops.stack import Stack

secrets = Verbs("holdfast secrets", "The stack's passwords, and all else that is secret.")
certificates = Verbs("holdfast certificates", "The stack's certificates.")

AFTER_EXPORT = """In it are backup_cipher, all
passwords, tokens, both CAs with their keys, and the settings. Only the passphrase opens it: keep
both elsewhere, and apart. However old it is, it reads the repository of backups. It also brings
back the passwords and tokens of now: make it again after `secrets rotate`, `access add` or
`remove`, other settings, or new CAs."""


@secrets.verb()
def rotate(
    names: Annotated[list[str] | None, Argument("db_password ...; all if none.")] = None,
    *,
    terminate: Annotated[
        bool, Option("End sessions that logged in with the old password.", either=True)
    ] = True,
    as_json: Json = False,
) -> None:
    """Change passwords, one after another, while the stack runs."""
    steps: list[str] = []

    def say(line: str) -> None:
        steps.append(line)
        if not as_json:
            show(line)

    with reported(as_json=as_json):
        ownership.require(ROOT)
        rotation.rotate(Stack(ROOT).secrets, names or [], say, terminate=terminate)
    if as_json:
        print_json({"steps": steps})


@secrets.verb("export")
def export_them(
    file: Annotated[Path, Argument("Written with mode 0600; not in the checkout.")],
) -> None:
    """Write what a stack is made again with into one file, encrypted by a passphrase.

    That is the repository's cipher, all passwords, tokens, both CAs with their keys, and the
    settings. The passphrase is asked for, or taken from HOLDFAST_PASSPHRASE. A file that is an
    export of this stack by the same passphrase is replaced; any other only after a yes (YES=1).
    """
    with reported(as_json=False):
        packages.need(sys.argv[1:], packages.FOR_EXPORTS)
        from ops import secret_export  # noqa: PLC0415 - its packages are there only now

        found = secret_export.collect(ROOT)
        secret_export.write(found, file, passphrase.new())
    show(f"{file} has what the stack {found.stack} is made again with. {AFTER_EXPORT}")


@secrets.verb("import")
def import_them(file: Annotated[Path, Argument("What `secrets export` wrote.")]) -> None:
    """Make an export this checkout's secrets and settings, before its first `make up`.

    Nothing is changed where there are secrets, or where the file is not opened. Settings that are
    kept here stay; ports, subnets and BIND_ADDRESS of the other machine are shown, not taken.
    """
    with reported(as_json=False):
        packages.need(sys.argv[1:], packages.FOR_EXPORTS)
        from ops import secret_export, secret_import  # noqa: PLC0415 - as above

        secret_import.require_none(ROOT)
        secret_export.content(file)
        found = secret_export.read(file, passphrase.known())
        if found.stack != stack():
            agree(
                f"This is an export of the stack {found.stack}; it would become {stack()}'s.",
                f"`NAME={found.stack}` before the command means that stack; or say so with YES=1.",
            )
        folder = secret_import.put(found, ROOT)
    show(f"{folder} has the secrets of {found.made}.")
    taken, here = " ".join(sorted(found.settings_here)), settings.file(ROOT)
    show(f"Settings, as far as none were kept here ({here}): {taken or 'none'}")
    if found.settings_there:
        told = " ".join(f"{name}={value}" for name, value in found.settings_there.items())
        show(f"Not taken, as they belong to the other machine: {told}")
    show(f"`{command('make up')}` makes a stack with them.")


@certificates.verb()
def renew() -> None:
    """Make all certificates anew; each is in use within seconds, connections go on."""
    with reported(as_json=False):
        ownership.require(ROOT)
        Stack(ROOT).make_certificates(renew=True)
