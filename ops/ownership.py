"""Whose a stack is: the checkout that made it. No other one starts, stops or removes it.

Each checkout has a random number for each of its stacks, kept with the stack's secrets. It is a
label of a volume without data: that outlives `make down`, and can be made anew without touching
what has data. The label also says where the checkout was.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from ops import cluster, names
from ops.console import StackError, say
from ops.host import IMAGE_LABEL
from ops.secret_files import SecretFiles

FILE = "stack_id"
"""Among the secrets: who moves these to another place takes the stack along."""

STACK, OWNER, CHECKOUT = "holdfast.stack", "holdfast.owner", "holdfast.checkout"
PROJECT = "com.docker.compose.project"


@dataclass(frozen=True)
class Mark:
    """What a stack's mark says."""

    identity: str
    checkout: str  # where it was at its last `make up`


def require(root: Path) -> None:
    """Raise StackError when the stack on the engine is another checkout's; nothing is changed.

    `ADOPT=1` in the environment is for whoever has lost that checkout.
    """
    where = _other(root)
    if where is None:
        return
    if os.environ.get("ADOPT") == "1":
        say(f"  ! taken over from {where or 'a checkout that is not known'} (ADOPT=1)")
        return
    raise StackError(_refusal(where))


def claim(root: Path) -> None:
    """Say on the engine that the stack is this checkout's."""
    file = names.secrets(root) / FILE
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(16))
    mine = Mark(file.read_text().strip(), str(root))
    if _mark() == mine:
        return
    release()
    labels = {STACK: names.stack(), OWNER: mine.identity, CHECKOUT: mine.checkout}
    words = [word for name, value in labels.items() for word in ("--label", f"{name}={value}")]
    cluster.docker("volume", "create", *words, _volume())


def release() -> None:
    """Take the mark away: the stack is gone, or has another owner."""
    if _mark() is not None:
        cluster.docker("volume", "rm", _volume())


def volumes() -> list[str]:
    """Return the volumes that have the stack's data, whether it runs or not."""
    label = f"label={PROJECT}={names.stack()}"
    return cluster.docker("volume", "ls", "--quiet", "--filter", label).split()


def first_is_lost() -> bool:
    """Tell whether the node that makes a cluster lost its volume, and another one has its own."""
    there = set(volumes())
    first, *others = cluster.NODES
    return names.volume(first) not in there and any(names.volume(each) in there for each in others)


def others() -> list[str]:
    """Return the names of other stacks on the engine, running or not."""
    # Containers have the labels of their image, its project's included, whoever has started them.
    containers = (f"label={IMAGE_LABEL}", "label=com.docker.compose.container-number")
    filters = [word for each in containers for word in ("--filter", each)]
    running = cluster.docker("ps", "--all", *filters, "--format", f'{{{{.Label "{PROJECT}"}}}}')
    marks = ("--filter", f"label={STACK}", "--format", f'{{{{.Label "{STACK}"}}}}')
    marked = cluster.docker("volume", "ls", *marks)
    return sorted({*running.split(), *marked.split()} - {names.stack()})


def _other(root: Path) -> str | None:
    """Return where the checkout is that has the stack, if it is not this one; "": nobody knows."""
    places = _places()
    if not places and not volumes():
        return None
    file = names.secrets(root) / FILE
    mark = _mark()
    if mark is not None:
        mine = file.exists() and file.read_text().strip() == mark.identity
        # The same place with other secrets: they were lost there, and are made anew.
        return None if mine or _is_here(mark.checkout, root) else mark.checkout
    # An earlier version left no mark, and `docker volume prune` may take one away.
    ours = SecretFiles(names.secrets(root)).exist
    if places:
        here = any(_is_here(place, root / names.COMPOSE) for place in places)
        # Of an earlier version, which had the first stack alone.
        there = any(SecretFiles(Path(place) / "secrets").exist for place in places)
        moved = ours and not there
        return None if here or moved else places[0].removesuffix(f"/{names.COMPOSE}")
    return None if ours else ""


def _places() -> list[str]:
    """Return the folders whose compose.yaml made the containers."""
    shown = '{{.Label "com.docker.compose.project.working_dir"}}'
    found = cluster.docker("ps", "--all", "--format", shown, *cluster.of_the_stack())
    return sorted(set(found.splitlines()) - {""})


def _is_here(place: str, here: Path) -> bool:
    return Path(place).resolve() == here.resolve()


def _mark() -> Mark | None:
    if _volume() not in cluster.docker("volume", "ls", "--quiet").split():
        return None
    shown = cluster.docker("volume", "inspect", "--format", "{{json .Labels}}", _volume())
    labels = json.loads(shown) or {}
    return Mark(labels.get(OWNER, ""), labels.get(CHECKOUT, ""))


def _volume() -> str:
    return names.volume("owner")


def _refusal(where: str) -> str:
    known = where and Path(where).exists()
    name = names.stack()
    whose = where or "it is not known where"
    gone = "" if known else "is gone, or "
    lines = [
        f"The stack {name} on this engine is another checkout's: {whose}. Nothing was changed.",
        *([f"  to use it:            cd {where}"] if known else []),
        "  one more beside it:   NAME=other make up    (any name; ports and subnets of its own)",
        *([f"  to be rid of it:      {names.command('make clean')}    (there)"] if known else []),
        f"If that checkout {gone}is no longer needed, ADOPT=1 makes its stack this one's: the data",
        "stay, and what of passwords, certificates and tokens is not here is made anew. Move",
        f"{names.COMPOSE}/secrets and {names.COMPOSE}/.env from there before, if they are.",
    ]
    return "\n".join(lines)
