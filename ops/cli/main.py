"""The commands. Each one looks or acts through `ops`; nothing is decided here.

Exit codes: 0 done and sound, 1 not done, 2 bad usage, 3 done and something is wrong.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ops import events, loss, operate, settings, snapshot
from ops.cli import status as status_view
from ops.cli.access import access
from ops.cli.drill import drill
from ops.cli.load import load
from ops.cli.output import Exit, Json, console, fail, print_json, reported
from ops.cli.secrets import certificates, secrets
from ops.console import agree
from ops.diagnosis import diagnose
from ops.stack import Stack

ROOT = Path(__file__).resolve().parents[2]

app = typer.Typer(
    name="holdfast",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
maintenance = typer.Typer(help="Take a data node out for work, and back.", no_args_is_help=True)
app.add_typer(maintenance, name="maintenance")
app.add_typer(access, name="access")
app.add_typer(secrets, name="secrets")
app.add_typer(certificates, name="certificates")
app.command()(load)
app.command()(drill)

WITHOUT_DOCKER = {"load", "psql"}
"""Commands that only speak HTTP or SQL: they work in psql-client, too."""

Node = Annotated[str, typer.Argument(help="A data node: postgres1, postgres2 ...", metavar="NODE")]


@app.callback()
def need_docker(context: typer.Context) -> None:
    """Operate, load and break the Holdfast stack."""
    with reported(as_json="--json" in sys.argv):
        settings.adopt(ROOT)
    if context.invoked_subcommand not in WITHOUT_DOCKER and shutil.which("docker") is None:
        what = f"`holdfast {context.invoked_subcommand}` drives containers; there is no docker here"
        do = "Run it on the stack's host, where `make up` brings Docker."
        raise fail(f"{what}. {do}", as_json="--json" in sys.argv)


@app.command()
def status(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Show it live; end with Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Nodes, virtual IP, backends, durability, what is wrong. Exit code 3 unless all is well."""
    if watch and as_json:
        raise typer.BadParameter("--watch draws a screen; without it --json prints one document")
    with reported(as_json=as_json):
        if watch:
            status_view.watch()
        now = snapshot.take()
    if as_json:
        print_json(status_view.as_data(now))
    else:
        status_view.show(now)
    raise typer.Exit(Exit.UNSOUND if diagnose(now) or not now.whole else Exit.OK)


@app.command()
def switchover(*, as_json: Json = False) -> None:
    """Hand the primary's role to the standby. Clients see a pause of one to three seconds."""
    with reported(as_json=as_json):
        _new_primary(operate.switchover(), as_json=as_json)


@app.command()
def failover(
    node: Node,
    *,
    accept_loss: Annotated[
        bool,
        typer.Option(
            help="The last resort: NODE lacks acknowledged writes, and they are given up."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Make NODE the primary."""
    with reported(as_json=as_json):
        if accept_loss:
            found = loss.estimate(node)
            if not as_json or os.environ.get("YES") != "1":  # its words would stand in the document
                agree(found.words, "Say so with YES=1, or bring back what is gone.")
            _new_primary(loss.accept(found), as_json=as_json)
        else:
            _new_primary(operate.promote(node), as_json=as_json)


@maintenance.command("on")
def maintenance_on(node: Node, *, as_json: Json = False) -> None:
    """Take NODE out; a primary hands over first. Until it is back, commits are on fewer nodes."""
    with reported(as_json=as_json):
        operate.maintenance_on(node)
    _done({"node": node, "maintenance": True}, f"{node} is in maintenance", as_json=as_json)


@maintenance.command("off")
def maintenance_off(node: Node, *, as_json: Json = False) -> None:
    """Take NODE back, and wait until it is in sync."""
    with reported(as_json=as_json):
        operate.maintenance_off(node)
    _done({"node": node, "maintenance": False}, f"{node} is in sync again", as_json=as_json)


@app.command()
def restart(
    *,
    rolling: Annotated[bool, typer.Option("--rolling", help="One container after another.")] = True,
    as_json: Json = False,
) -> None:
    """Restart every container in turn, waiting for full redundancy between; nothing fails."""
    if not rolling:
        raise typer.BadParameter("only --rolling is offered; `make down` and `make up` stop it all")
    steps: list[str] = []

    def say(line: str) -> None:
        steps.append(line)
        if not as_json:
            console.print(line)

    with reported(as_json=as_json):
        operate.restart_rolling(say)
    if as_json:
        print_json({"steps": steps})


@app.command("events")
def show_events(
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=10_000)] = 30,
    *,
    as_json: Json = False,
) -> None:
    """What the monitor saw and decided, oldest first; times are UTC."""
    with reported(as_json=as_json):
        found = events.recent(count)
    if as_json:
        print_json([asdict(event) for event in found])
        return
    table = Table("time (UTC)", "node", "state → goal", box=None)
    table.add_column("what", no_wrap=True, overflow="ellipsis")  # one line an event
    for event in found:
        when = event.time.strftime("%m-%d %H:%M:%S.%f")[:-3]
        table.add_row(when, event.node, f"{event.state} → {event.goal}", event.what)
    console.print(table)


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def psql(context: typer.Context) -> None:
    """A psql session through the write port (`-p 6433`: the read port)."""
    raise typer.Exit(Stack(ROOT).psql(context.args))


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def logs(context: typer.Context) -> None:
    """Follow the logs of all containers, or of those named."""
    raise typer.Exit(Stack(ROOT).logs(context.args))


def _new_primary(name: str, *, as_json: bool) -> None:
    _done({"primary": name}, f"{name} is the primary", as_json=as_json)


def _done(data: dict[str, object], text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(data)
    else:
        console.print(text)
