"""The commands. Each one looks or acts through `ops`; nothing is decided here.

Exit codes: 0 done and sound, 1 not done, 2 bad usage, 3 done and something is wrong.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, NoReturn

from ops import events, forgotten, loss, operate, replication, settings, snapshot
from ops.cli import status as status_view
from ops.cli.access import access
from ops.cli.backup import backup, restore
from ops.cli.drill import drill
from ops.cli.load import load
from ops.cli.output import Exit, Json, fail, print_json, reported
from ops.cli.panel import console
from ops.cli.plain import Table, show
from ops.cli.secrets import certificates, secrets
from ops.cli.verbs import Argument, Option, UsageError, Verbs
from ops.console import agree
from ops.diagnosis import diagnose
from ops.names import ROOT
from ops.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Sequence

maintenance = Verbs("holdfast maintenance", "Take a data node out for work, and back.")
node = Verbs("holdfast node", "The third data node, on a running stack.")

WITHOUT_DOCKER = {"load", "psql", "secrets export", "secrets import"}
"""Commands that speak HTTP or SQL, which work in psql-client, too; those that have files alone."""

Node = Annotated[str, Argument("A data node: postgres1, postgres2 ...", "NODE")]
Rest = Annotated[list[str], Argument("Passed on as they are.", rest=True)]


class App(Verbs):
    """All commands; most of them want Docker."""

    def run(self, arguments: Sequence[str]) -> NoReturn:
        """Adopt the stack's settings, and refuse early what cannot work here."""
        with reported(as_json="--json" in arguments):
            settings.adopt(ROOT)
        name = arguments[0] if arguments else "--help"
        called = {name, " ".join(arguments[:2])}
        needs = name in self.functions and not called & WITHOUT_DOCKER
        if needs and not {"--help", "-h"} & set(arguments) and shutil.which("docker") is None:
            what = f"`holdfast {name}` drives containers; there is no docker here"
            do = "Run it on the stack's host, where `make up` brings Docker."
            raise fail(f"{what}. {do}", as_json="--json" in arguments)
        super().run(arguments)


app = App("holdfast", "Operate, load and break the Holdfast stack.")


@app.verb()
def status(
    *,
    watch: Annotated[bool, Option("Show it live; end with Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Nodes, virtual IP, backends, durability, what is wrong. Exit code 3 unless all is well."""
    if watch and as_json:
        raise UsageError("--watch draws a screen; without it --json prints one document")
    with reported(as_json=as_json):
        if watch:
            status_view.watch()
        now = snapshot.take()
    if as_json:
        print_json(status_view.as_data(now))
    else:
        status_view.show(now)
    raise SystemExit(Exit.UNSOUND if diagnose(now) or not now.whole else Exit.OK)


@app.verb()
def switchover(*, as_json: Json = False) -> None:
    """Hand the primary's role to the standby. Clients see a pause of one to three seconds."""
    with reported(as_json=as_json):
        _new_primary(operate.switchover(), as_json=as_json)


@app.verb()
def failover(
    node: Node,
    *,
    accept_loss: Annotated[
        bool, Option("The last resort: NODE lacks acknowledged writes, and they are given up.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make NODE the primary."""
    with reported(as_json=as_json):
        if accept_loss and snapshot.take().leaderless:
            choice = forgotten.choose(node)
            _agree(choice.words, as_json=as_json)
            _new_primary(forgotten.accept(choice), as_json=as_json)
        elif accept_loss:
            found = loss.estimate(node)
            _agree(found.words, as_json=as_json)
            _new_primary(loss.accept(found), as_json=as_json)
        else:
            _new_primary(operate.promote(node), as_json=as_json)


def _agree(words: str, *, as_json: bool) -> None:
    if not as_json or os.environ.get("YES") != "1":  # the words would stand in the document
        agree(words, "Say so with YES=1, or bring back what is gone.")


@maintenance.verb("on")
def maintenance_on(node: Node, *, as_json: Json = False) -> None:
    """Take NODE out; a primary hands over first. Until it is back, commits are on fewer nodes."""
    with reported(as_json=as_json):
        operate.maintenance_on(node)
    _done({"node": node, "maintenance": True}, f"{node} is in maintenance", as_json=as_json)


@maintenance.verb("off")
def maintenance_off(node: Node, *, as_json: Json = False) -> None:
    """Take NODE back, and wait until it is in sync."""
    with reported(as_json=as_json):
        operate.maintenance_off(node)
    _done({"node": node, "maintenance": False}, f"{node} is in sync again", as_json=as_json)


@node.verb("add")
def node_add() -> None:
    """Have three data nodes, as by `NODES=3 make up`: the new one copies the primary."""
    _with_nodes("3")


@node.verb("remove")
def node_remove() -> None:
    """Have two again: the third hands over if it leads, and goes with its copy of the data."""
    _with_nodes("2")


def _with_nodes(count: str) -> None:
    os.environ["NODES"] = count
    with reported(as_json=False):
        Stack(ROOT).bring_up()
        now = snapshot.take()
    show(f"data nodes: {', '.join(each.name for each in now.nodes)}")


@app.verb()
def restart(
    *,
    rolling: Annotated[bool, Option("One container after another.", either=True)] = True,
    as_json: Json = False,
) -> None:
    """Restart every container in turn, waiting for full redundancy between; nothing fails."""
    if not rolling:
        raise UsageError("only --rolling is offered; `make down` and `make up` stop it all")
    steps: list[str] = []

    def say(line: str) -> None:
        steps.append(line)
        if not as_json:
            show(line)

    with reported(as_json=as_json):
        operate.restart_rolling(say)
    if as_json:
        print_json({"steps": steps})


@app.verb("replication")
def set_replication(
    mode: Annotated[str, Argument("sync, async or remote_apply.", "MODE")], *, as_json: Json = False
) -> None:
    """What commits wait for, from now on, on the running stack; nothing fails meanwhile."""
    with reported(as_json=as_json):
        replication.change(ROOT, mode)
    _done({"replication": mode}, f"{mode}: {replication.WAITS[mode]}", as_json=as_json)


@app.verb("events")
def show_events(
    *,
    count: Annotated[int, Option("The last ones.", ("--count", "-n"), 1, 10_000)] = 30,
    as_json: Json = False,
) -> None:
    """What the monitor saw and decided, oldest first; times are UTC."""
    with reported(as_json=as_json):
        found = events.recent(count)
    if as_json:
        print_json([asdict(event) for event in found])
        return
    table = Table("time (UTC)", "node", "state → goal", "what")
    for event in found:
        when = event.time.strftime("%m-%d %H:%M:%S.%f")[:-3]
        table.add_row(when, event.node, f"{event.state} → {event.goal}", event.what)
    show(table, cut=True)  # one line an event


@app.verb()
def psql(arguments: Rest) -> None:
    """A psql session through the write port (`-p 6433`: the read port)."""
    raise SystemExit(Stack(ROOT).psql(arguments))


@app.verb()
def logs(arguments: Rest) -> None:
    """Follow the logs of all containers, or of those named."""
    raise SystemExit(Stack(ROOT).logs(arguments))


def _new_primary(name: str, *, as_json: bool) -> None:
    _done({"primary": name}, f"{name} is the primary", as_json=as_json)


def _done(data: dict[str, object], text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(data)
    else:
        show(text)


app.functions |= {"console": console, "load": load, "drill": drill}
app.functions |= {"maintenance": maintenance, "node": node, "access": access}
app.functions |= {"secrets": secrets, "certificates": certificates}
app.functions |= {"backup": backup, "restore": restore}
