"""One question after another to a program inside a container, on one `docker exec`.

A login and a process for each question, as `status` has them, cost a third of a core's second; a
question to a program that is there already costs a tenth of a millisecond. So it can be asked often
enough for a drawing that is never more than a second behind.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import subprocess
import threading
import time
from typing import TYPE_CHECKING

from ops import names

if TYPE_CHECKING:
    from collections.abc import Sequence

FIRST_LIMIT = 3.0
"""Seconds for the first answer: Docker starts a process, psql logs in."""

AGAIN = 1.0
"""Seconds until a program is started again that did not come up: each try costs the stack a tenth
of a core's second, just when it needs its processors for a failover."""

END_LIMIT = 2.0
"""Seconds for the command to end that was told to."""

GIVEN_UP = 5.0
"""Seconds without any answer after which the program is ended, and another one is started."""

CHUNK = 65536
END = "end-{}\n"
"""What the program prints behind an answer; the number is the question's."""


class SilentError(Exception):
    """There is no answer: the program cannot be started, has ended, or takes too long."""


class LateError(SilentError):
    """There is no answer yet."""


class Conversation:
    """A program that reads questions, one a line, and answers on its standard output.

    It ends with its standard input: also when this process is killed, nothing of it stays.
    Whoever has it asks from one thread.
    """

    def __init__(self, command: Sequence[str], echo: str) -> None:
        """`echo`: how the program is told to print a word, for the end of an answer."""
        self._command = list(command)
        self._echo = echo
        self._process: subprocess.Popen[bytes] | None = None
        self._count = 0
        self._heard = b""  # of answers that are not complete
        self._answered = 0.0  # monotonic seconds: when the last question was, or the start
        self._not_before = 0.0  # monotonic seconds: when it may be started again

    def ask(self, question: str, limit: float) -> str:
        """Return the answer. Raises SilentError, after `limit` seconds at the latest.

        An answer that is late is dropped when it comes, and the program stays, for a while: where
        it is slow because its machine is busy, starting another one would not make it faster.
        """
        first = self._process is None
        if first and time.monotonic() < self._not_before:
            raise SilentError("it has just failed to start")
        deadline = time.monotonic() + (max(limit, FIRST_LIMIT) if first else limit)
        try:
            process = self._process or self._start()
            self._count += 1
            text = f"{question}\n{self._echo} {END.format(self._count)}"
            _write(process, text.encode())
            return self._read(process, deadline)
        except LateError:
            if time.monotonic() - self._answered > GIVEN_UP:
                self.close()
            raise
        except (OSError, SilentError) as error:
            self.close()
            if first:
                self._not_before = time.monotonic() + AGAIN
            raise SilentError(str(error)) from None

    def _read(self, process: subprocess.Popen[bytes], deadline: float) -> str:
        source = process.stdout.fileno()  # type: ignore[union-attr] # a pipe, see _start
        before, end = (END.format(self._count - back).encode() for back in (1, 0))
        while not self._heard.endswith(end):
            ready, _, _ = select.select([source], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise LateError("no answer in time")
            chunk = os.read(source, CHUNK)
            if not chunk:
                raise SilentError("it has ended")
            self._heard += chunk
        heard, self._heard = self._heard.removesuffix(end), b""
        self._answered = time.monotonic()
        return heard.rpartition(before)[2].decode(errors="replace")

    def close(self) -> None:
        """End the program; the next question starts another."""
        process, self._process, self._heard = self._process, None, b""
        if process is None:
            return
        with contextlib.suppress(OSError):
            process.stdin.close()  # type: ignore[union-attr] # a pipe, see _start
        process.kill()
        process.stdout.close()  # type: ignore[union-attr] # as above
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_LIMIT)

    def _start(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the console alone
        )
        self._answered = time.monotonic()
        return self._process


def psql(member: str, *options: str) -> Conversation:
    """Return a session of psql in a member's container, as its superuser."""
    base = ("docker", "exec", "-i", names.container(member), "psql", "--no-psqlrc", "-qAt")
    return Conversation([*base, *options], "\\echo")


def shell(member: str) -> Conversation:
    """Return a shell in a member's container."""
    return Conversation(["docker", "exec", "-i", names.container(member), "sh"], "echo")


def get(address: str, port: int, path: str, limit: float) -> str:
    """Return what an HTTP server says within so many seconds. Raises OSError where it does not."""
    connection = http.client.HTTPConnection(address, port, timeout=limit)
    # `timeout` is for each read: whoever says a little now and then would be heard for ever.
    watch = threading.Timer(limit, lambda: connection.sock and connection.sock.shutdown(2))
    watch.start()
    begun = time.monotonic()
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        said = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        late = time.monotonic() - begun > limit * 0.95
        raise (TimeoutError if late else OSError)(f"{address}: {error}") from error
    finally:
        watch.cancel()
        connection.close()
    if answer.status != http.client.OK:
        raise OSError(f"{address} answers {answer.status}")
    return said


def _write(process: subprocess.Popen[bytes], text: bytes) -> None:
    # Far less than a pipe holds, so this does not block.
    process.stdin.write(text)  # type: ignore[union-attr] # a pipe, see _start
    process.stdin.flush()  # type: ignore[union-attr] # as above
