"""How the command speaks: text or JSON on standard output, errors on standard error, exit codes."""

from __future__ import annotations

import dataclasses
import json
import sys
from contextlib import contextmanager
from datetime import datetime
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated

from ops.cli import plain
from ops.cli.verbs import Option
from ops.console import StackError

if TYPE_CHECKING:
    from collections.abc import Iterator

Json = Annotated[bool, Option("One JSON document instead of text.", ("--json",))]


class Exit(IntEnum):
    """What a script may rely on. 2 is bad usage, 130 an interruption, as everywhere."""

    OK = 0
    FAILED = 1  # what was asked for did not happen; standard error says why and what to do
    UNSOUND = 3  # it did, and found something wrong: a degraded stack, a promise broken


def print_json(value: object) -> None:
    """Print a value as JSON; dataclasses become objects, times ISO 8601."""
    sys.stdout.write(json.dumps(value, default=_plain, indent=2, ensure_ascii=False) + "\n")


def fail(error: str, *, as_json: bool) -> SystemExit:
    """Print an error where it belongs; return what the caller has to raise."""
    if as_json:
        print_json({"error": error})
    else:
        plain.show(error, "bold red", error=True)
    return SystemExit(Exit.FAILED)


@contextmanager
def reported(*, as_json: bool) -> Iterator[None]:
    """Turn StackError, and a file that cannot be written, into a message and exit code 1."""
    try:
        yield
    except (StackError, OSError) as error:
        raise fail(str(error), as_json=as_json) from None


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
