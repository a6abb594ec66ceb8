"""docs/how-to-use-it.md as a program: its blocks in order, and a folder that follows them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ops.embedded.majors import chosen
from tests.integration.support import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

GUIDE = ROOT / "docs" / "how-to-use-it.md"
STEP_TIMEOUT = 60.0  # seconds for one block, which needs a few at most
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# The last file that the text before a block names is the block's.
_FILE = re.compile(r"`((?:ledger/)?\w+\.(?:py|sql))`")
_FOLLOWED = ("sh", "sql", "python", "text", "conf")
# Run in the folder: what the handler answers to each error of the tree, with a key and without.
ANSWERS = """
import asyncio, json
from fastapi import Request
from ledger import api, errors

def made(kind):
    more = {"constraint": "c"} if issubclass(kind, errors.ConstraintViolated) else {}
    more |= {"kind": "k"} if issubclass(kind, errors.DatabaseError) else {}
    return kind("the message", **more)

def answer(kind, *headers):
    request = Request({"type": "http", "headers": headers})
    told = asyncio.run(api.problem(request, made(kind)))
    return told.status_code, dict(told.headers), json.loads(told.body)

kinds = {name: getattr(errors, name) for name in errors.__all__}
print(json.dumps({name: answer(kind, (b"idempotency-key", b"k7")) for name, kind in kinds.items()}))
assert "idempotency-key" not in answer(errors.Unavailable)[1]
"""
# Pays; says whether the session is encrypted, or what is wrong with the server's certificate.
ENCRYPTED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
PAY = """
import asyncio, os
from ledger.database import Database, Observer, Role
from ledger.payments import Ledger
from ledger.settings import OPTIONS

class Watcher(Observer):
    def __init__(self):
        self.refused = asyncio.get_running_loop().create_future()

    def failure(self, role, error):
        if role is Role.WRITE and "certificate" in str(error) and not self.refused.done():
            self.refused.set_result(str(error))

async def main():
    watcher = Watcher()
    async with Database(OPTIONS, watcher) as database:
        paying = asyncio.create_task(Ledger(database).pay("order-tls", "grace", 1))
        await asyncio.wait([paying, watcher.refused], return_when=asyncio.FIRST_COMPLETED)
        if watcher.refused.done():
            paying.cancel()
            return watcher.refused.result()
        await paying
        async with database.write() as connection:
            return await connection.fetchval(os.environ["ENCRYPTED"])

print(asyncio.run(main()))
"""


@dataclass(frozen=True)
class Block:
    """What the guide has between two fences: a program, a file's content, or what was printed."""

    language: str
    text: str
    file: str  # of SQL and Python: where it belongs


def blocks() -> list[Block]:
    """Return the guide's blocks, those for a terminal of the reader's own (`console`) left out."""
    text, found, end = GUIDE.read_text(), [], 0
    for block in _BLOCK.finditer(text):
        language, content = block.groups()
        names = _FILE.findall(text[end : block.start()])
        end = block.end()
        if language in _FOLLOWED:
            file = names[-1] if language in ("sql", "python") else ""
            found.append(Block(language, content, file))
    return found


def content(file: str) -> str:
    """Return the block that belongs into a file."""
    (only,) = [block.text for block in blocks() if block.file == file]
    return only


@dataclass
class Folder:
    """A folder in which the guide is followed.

    `ports`: what is here in place of the ports that the guide writes.
    """

    path: Path
    ports: Mapping[str, int]
    printed: list[tuple[str, str]] = field(default_factory=list)  # by a block; what the guide says

    def follow(self) -> None:
        """Do what the blocks say, in order; keep what is printed beside what the guide shows.

        Of a server nobody waits for the end: those who want it start it.
        """
        following = blocks()
        for block, after in zip(following, [*following[1:], Block("", "", "")], strict=True):
            if block.file:
                (self.path / block.file).write_text(self.here(block.text))
            elif block.language == "sh" and "uvicorn" not in block.text:
                done = self.run("sh", "-ec", self.here(block.text))
                assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
                if after.language == "text":
                    self.printed.append((done.stdout, after.text))

    def here(self, text: str) -> str:
        """Return a block's text with the ports of this place."""
        for shown, port in self.ports.items():
            text = re.sub(rf"\b{shown}\b", str(port), text)
        return text

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the folder, with nothing of this repository on its path."""
        return subprocess.run(
            command,
            cwd=self.path,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=STEP_TIMEOUT,
            check=False,
        )

    def python(self, code: str, **environment: str) -> str:
        """Run Python code that must succeed; return what it prints."""
        done = self.run(sys.executable, "-W", "error", "-c", code, **environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @property
    def environment(self) -> dict[str, str]:
        """What a reader has: the checkout, Python with its libraries, and psql."""
        programs = (Path(sys.executable).parent, chosen().programs, os.defpath)
        return {"HOLDFAST": str(ROOT), "PATH": os.pathsep.join(map(str, programs))}


def paid(ledger: Folder, **environment: str) -> str:
    """Pay in the environment; "True": by TLS; "False": in clear text; else, why not."""
    return ledger.python(PAY, ENCRYPTED=ENCRYPTED, **environment)
