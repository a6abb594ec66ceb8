"""`holdfast status`: what takes room, in words that fit a terminal."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from ops import settings
from ops.cli import status
from ops.snapshot import Sizes
from tests.unit.ops.test_diagnosis import WHOLE

COLUMNS = 80
MB = 2**20
SIZES = Sizes(database=1234 * MB, audit=900 * MB, users=300 * MB, keys=20 * MB, wal=64 * MB)


def page(sizes: Sizes | None, used: int | None = 62) -> list[str]:
    """Return what is shown, on a terminal of the usual width."""
    nodes = [replace(node, used=used) for node in WHOLE.nodes]
    console = Console(width=COLUMNS)
    with console.capture() as shown:
        console.print(status._page(replace(WHOLE, nodes=nodes, sizes=sizes)))
    return [line.rstrip() for line in shown.get().splitlines()]


def test_what_takes_room_is_shown() -> None:
    """Each in one line: tables, volumes, and WAL that waits for standbys."""
    lines = page(SIZES)
    data = next(line for line in lines if line.strip().startswith("data"))
    assert data.split(maxsplit=1)[1] == "1.2 GB: audit 900 MB, users 300 MB, keys 20 MB"
    used = next(line for line in lines if line.strip().startswith("volumes used"))
    assert used.endswith("postgres1 62 %, postgres2 62 %")
    assert any(line.split() == ["WAL", "kept", "64", "MB", "for", "standbys"] for line in lines)
    assert max(map(len, lines)) <= COLUMNS


def test_nothing_is_shown_of_what_nobody_says() -> None:
    """No primary, no node."""
    parts = ("data", "WAL kept", "volumes used")
    assert not any(line.strip().startswith(parts) for line in page(None, None))


def test_where_the_stack_is_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name, its ports, its networks, each in one line."""
    for name in (*settings.PORTS, *settings.SUBNETS):
        monkeypatch.delenv(name, raising=False)
    shown = {line.split()[0]: line.split(maxsplit=1)[1] for line in page(SIZES) if line.strip()}
    assert shown["stack"] == "holdfast"
    assert shown["ports"] == "http 8080, https 8443, stats 8404, write 6432, read 6433"
    assert shown["networks"] == "edge 172.30.0.0/24, database 172.30.1.0/24"
    monkeypatch.setenv("NAME", "second")
    assert any(line.split() == ["stack", "second"] for line in page(SIZES))


def test_tables_before_their_migration() -> None:
    """Are left out."""
    assert any("1.2 GB: users 300 MB" in line for line in page(replace(SIZES, audit=None)))


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 kB"), (20 * MB, "20 MB"), (5000 * 2**30, "5000 GB")],
)
def test_sizes_in_words(size: int, words: str) -> None:
    """With the unit that reads best."""
    assert status.in_words(size) == words
