"""`make bench`: what Holdfast costs beside a control and a plain FastAPI, as ratios.

Prints one table; writes one JSON document. The short form takes less than 3 minutes, `--long`
25 minutes. It exits with 0 whatever the figures are, with 1 if nothing could be measured.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import generator, machine, services, stack, workloads
from benchmarks.generator import MeasureError
from benchmarks.report import table
from benchmarks.results import Results
from benchmarks.space import place
from benchmarks.workloads import ROWS_DATABASE, Plan, tell
from ops.console import StackError, say
from ops.embedded import EmbeddedError, EmbeddedStack, scratch_directory
from ops.names import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

PARTS = ("workloads", "clients", "rows", "stack")
DOCUMENT = ROOT / ".holdfast" / "bench.json"
INTERRUPTED = 130

SHORT = {"rounds": 3, "seconds": 1.5, "users": 200_000, "quiet": 8.0, "clients_rounds": 2}
LONG = {"rounds": 5, "seconds": 10.0, "users": 10_000_000, "quiet": 60.0, "clients_rounds": 3}
WARM_UP_MOST = 0.5  # seconds of each service under each workload before anything is measured


def parts(text: str) -> set[str]:
    """Read a list of parts."""
    chosen = set(text.split(","))
    if not chosen <= set(PARTS):
        raise argparse.ArgumentTypeError(f"of {', '.join(PARTS)}")
    return chosen


def numbers(text: str) -> tuple[int, ...]:
    """Read a list of numbers of connections."""
    found = tuple(int(word) for word in text.split(","))
    if min(found) < 1:
        raise argparse.ArgumentTypeError("1 or more")
    return found


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--long", action="store_true", help="25 minutes, ten million users")
    parser.add_argument("--json", type=Path, default=DOCUMENT, metavar="FILE",
                        help="where the document goes (default: .holdfast/bench.json)")  # fmt: skip
    parser.add_argument("--only", type=parts, default=set(PARTS), metavar="PARTS",
                        help=f"some of {','.join(PARTS)}")  # fmt: skip
    parser.add_argument("--rounds", type=int, help="windows of each service under each workload")
    parser.add_argument("--seconds", type=float, help="of one window")
    parser.add_argument("--clients", type=numbers, default=(10, 100, 1000), metavar="N,N,...",
                        help="connections at a time (default: 10,100,1000)")  # fmt: skip
    parser.add_argument("--users", type=int, help="of the part `rows`")
    parser.add_argument("--quiet", type=float, help="seconds that the quiet stack is watched")
    parser.add_argument("--directory", type=Path,
                        help="data on a disk, with fsync; default: in memory, without")  # fmt: skip
    options = parser.parse_args(arguments)
    for name, value in (LONG if options.long else SHORT).items():
        if getattr(options, name, None) is None:
            setattr(options, name, value)
    if options.seconds <= 0 or options.rounds < 1 or options.users < 2 * workloads.PAGE:
        parser.error("--seconds, --rounds and --users (100 or more) have to be positive")
    return options


def measure(options: argparse.Namespace) -> tuple[Results, dict[str, object]]:
    """Measure all that was asked for; what cannot be measured is noted with its reason."""
    results = Results()
    about = machine.describe()
    results.notes.extend(machine.busy(about["machine"]))
    options.clients_rounds = min(options.clients_rounds, options.rounds)
    plan = Plan(
        rounds=options.rounds,
        seconds=options.seconds,
        warm_up=min(WARM_UP_MOST, options.seconds),
        clients=options.clients,
        clients_rounds=options.clients_rounds,
        users=options.users,
        files=machine.raise_file_limit(),
    )
    about["options"] = {
        name: sorted(value) if isinstance(value, set) else value
        for name, value in vars(options).items()
        if name not in {"json", "directory"}
    }

    def attempt(part: str, action: Callable[[], None]) -> None:
        try:
            action()
        except (MeasureError, EmbeddedError, StackError) as error:
            results.not_measured[part] = str(error)
            tell(f"{part}: not measured: {error}")

    if options.only - {"stack"}:
        _on_the_pair(results, about, plan, options, attempt)
    if "stack" in options.only:
        attempt("stack", lambda: stack.measure(results, options.seconds, options.quiet))
    return results, about


def _on_the_pair(
    results: Results,
    about: dict[str, object],
    plan: Plan,
    options: argparse.Namespace,
    attempt: Callable[[str, Callable[[], None]], None],
) -> None:
    chosen: set[str] = set(options.only)
    with ExitStack() as life:
        where, lack = place(plan.users if "rows" in chosen else 0, options.directory)
        if lack:
            results.not_measured["rows"] = lack
            chosen.discard("rows")
        directory = options.directory or life.enter_context(scratch_directory(where))
        durable = options.directory is not None
        tell(f"starting the embedded pair in {directory}")
        life.callback(_signals_are, signal.default_int_handler)
        pair = life.enter_context(EmbeddedStack(directory, durable=durable))
        life.callback(_signals_are, signal.SIG_IGN)  # while it stops; each wait there is bounded
        about["postgresql"] = pair.primary.sql("SHOW server_version")
        about["data"] = "on a disk, with fsync" if durable else "scratch, without fsync"
        services.migrate(pair)
        services.copy_database(pair, ROWS_DATABASE)
        if chosen & {"workloads", "clients"}:
            first = min(chosen & {"workloads", "clients"}, key=PARTS.index)
            attempt(first, lambda: workloads.measure_services(results, pair, plan, chosen))
        if "rows" in chosen:
            attempt("rows", lambda: workloads.measure_rows(results, pair, plan))


def _signals_are(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report; return the exit code."""
    options = parse(arguments)
    if generator.find() is None:
        sys.stderr.write(f"{generator.MISSING}\n")
        return 2
    # SIGINT too: a shell that starts this in the background has it ignored.
    _signals_are(signal.default_int_handler)
    begun = time.monotonic()
    try:
        results, about = measure(options)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; nothing of it runs any more\n")
        return INTERRUPTED
    except (MeasureError, EmbeddedError, PermissionError) as error:
        sys.stderr.write(f"could not measure: {error}\n")
        return 1
    about["took_seconds"] = round(time.monotonic() - begun, 1)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results.document(about), indent=2) + "\n")
    say(machine.headline(about))
    say(table(results))
    say(f"It took {about['took_seconds']:.0f} s; the JSON document is {options.json}.")
    return 0 if results.rows else 1


if __name__ == "__main__":
    sys.exit(main())
