"""`holdfast console`: a page that draws the stack, and breaks it on request."""

from __future__ import annotations

import sys
from typing import Annotated

from ops.cli import packages
from ops.cli.output import reported
from ops.cli.verbs import Option
from ops.panel.access import PORT


def console(
    *,
    port: Annotated[int, Option("Of 127.0.0.1.", least=1, most=65535)] = PORT,
    read_only: Annotated[bool, Option("Look only: no load, no drills.")] = False,
) -> None:
    """Show the stack on a page of this machine, with drills to run; end with Ctrl-C.

    It prints a link with a token in it, without which nothing is answered; a link is good for a
    day. Where the service asks for a token of its own (ACCESS=writes, ACCESS=all), put one into
    HOLDFAST_TOKEN, as for `drill`.
    """
    with reported(as_json=False):
        if not read_only:
            packages.need(sys.argv[1:])
        from ops.panel.run import run  # noqa: PLC0415 - a server, which no other command wants

        run(port, read_only=read_only)
