"""What a worker knows of the others: their state from the board, their metrics by asking them.

Each worker answers on a socket in a private folder, and keeps there what it last told. So a worker
that is killed, or does not answer in time, still counts with that, and its successor goes on from
it: no counter goes backwards. What nobody was told since is lost with the process.
"""

import asyncio
import json
from contextlib import suppress
from pathlib import Path

from prometheus_client import generate_latest

from service.observability.merged import Family, Merged, lasting, summed, told_by
from service.observability.metrics import Metrics
from service.workers.board import Board

ANSWER = 0.5
"""Seconds for another worker's metrics: they are ready in milliseconds, or it is stuck."""


class Peers:
    """The workers of an instance, as one of them sees them."""

    def __init__(self, board: Board, number: int, folder: Path) -> None:
        self.board = board
        self.number = number
        self.folder = folder
        self._before = lasting(_kept(self._file(number)))  # of those that had this place
        self._metrics = Metrics()
        self._server: asyncio.Server | None = None

    def watch(self, metrics: Metrics) -> None:
        """Tell these metrics to the others."""
        self._metrics = metrics

    def beat(self, status: str) -> None:
        """Say that this worker's event loop turns, and in what state it is."""
        self.board.beat(self.number, status)

    async def open(self) -> None:
        """Answer the others."""
        socket = self._socket(self.number)
        socket.unlink(missing_ok=True)  # of the one before
        self._server = await asyncio.start_unix_server(self._answer, socket)

    async def metrics(self) -> bytes:
        """Return the metrics of the instance, in Prometheus's text format."""
        others = [each for each in range(self.board.workers) if each != self.number]
        answers = await asyncio.gather(*map(self._ask, others))
        families = [family for answer in answers for family in answer]
        count = ("holdfast_workers_replaced_total", dict[str, str](), float(self.board.replaced))
        replaced = ("holdfast_workers_replaced", "", "counter", [count])
        return generate_latest(Merged(summed([*self._tell(), *families, replaced])))

    def _tell(self) -> list[Family]:
        """Return what this worker has to tell, and keep it."""
        told = summed([*told_by(self._metrics.registry, self.number), *self._before])
        file = self._file(self.number)
        new = file.with_suffix(".new")
        with suppress(OSError):  # no room: what is told now counts all the same
            new.write_text(json.dumps(told))
            new.replace(file)
        return told

    async def _ask(self, number: int) -> list[Family]:
        try:
            async with asyncio.timeout(ANSWER):
                reader, writer = await asyncio.open_unix_connection(self._socket(number))
                try:
                    families: list[Family] = json.loads(await reader.read())
                    return families
                finally:
                    writer.close()
        except (OSError, ValueError):  # TimeoutError is an OSError
            self._metrics.unanswered.inc()
            return lasting(_kept(self._file(number)))

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            writer.write(json.dumps(self._tell()).encode())
            await writer.drain()
        writer.close()

    def _socket(self, number: int) -> Path:
        return self.folder / f"{number}.sock"

    def _file(self, number: int) -> Path:
        return self.folder / f"{number}.json"


def _kept(file: Path) -> list[Family]:
    """Return what a worker last told; nothing if it never was asked, or could not be kept."""
    try:
        families: list[Family] = json.loads(file.read_text())
    except (OSError, ValueError):
        return []
    return families
