"""A passphrase: from the environment, else asked at the terminal; never an argument."""

from __future__ import annotations

import os
import warnings
from getpass import GetPassWarning, getpass

from ops.console import StackError, say

VARIABLE = "HOLDFAST_PASSPHRASE"

SHORTEST = 16
"""Characters of a new one: whoever has the file may guess for years."""


def new() -> str:
    """Return one that something will be encrypted with; raise StackError where it is too weak."""
    given = _ask("Passphrase: ")
    if len(given) < SHORTEST:
        raise StackError(
            f"the passphrase has {len(given)} characters; it must have {SHORTEST} or more: "
            "five random words, for instance"
        )
    if VARIABLE not in os.environ and _ask("Once more: ") != given:
        raise StackError("the two passphrases differ; nothing was written")
    return given


def known() -> str:
    """Return one that something was encrypted with."""
    return _ask("Passphrase: ")


def _ask(question: str) -> str:
    given = os.environ.get(VARIABLE)
    if given is None:
        given = _ask_at_the_terminal(question)
    if not given.isprintable():  # nobody could type it for `age --decrypt`
        raise StackError("the passphrase has a character that cannot be typed, like a line's end")
    return given


def _ask_at_the_terminal(question: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", GetPassWarning)  # else it is read, and shown, somehow
            return getpass(question)
    except EOFError:  # Ctrl-D
        say()
        raise StackError("no passphrase was given; nothing was written") from None
    except GetPassWarning:
        raise StackError(
            f"there is no terminal to ask for the passphrase: put it into {VARIABLE}"
        ) from None
