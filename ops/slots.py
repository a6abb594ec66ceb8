"""Ports and subnets of a stack with another name, where none are set: the first that are free.

A slot is a set of them. The first stack has the well-known ones; what another stack has been given
is kept with its settings, so that it stays.
"""

from __future__ import annotations

import os
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from ops import names, preflight, settings
from ops.console import StackError

if TYPE_CHECKING:
    from pathlib import Path

SLOTS = range(1, 101)

FIRST, STEP = 10_000, 100
"""From the first stack's ports to those of slot 1, and from slot to slot: 18080, 18180 ..."""


def slot(number: int) -> dict[str, str]:
    """Return all ports and subnets of one slot; no two slots share any."""
    ports = {
        name: str(port + FIRST + STEP * (number - 1)) for name, port in settings.ALL_PORTS.items()
    }
    third = 2 * number  # 0 and 1 are the first stack's
    subnets = {
        name: f"172.30.{third + place}.0/{settings.BITS}"
        for place, name in enumerate(settings.SUBNETS)
    }
    return ports | subnets


def choose(root: Path) -> dict[str, str]:
    """Put what is not set into this process's environment, and return it.

    Raises StackError when no slot is free.
    """
    missing = [
        name for name in (*settings.ALL_PORTS, *settings.SUBNETS) if not os.environ.get(name)
    ]
    if names.is_default() or not missing:
        return {}
    reserved = _reserved(root)
    for number in SLOTS:
        given = {name: value for name, value in slot(number).items() if name in missing}
        if not reserved & set(given.values()) and _is_free(given):
            os.environ.update(given)
            return given
    raise StackError(
        f"no ports and subnets are left for a stack named {names.stack()}: set "
        f"{', '.join(missing)} (deploy/compose/README.md)"
    )


def _reserved(root: Path) -> set[str]:
    """Return what other stacks of this checkout have, which may be down."""
    files = {root / names.COMPOSE / ".env", *names.others(root).glob("*/.env")}
    theirs = [settings.read_file(file) for file in files - {settings.file(root)}]
    return {each[name] for each in theirs for name in slot(1) if name in each}


def _is_free(given: dict[str, str]) -> bool:
    ports = {name: int(value) for name, value in given.items() if name in settings.ALL_PORTS}
    subnets = {
        name: IPv4Network(value) for name, value in given.items() if name in settings.SUBNETS
    }
    return not preflight.taken(ports, subnets, tell=False)
