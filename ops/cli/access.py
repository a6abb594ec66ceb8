"""`holdfast access`: who has a bearer token. Instances take a change up within a second."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ops import names, tokens
from ops.cli.output import Json, console, print_json, reported

ROOT = Path(__file__).resolve().parents[2]
NOT_ASKED_FOR = "Tokens are asked for when the stack is up with ACCESS=writes or ACCESS=all."

access = typer.Typer(help="Who may use the service: bearer tokens.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Who has it: appears in logs and in the audit.")]


@access.command()
def add(
    name: Name,
    *,
    scope: Annotated[list[str], typer.Option(help="read or write; twice for both.")],
    as_json: Json = False,
) -> None:
    """Make a token, and print it: it is kept nowhere, only its digest is."""
    with reported(as_json=as_json):
        token = tokens.add(_file(), name, scope)
    if as_json:
        print_json({"name": name, "token": token})
        return
    console.print(token, soft_wrap=True)
    console.print(f"Send it as `Authorization: Bearer ...`. {NOT_ASKED_FOR}", style="dim")


@access.command()
def remove(name: Name, *, as_json: Json = False) -> None:
    """End a token."""
    with reported(as_json=as_json):
        tokens.remove(_file(), name)
    if as_json:
        print_json({"name": name, "removed": True})
    else:
        console.print(f"{name} has no token any more")


@access.command("list")
def list_them(*, as_json: Json = False) -> None:
    """Who has a token, and for what."""
    with reported(as_json=as_json):
        found = [(each.name, each.scopes) for each in tokens.grants(_file())]
    if as_json:
        print_json([{"name": name, "scopes": scopes.split(",")} for name, scopes in found])
        return
    table = Table("name", "scopes", box=None)
    for row in found:
        table.add_row(*row)
    console.print(table if found else f"Nobody has a token. {NOT_ASKED_FOR}")


def _file() -> Path:
    return names.secrets(ROOT) / tokens.FILE
