"""Requests drawn from openapi.json, valid and not, alone and in sequences: no surprise in any."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.stack.support import BASE_URL

HERE = Path(__file__).parent / "schemathesis"
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "250"))
"""For each operation; 1300 are the long form, of more than 5,000 requests."""

CASES = EXAMPLES * 4
"""Requests, with those of sequences and of the schema's limits."""

SEED = "20261123"
"""Set SCHEMATHESIS_SEED for others."""

LIMIT = 600.0
"""Seconds for all of them."""


def test_every_answer_is_as_documented(running_stack: None, tmp_path: Path) -> None:  # noqa: ARG001
    """No 5xx, nothing that is not in the document, nothing accepted that it forbids.

    A failure prints the request as a curl command, and the seed.
    """
    report = tmp_path / "report.json"
    schemathesis = Path(sys.executable).with_name("schemathesis")
    done = subprocess.run(
        [
            str(schemathesis), "--config-file", str(HERE / "schemathesis.toml"),
            "run", f"{BASE_URL}/openapi.json", "--checks", "all", "--no-color",
            # The edge asks for the operator's password there, whatever the method.
            "--exclude-path", "/metrics",
            "--seed", os.environ.get("SCHEMATHESIS_SEED", SEED),
            "--max-examples", str(EXAMPLES), "--continue-on-failure",
            "--suppress-health-check", "all", "--generation-database", "none",
            "--report", "json", "--report-json-path", str(report),
        ],
        env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE)},
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=LIMIT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(report.read_text())["test_cases"]["generated"] >= CASES
