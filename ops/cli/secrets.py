"""`holdfast secrets` and `holdfast certificates`: renewed on a running stack."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ops import rotation
from ops.cli.output import Json, console, print_json, reported
from ops.stack import Stack

ROOT = Path(__file__).resolve().parents[2]

secrets = typer.Typer(help="The stack's passwords.", no_args_is_help=True)
certificates = typer.Typer(help="The stack's certificates.", no_args_is_help=True)


@secrets.callback()
def _secrets() -> None:
    """Keep the verb: typer would leave it out where there is only one."""


@certificates.callback()
def _certificates() -> None:
    """As above."""


@secrets.command()
def rotate(
    names: Annotated[list[str] | None, typer.Argument(help="db_password ...; all if none.")] = None,
    *,
    as_json: Json = False,
) -> None:
    """Change passwords, one after another, while the stack runs."""
    steps: list[str] = []

    def say(line: str) -> None:
        steps.append(line)
        if not as_json:
            console.print(line)

    with reported(as_json=as_json):
        rotation.rotate(Stack(ROOT).secrets, names or [], say)
    if as_json:
        print_json({"steps": steps})


@certificates.command()
def renew() -> None:
    """Make all certificates anew; each is in use within seconds, connections go on."""
    with reported(as_json=False):
        Stack(ROOT).make_certificates(renew=True)
