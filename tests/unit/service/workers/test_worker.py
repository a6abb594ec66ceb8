"""service.workers.worker: a worker ends with its supervisor, whenever that was."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

BOUND = 20.0
"""Seconds for a start, and for an end in order."""

WORK = """
import sys
from pathlib import Path
from service.settings import load_settings
from service.workers.board import Board
from service.workers.peers import Peers
from service.workers.supervisor import listen
from service.workers.worker import work

peers = Peers(Board(2), 0, Path(sys.argv[1]))
work(load_settings(), peers, int(sys.argv[2]), listen("127.0.0.1", 0))
"""


def test_a_supervisor_that_was_gone_before(tmp_path: Path, refusing_port: int) -> None:
    """Killed between the fork and the worker's first look: nobody could stop it any more."""
    folder = tmp_path / "workers"
    folder.mkdir()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(BOUND)
    database = {"HOST": "127.0.0.1", "PORT": str(refusing_port)}
    environment = {
        **os.environ,
        **{f"DB_WRITE_{name}": value for name, value in database.items()},
        "DB_PASSWORD": "x",
        "DRAIN_DELAY": "0",
        "WORKERS": "2",
    }
    worker = subprocess.run(
        [sys.executable, "-c", WORK, str(folder), str(gone.pid)],
        env=environment, capture_output=True, text=True, timeout=BOUND, check=False,
    )  # fmt: skip
    assert worker.returncode == 0, worker.stderr
    assert "the supervisor is gone" in worker.stdout
    assert not folder.exists()
