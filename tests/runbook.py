"""docs/runbook.md, for the tests that follow it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/runbook.md").read_text()
HEADINGS = re.findall(r"^## (.+)$", TEXT, re.MULTILINE)


def section(heading: str) -> str:
    """Return what stands under a heading, as one line. Raises KeyError without it."""
    under = rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)"
    found = re.search(under, TEXT, re.MULTILINE | re.DOTALL)
    if found is None:
        raise KeyError(heading)
    return " ".join(found[1].split())
