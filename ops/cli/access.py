"""`holdfast access`: who has a bearer token. Instances take a change up within a second."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ops import names, tokens
from ops.cli.output import Json, print_json, reported
from ops.cli.plain import Table, show
from ops.cli.verbs import Argument, Option, Verbs

ROOT = Path(__file__).resolve().parents[2]
NOT_ASKED_FOR = "Tokens are asked for when the stack is up with ACCESS=writes or ACCESS=all."

access = Verbs("holdfast access", "Who may use the service: bearer tokens.")

Name = Annotated[str, Argument("Who has it: appears in logs and in the audit.")]


@access.verb()
def add(
    name: Name,
    *,
    scope: Annotated[list[str], Option("read or write; twice for both.")],
    as_json: Json = False,
) -> None:
    """Make a token, and print it: it is kept nowhere, only its digest is.

    Standard output is the token alone: TOKEN=$(./holdfast access add me --scope write)
    """
    with reported(as_json=as_json):
        token = tokens.add(_file(), name, scope)
    if as_json:
        print_json({"name": name, "token": token})
        return
    show(token)
    show(f"Send it as `Authorization: Bearer ...`. {NOT_ASKED_FOR}", "dim", error=True)


@access.verb()
def remove(name: Name, *, as_json: Json = False) -> None:
    """End a token."""
    with reported(as_json=as_json):
        tokens.remove(_file(), name)
    if as_json:
        print_json({"name": name, "removed": True})
    else:
        show(f"{name} has no token any more")


@access.verb("list")
def list_them(*, as_json: Json = False) -> None:
    """Who has a token, and for what."""
    with reported(as_json=as_json):
        found = [(each.name, each.scopes) for each in tokens.grants(_file())]
    if as_json:
        print_json([{"name": name, "scopes": scopes.split(",")} for name, scopes in found])
        return
    table = Table("name", "scopes")
    for row in found:
        table.add_row(*row)
    show(table if found else f"Nobody has a token. {NOT_ASKED_FOR}")


def _file() -> Path:
    return names.secrets(ROOT) / tokens.PATH
