"""A passphrase is asked for at a terminal, twice and without an echo, or is in the environment."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ops import passphrase
from ops.console import StackError

ROOT = Path(__file__).parents[3]
GOOD = "five random words, or so"
LIMIT = 20.0
NEW = "from ops import passphrase\nprint('was told', len(passphrase.new()))"


@pytest.mark.parametrize("ask", [passphrase.new, passphrase.known])
def test_the_environment_has_one(ask: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """For timers: nobody is asked."""
    monkeypatch.setenv(passphrase.VARIABLE, GOOD)
    assert callable(ask)
    assert ask() == GOOD


@pytest.mark.parametrize("short", ["", "fifteen letters"])
def test_a_new_one_that_is_short_is_refused(short: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by showing it."""
    monkeypatch.setenv(passphrase.VARIABLE, short)
    with pytest.raises(StackError, match="it must have 16 or more") as caught:
        passphrase.new()
    assert not short or short not in str(caught.value)
    assert passphrase.known() == short


@pytest.mark.parametrize("more", ["\n", "\t", "\udcff"])
def test_what_nobody_can_type_is_refused(more: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line's end of a file, for instance: `age --decrypt` could not be told it."""
    monkeypatch.setenv(passphrase.VARIABLE, GOOD + more)
    with pytest.raises(StackError, match="cannot be typed"):
        passphrase.new()


def test_without_a_terminal_nobody_is_asked() -> None:
    """What comes from a pipe is not taken for one."""
    done = subprocess.run(
        [sys.executable, "-c", NEW], input=f"{GOOD}\n{GOOD}\n", start_new_session=True,
        cwd=ROOT, env=_environment(), capture_output=True, text=True, check=False, timeout=LIMIT,
    )  # fmt: skip
    assert done.returncode == 1
    assert "there is no terminal to ask for the passphrase: put it into HOLDFAST_" in done.stderr


def test_it_is_asked_for_twice_and_not_shown() -> None:
    """As it is typed."""
    said = typed(GOOD, GOOD)
    assert f"was told {len(GOOD)}" in said
    assert GOOD not in said


def test_two_that_differ_are_none() -> None:
    """A slip would be found out when it is needed."""
    said = typed(GOOD, GOOD + "!")
    assert "the two passphrases differ" in said
    assert "was told" not in said
    assert GOOD not in said


def typed(*answers: str) -> str:
    """Answer each question at a terminal; return all that it showed."""
    ours, theirs = pty.openpty()
    # The first terminal that a leader of a session opens is the one that /dev/tty means.
    open_it = f"import os; os.open({os.ttyname(theirs)!r}, os.O_RDWR)\n"
    with subprocess.Popen(
        [sys.executable, "-c", open_it + NEW], start_new_session=True, cwd=ROOT,
        env=_environment(), stdin=theirs, stdout=theirs, stderr=theirs,
    ) as process:  # fmt: skip
        os.close(theirs)
        said = ""
        for question, answer in zip(("Passphrase: ", "Once more: "), answers, strict=True):
            said += _until(ours, question)
            os.write(ours, f"{answer}\n".encode())
        said += _until(ours, None)
        process.wait(LIMIT)
    os.close(ours)
    return said


def _until(terminal: int, wanted: str | None) -> str:
    """Read until a question is asked; None: until there is nothing more."""
    said, deadline = "", time.monotonic() + LIMIT
    while wanted is None or wanted not in said:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"no {wanted!r} within {LIMIT} s: {said}"
        try:
            part = os.read(terminal, 1024)
        except OSError:  # all others have closed it
            part = b""
        if not part:
            assert wanted is None, said
            break
        said += part.decode()
    return said


def _environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k != passphrase.VARIABLE}
