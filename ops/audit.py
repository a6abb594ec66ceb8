"""Known vulnerabilities of the pinned dependencies: `python -m ops.audit`, a part of `make check`.

Asks the advisories that PyPI publishes. Where they cannot be reached (a machine without internet,
an index that has packages only) that is said, and is no failure: nothing here could change it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from ops.console import result, say

REQUIREMENTS = ("service", "client", "dev")
LIMIT = 120.0
"""Seconds for all of it; each question has ten."""


def main() -> int:
    """Print what is known; 1 when there is something to mend."""
    files = [part for name in REQUIREMENTS for part in ("-r", f"requirements/{name}.txt")]
    tool = str(Path(sys.executable).with_name("pip-audit"))
    options = ("--disable-pip", "--require-hashes", "--format", "json", "--timeout", "10")
    command = [tool, *files, *options, "--progress-spinner", "off"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return _not_run(f"no answer within {LIMIT:.0f} s")
    if not done.stdout.startswith("{"):
        return _not_run((done.stderr.strip() or "it said nothing").splitlines()[-1])
    return report(json.loads(done.stdout)["dependencies"])


def report(dependencies: list[dict[str, object]]) -> int:
    """Print what the advisories have on them; 1 when that is anything."""
    asked = [found for found in dependencies if "skip_reason" not in found]
    if not asked:
        return _not_run("the index has no advisories")
    bad = [found for found in asked if found["vulns"]]
    for found in bad:
        advisories = found["vulns"]
        assert isinstance(advisories, list)  # noqa: S101 - the tool's format
        for advisory in advisories:
            mended = ", ".join(advisory["fix_versions"]) or "no version yet"
            name = f"{found['name']} {found['version']}"
            say(f"  ✗ {name}: {advisory['id']}, mended in {mended}. `make lock` takes it up.")
    if not bad:
        skipped = len(dependencies) - len(asked)
        unknown = f", {skipped} that nobody knows" if skipped else ""
        result("Dependencies", f"{len(asked)} without a known vulnerability{unknown}")
    return 1 if bad else 0


def _not_run(why: str) -> int:
    say(f"  - Audit of dependencies not run: {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
