"""Which tests run a line: found by one run under coverage, and kept for the next time.

A test's file that has changed since is run again. Where the code has changed, the tests of what
stood there before are taken, so that a change need not wait for a run of everything.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from coverage import CoverageData

from mutants.contexts import RESULTS
from mutants.syntax import names_used

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mutants.mutation import Mutant

_CONFIG = """
[run]
branch = false
relative_files = true
concurrency = thread
source = {sources}
"""


@dataclass
class Map:
    """What tests there are, how long they take, and the lines of code that each one runs."""

    files: dict[str, str] = field(default_factory=dict)  # of tests: what they were, hashed
    took: dict[str, float] = field(default_factory=dict)  # by test
    code: dict[str, str] = field(default_factory=dict)  # of each source, as it was then
    lines: dict[str, dict[str, list[str]]] = field(default_factory=dict)  # file, line, tests

    @classmethod
    def load(cls, path: Path) -> Map:
        """Read what was kept, if anything was."""
        return cls(**json.loads(path.read_text())) if path.exists() else cls()

    def save(self, path: Path) -> None:
        """Keep it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(vars(self)))

    def refresh(self, tree: Path, tests: list[str]) -> None:
        """Run the tests' files that are new or have changed, in a copy of the project."""
        now = {name: _hash(tree / name) for path in tests for name in _test_files(tree, path)}
        known = {*self.files, *map(_file, self.took)}
        gone = {name for name in known if not (tree / name).exists()}
        changed = [name for name, hashed in now.items() if self.files.get(name) != hashed]
        self._forget({*gone, *changed})
        if changed:
            print(f"running {len(changed)} files of tests to see what they cover ...", flush=True)
            failed = {_file(test) for test in self._measure(tree, changed)}
            self.files.update({name: now[name] for name in changed if name not in failed})

    def _forget(self, names: set[str]) -> None:
        self.files = {name: known for name, known in self.files.items() if name not in names}
        self.took = {test: took for test, took in self.took.items() if _file(test) not in names}
        for lines in self.lines.values():
            for line, tests in lines.items():
                lines[line] = [test for test in tests if _file(test) not in names]

    def _measure(self, tree: Path, files: list[str]) -> Iterable[str]:
        """Run them; return the tests that failed, whose files are to be run again another time."""
        with TemporaryDirectory(prefix="mutants-") as directory:
            here = Path(directory)
            data, results, output = (here / name for name in ("data", "results", "output"))
            (here / "config").write_text(_CONFIG.format(sources=",".join(_packages(tree))))
            (here / "mutants").symlink_to(Path(__file__).parent)  # and nothing else of its folder
            command = [sys.executable, "-m", "coverage", "run", f"--rcfile={here / 'config'}"]
            command += [f"--data-file={data}", "-m", "pytest", "-q", "-p", "mutants.contexts"]
            environment = {**os.environ, RESULTS: str(results), "PYTHONPATH": directory}
            with output.open("w") as written:
                subprocess.run(
                    [*command, *files], cwd=tree, env=environment, check=False, stdout=written
                )
            if not results.exists():
                raise SystemExit(f"mutants: the tests do not run:\n{output.read_text()[-3000:]}")
            told = json.loads(results.read_text())
            for test, why in told["failed"].items():
                print(f"cannot judge, as it fails without a fault: {test}: {why}", flush=True)
            self.took.update(told["passed"])
            self._take(tree, CoverageData(str(data)))
        return list(told["failed"])

    def _take(self, tree: Path, data: CoverageData) -> None:
        data.read()
        for path in sorted(data.measured_files()):
            text = (tree / path).read_text()
            lines = self._moved(path, text)
            for line, contexts in data.contexts_by_lineno(path).items():
                known = lines.setdefault(str(line), [])
                known += [test for test in contexts if test in self.took and test not in known]
            self.code[path], self.lines[path] = text, lines

    def _moved(self, path: str, text: str) -> dict[str, list[str]]:
        """Return what is known of a file, by the lines that it has now."""
        known = self.lines.get(path, {})
        old, new = self.code.get(path, "").splitlines(), text.splitlines()
        if old == new:
            return known
        moved: dict[str, list[str]] = {}
        for kind, i, k, j, m in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            if kind == "equal":
                pairs = zip(range(i + 1, k + 1), range(j + 1, m + 1), strict=True)
                moved.update({str(to): list(known.get(str(line), ())) for line, to in pairs})
            else:  # new lines: whatever ran what was there, or what is beside them
                around = [known.get(str(line), ()) for line in range(i, k + 2)]
                tests = sorted({test for each in around for test in each})
                moved.update({str(to): list(tests) for to in range(j + 1, m + 1)})
        return moved

    def bring_up_to_date(self, sources: dict[str, str]) -> None:
        """Take the code as it is now."""
        for path, text in sources.items():
            self.lines[path], self.code[path] = self._moved(path, text), text

    def tests(self, mutant: Mutant, among: tuple[str, ...] = ("",)) -> set[str]:
        """Return the tests that run what is changed; only those whose names begin so."""
        return {test for test in self._tests(mutant) if test.startswith(among)}

    def _tests(self, mutant: Mutant) -> set[str]:
        tree = ast.parse(mutant.source)
        function = _innermost(tree, mutant.first)
        if function is None or mutant.first < function.body[0].lineno:
            return self._users(tree, mutant, function)
        found = self._of(mutant.path, range(mutant.first, mutant.last + 1))
        if not found:  # coverage knows a statement by its first line
            statements = [each for each in ast.walk(function) if isinstance(each, ast.stmt)]
            first = max(each.lineno for each in statements if _holds(each, mutant.first))
            found = self._of(mutant.path, range(first, first + 1))
        return found

    def _of(self, path: str, lines: range) -> set[str]:
        known = self.lines.get(path, {})
        return {test for line in lines for test in known.get(str(line), ())}

    def _users(self, tree: ast.Module, mutant: Mutant, function: Function | None) -> set[str]:
        """Return the tests that use what runs only once, on import: a decorator, a constant."""
        if function is not None:
            return self._of(mutant.path, range(function.lineno, (function.end_lineno or 0) + 1))
        names = _bound(tree, mutant.first)
        found: set[str] = set()
        for path, text in self.code.items():
            lines = {line for name, line in names_used(ast.parse(text)) if name in names}
            for line in lines:
                found |= self._of(path, range(line, line + 1))
        return found or self._of(mutant.path, range(len(mutant.source.splitlines()) + 1))


