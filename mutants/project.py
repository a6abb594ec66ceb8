"""The project's files: a copy to plant faults in, and the lines that a change touched."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def git(root: Path, *arguments: str) -> str:
    """Return what git says."""
    done = subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout


def copy(root: Path, to: Path) -> None:
    """Copy everything that git would commit. The project itself is never changed."""
    names = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, names.split("\0")):
        source, target = root / name, to / name
        if source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)


def sources(root: Path, paths: list[str]) -> list[str]:
    """Return the Python files in the paths, relative to the project."""
    found: list[Path] = []
    for path in paths:
        there = root / path
        if not there.exists():
            raise SystemExit(f"mutants: there is no {path}")
        found += sorted(there.rglob("*.py")) if there.is_dir() else [there]
    return [str(path.relative_to(root)) for path in found]


def base(root: Path) -> str:
    """Return what a change began from: where it left main; on main itself, the commit before."""
    left = git(root, "merge-base", "HEAD", "main").strip()
    on_main = git(root, "rev-parse", "--abbrev-ref", "HEAD").strip() == "main"
    return "HEAD~1" if on_main else left


def touched(root: Path, revision: str) -> dict[str, set[int]]:
    """Return the lines that are new since a revision, by file; a new file is new as a whole."""
    lines: dict[str, set[int]] = {}
    path = ""
    for line in git(root, "diff", "--unified=0", "--no-color", revision, "--", "*.py").splitlines():
        if line.startswith("+++ "):
            path = line.removeprefix("+++ b/")
        elif found := re.match(r"@@ -\S+ \+(\d+)(?:,(\d+))? @@", line):
            first, count = int(found[1]), int(found[2] or 1)
            lines.setdefault(path, set()).update(range(first, first + count))
    for path in git(root, "ls-files", "--others", "--exclude-standard", "*.py").split():
        lines[path] = set(range(1, len((root / path).read_text().splitlines()) + 1))
    return lines
