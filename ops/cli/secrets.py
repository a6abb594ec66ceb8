"""`holdfast secrets` and `holdfast certificates`: renewed on a running stack."""

from __future__ import annotations

from typing import Annotated

from ops import ownership, rotation
from ops.cli.output import Json, print_json, reported
from ops.cli.plain import show
from ops.cli.verbs import Argument, Option, Verbs
from ops.names import ROOT
from ops.stack import Stack

secrets = Verbs("holdfast secrets", "The stack's passwords.")
certificates = Verbs("holdfast certificates", "The stack's certificates.")


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


@certificates.verb()
def renew() -> None:
    """Make all certificates anew; each is in use within seconds, connections go on."""
    with reported(as_json=False):
        ownership.require(ROOT)
        Stack(ROOT).make_certificates(renew=True)