Function = ast.FunctionDef | ast.AsyncFunctionDef


def _innermost(tree: ast.AST, line: int) -> Function | None:
    """Return the function that a line stands in, its decorators included."""
    inside = [
        node
        for node in ast.walk(tree)
        if isinstance(node, Function)
        and min([node.lineno, *(each.lineno for each in node.decorator_list)]) <= line
        and line <= (node.end_lineno or 0)
    ]
    return max(inside, key=lambda node: node.lineno, default=None)


def _bound(tree: ast.Module, line: int) -> set[str]:
    """Return the names that the statement of a line outside of functions binds."""
    return {
        name.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign) and _holds(node, line)
        for name in ast.walk(node)
        if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
    }


def _holds(node: ast.stmt, line: int) -> bool:
    return node.lineno <= line <= (node.end_lineno or 0)


def _packages(tree: Path) -> list[str]:
    """Return the folders that have code; tests are no code to plant faults in."""
    return sorted({path.relative_to(tree).parts[0] for path in tree.rglob("*/*.py")} - {"tests"})


def _test_files(tree: Path, path: str) -> list[str]:
    there = tree / path
    found = sorted(there.rglob("test_*.py")) if there.is_dir() else [there]
    return [str(each.relative_to(tree)) for each in found]


def _file(test: str) -> str:
    return test.partition("::")[0]


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
