"""`python -m mutants`: plant faults in the code and report those that no test notices.

    make mutants                                  what this branch changed, for two minutes
    make mutants ALL=1 ARGS="service/database"    everything in there; takes hours
    make mutants ALL=1 ARGS="ops/drills --count 50 --seed 7"

Ends with 0 if every mutant was killed, with 1 if one was not.
"""

from __future__ import annotations

import argparse
import random
import re
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mutants import equivalents, project
from mutants.covering import Map
from mutants.judge import Fate, Judge
from mutants.syntax import mutants

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mutants.mutation import Mutant

KEPT = ".holdfast/mutants/tests.json"
"""What each test covers, from one run to the next."""


def main(arguments: Sequence[str], root: Path) -> int:
    """Judge some mutants; return the exit code."""
    options = _parser().parse_args(arguments)
    drawn, known = _drawn(options, root)
    print(f"{len(drawn)} mutants, seed {options.seed}; {known} known as equivalent", flush=True)
    if not drawn:
        return 0
    with TemporaryDirectory(prefix="mutants-") as directory:
        tree = Path(directory)
        tree.chmod(0o755)  # run by root, PostgreSQL reads it as nobody; it has no secrets
        project.copy(root, tree)
        covering = _covering(options, root, tree)
        return _judged(drawn, covering, Judge(tree, covering.took), options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("paths", nargs="*", default=["service", "ops"])
    parser.add_argument("--tests", nargs="+", default=["tests/unit", "tests/integration"])
    parser.add_argument("--seed", type=int, default=1, help="which ones, and in what order")
    parser.add_argument("--count", type=int, help="how many at most")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin none after that")
    parser.add_argument(
        "--since", metavar="REV", help="only lines changed since; auto: this branch"
    )
    parser.add_argument("--match", default="", help="only those named so; an expression")
    parser.add_argument("--fresh", action="store_true", help="look anew what each test covers")
    return parser


def _drawn(options: argparse.Namespace, root: Path) -> tuple[list[Mutant], int]:
    """Return the mutants to judge, in order, and how many are known as equivalent."""
    found = [
        mutant
        for path in project.sources(root, options.paths)
        for mutant in mutants(path, (root / path).read_text())
        if re.search(options.match, str(mutant))
    ]
    if options.since:
        revision = project.base(root) if options.since == "auto" else options.since
        lines = project.touched(root, revision)
        found = [each for each in found if _is_new(each, lines.get(each.path, set()))]
    known = equivalents.load(root)
    drawn = [each for each in found if each.name not in known]
    random.Random(options.seed).shuffle(drawn)  # noqa: S311 - a sample
    return drawn[: options.count], len(found) - len(drawn)


def _is_new(mutant: Mutant, lines: set[int]) -> bool:
    return not lines.isdisjoint(range(mutant.first, mutant.last + 1))


def _covering(options: argparse.Namespace, root: Path, tree: Path) -> Map:
    covering = Map() if options.fresh else Map.load(root / KEPT)
    covering.refresh(tree, options.tests)
    there = [root / path for path in covering.code if (root / path).exists()]
    covering.bring_up_to_date({str(each.relative_to(root)): each.read_text() for each in there})
    covering.save(root / KEPT)
    return covering


def _judged(drawn: list[Mutant], covering: Map, judge: Judge, options: argparse.Namespace) -> int:
    until, among = time.monotonic() + options.seconds, tuple(options.tests)
    fates: Counter[Fate] = Counter()
    for mutant in drawn:
        if time.monotonic() > until:
            break
        fate, killer = judge.judge(mutant, covering.tests(mutant, among))
        fates[fate] += 1
        print("\n".join(_told(mutant, fate, killer)), flush=True)
    told = ", ".join(f"{number} {fate}" for fate, number in fates.most_common())
    print(f"{fates.total()} of {len(drawn)} judged: {told}")
    return int(fates[Fate.KILLED] < fates.total())


def _told(mutant: Mutant, fate: Fate, killer: str) -> Iterable[str]:
    """Say what became of a mutant: in one line, or with what it changed."""
    if fate is Fate.KILLED:
        yield f"killed      {mutant}  by {killer}"
    else:
        yield f"{fate.upper():11} {mutant}"
        yield from (f"    {line}" for line in mutant.diff)


if __name__ == "__main__":
    for ending in (signal.SIGINT, signal.SIGTERM):  # a background shell has the first one ignored
        signal.signal(ending, signal.default_int_handler)
    sys.exit(main(sys.argv[1:], Path(__file__).resolve().parents[1]))
