"""`holdfast access`: who has a bearer token. Instances take a change up within a second."""

from __future__ import annotations

from typing import Annotated

from ops import names, ownership, tokens
from ops.cli.output import Json, print_json, reported
from ops.cli.plain import Table, show
from ops.cli.verbs import Argument, Option, Verbs

NOT_ASKED_FOR = "Tokens are asked for when the stack is up with ACCESS=writes or ACCESS=all."

access = Verbs("holdfast access", "Who may use the service: bearer tokens.")

Name = Annotated[str, Argument("Who has it: appears in logs and in the audit.")]


@access.verb()
def add(
    name: Name,
    *,
    scope: Annotated[list[str], Option("read or write; twice for both.")],
    expires: Annotated[
        str | None, Option("The last day it is good (UTC), 2027-01-31; or days, 30d.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a token, and print it: it is kept nowhere, only its digest is.

    Standard output is the token alone: TOKEN=$(./holdfast access add me --scope write)
    """
    with reported(as_json=as_json):
        ownership.require(names.ROOT)
        until = tokens.expiry(expires) if expires else ""
        token = tokens.add(tokens.of_stack(), name, scope, until)
    if as_json:
        print_json({"name": name, "token": token, "expires": until or None})
        return
    show(token)
    if until:
        show(f"It is good until {until}.", "dim", error=True)
    show(f"Send it as `Authorization: Bearer ...`. {NOT_ASKED_FOR}", "dim", error=True)


@access.verb()
def remove(name: Name, *, as_json: Json = False) -> None:
    """End a token."""
    with reported(as_json=as_json):
        ownership.require(names.ROOT)
        tokens.remove(tokens.of_stack(), name)
    if as_json:
        print_json({"name": name, "removed": True})
    else:
        show(f"{name} has no token any more")


@access.verb("list")
def list_them(*, as_json: Json = False) -> None:
    """Who has a token, and for what."""
    with reported(as_json=as_json):
        found = tokens.grants(tokens.of_stack())
    if as_json:
        print_json([_as_data(each) for each in found])
        return
    table = Table("name", "scopes", "expires")
    for each in found:
        until = f"{each.expires} (expired)" if each.expired else each.expires or "never"
        table.add_row(each.name, each.scopes, until)
    show(table if found else f"Nobody has a token. {NOT_ASKED_FOR}")


def _as_data(each: tokens.Grant) -> dict[str, object]:
    scopes, expires = each.scopes.split(","), each.expires or None
    return {"name": each.name, "scopes": scopes, "expires": expires, "expired": each.expired}
