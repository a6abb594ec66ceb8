"""Ways back from the backups, each judged as a fault is: what was acknowledged has to be there.

They are not drawn, and not among all drills: what they restore replaces what the stack has. An
operator's own commands do it, and what those say is kept.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ops import cluster, names, operate, ownership
from ops.backups import archiving, histories, points, repository, scratch
from ops.console import StackError
from ops.drills.faults import FAILOVER, NOTHING, RESUMED_LIMIT, Fault, Targets
from ops.drills.restored import Found, judge
from ops.drills.result import measure, on_one_clock
from ops.drills.session import Session
from ops.drills.stage import docker
from ops.load.operation import Outcome
from ops.load.pauses import longest_gap
from ops.load.plan import Plan, new_prefix
from ops.load.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ops.drills.stage import Stage
    from ops.load.run import Result

LOAD = 5.0
"""Seconds of load before and after a moment."""

HOLD = 6.0
"""Seconds that a fault of these lasts: longer than a failover takes."""

PROBES = 4.0
"""Writes a second that find out when the service takes them again."""

COMMAND_LIMIT = 3600.0
"""Seconds for a command of an operator's."""

FULL_LIMIT = 300.0
"""Seconds for a full backup that takes itself."""

DROPPED_LIMIT = 120.0
"""Seconds for a node to drop what it cannot archive any more."""

ARCHIVED_LIMIT = 30.0
"""Seconds for a new primary to archive what it has: what is promised."""

BEGUN_LIMIT = 30.0
"""Seconds for a backup to be under way."""

MISTAKE = ("UPDATE users SET name = 'nobody'", "DROP TABLE users CASCADE")
SUPERUSER = ("psql", "--no-psqlrc", "-qAt", "-v", "ON_ERROR_STOP=1", "-d", "holdfast")
SEGMENT = "SELECT pg_switch_wal() FROM (SELECT pg_logical_emit_message(false, 'drill', 'x')) AS x"
"""Ends a segment of WAL that has something in it."""


@dataclass(frozen=True)
class Recovered:
    """What one of these came to."""

    name: str
    began: str  # ISO 8601, UTC
    found: Found
    resumed_after: float | None  # seconds from the command to a write (RTO); None: never stopped
    pause: float  # seconds without any successful write, while a fault lasted
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all that was promised is there, and nothing else."""
        return self.found.judged.ok and self.found.lost_seconds == 0 and not self.problems


def run(name: str, plan: Plan, keep: Path) -> Recovered:
    """Go one way back. Raises StackError when the stack is not whole, or there is no way."""
    points.find(points.LATEST, histories.usable())
    keep.mkdir(parents=True, exist_ok=True)
    recovered = RECOVERIES[name](plan, keep)
    text = json.dumps(asdict(recovered), indent=2)
    (keep / "recovery.json").write_text(text + "\n", encoding="utf-8")
    return recovered


def restore_latest(plan: Plan, keep: Path) -> Recovered:
    """Load, then restore all there is."""
    began, results, _ = loaded(plan)
    resumed = _restored(plan, keep, "latest")
    return Recovered("restore-latest", began, judge(results, _primary()), resumed, 0.0)


def restore_to_time(plan: Plan, keep: Path) -> Recovered:
    """Load, make the mistake, and restore to a moment in the middle of the load."""
    began, results, moment = loaded(plan)
    resumed = _restored(plan, keep, iso(moment), *MISTAKE)
    found = judge(results, _primary(), moment)
    return Recovered("restore-to-time", began, found, resumed, 0.0)


def backup_during_failover(plan: Plan, keep: Path) -> Recovered:
    """Kill the primary in the middle of a backup; another one has to be possible."""
    killed = _fault("backup-during-failover", FAILOVER, _kill_midway)
    recovered = _struck(plan, keep, killed)
    _command(keep, "backup", "run", "--full")
    return recovered


def repository_lost(plan: Plan, keep: Path) -> Recovered:
    """Empty the repository; wait for the backup that it takes anew."""
    return _struck(plan, keep, _fault("repository-lost", NOTHING, _empty), await_full)


def archive_behind(plan: Plan, keep: Path) -> Recovered:
    """Keep the repository away until WAL is dropped; the gap has to be said, and mended."""
    return _struck(plan, keep, _fault("archive-behind", NOTHING, _drop), _await_gap, await_full)


def machine_lost(plan: Plan, keep: Path) -> Recovered:
    """Remove everything but the repository and the secrets, and make a new stack of these."""
    began, results, _ = loaded(plan)
    _command(keep, "backup", "check")
    ours = docker("ps", "--all", "--quiet", *cluster.of_the_stack()).split()
    docker("rm", "--force", *ours)
    for volume in ownership.volumes():
        if volume != names.volume(cluster.REPOSITORY):
            docker("volume", "rm", volume)
    ownership.release()
    lost = time.monotonic()
    _command(keep, "restore", "--to", "latest", "--from", "volume")
    with Run(_probing(plan)):
        resumed = time.monotonic() - lost
    return Recovered("machine-lost", began, judge(results, _primary()), round(resumed, 1), 0.0)


def loaded(plan: Plan) -> tuple[str, Mapping[str, Result], float]:
    """Return when a load began, what its clients know, and a moment in its middle (Unix time)."""
    with Session(plan) as session:
        time.sleep(LOAD)
        moment = time.time()
        time.sleep(LOAD)
        results = session.stop()
    return _now(), results, moment


def _struck(plan: Plan, keep: Path, fault: Fault, *awaited: Callable[[float], object]) -> Recovered:
    """Strike under load; then all that was acknowledged has to be in a copy of all there is."""
    began, since = _now(), time.time()
    with Session(plan) as session:
        strike = session.strike(fault)
        results = session.stop()
    measured = measure(strike, on_one_clock(dict(results)))
    for wait in awaited:
        wait(since)
    _command(keep, "backup", "check")
    _command(keep, "restore", "--to", "latest", "--scratch")
    found = judge(results, names.container(scratch.MEMBER))
    missed = [each for each in measured.missed if "paused" not in each]
    return Recovered(fault.name, began, found, None, measured.write_pause, missed)


def _kill_midway(stage: Stage) -> None:
    take = ("take-backup", "full", "--start-fast")
    docker("exec", "--detach", repository.container(), *take)
    _await("a backup that is under way", BEGUN_LIMIT, repository.is_taking)
    node = stage.primary
    stage.kill(node)
    operate.wait_for("another primary", RESUMED_LIMIT, lambda now: now.primary not in {None, node})
    begun = time.monotonic()
    archiving.archive_now()
    if (took := time.monotonic() - begun) > ARCHIVED_LIMIT:
        raise StackError(f"the new primary had archived after {took:.0f} s only")


def _empty(stage: Stage) -> None:
    stage.empty(cluster.REPOSITORY)


def _drop(stage: Stage) -> None:
    primary = stage.primary
    stage.bound_archiving(primary)
    stage.kill(cluster.REPOSITORY)
    killed = time.time()

    def dropped() -> bool:
        docker("exec", names.container(primary), *SUPERUSER, "-c", SEGMENT)
        archiving.nudge(primary)
        return (archiving.archived_until() or 0.0) > killed  # says the node, and nobody took it

    _await("WAL that is dropped", DROPPED_LIMIT, dropped)


def _await_gap(_: float) -> None:
    said = "a gap that is said"
    operate.wait_for(
        said, FULL_LIMIT, lambda now: now.backups is not None and bool(now.backups.gap)
    )


def await_full(since: float) -> None:
    """Wait for a full backup that began after a moment (Unix time), with nothing missing since."""

    def is_there() -> bool:
        if repository.reach(cluster.find_primary()).gap:
            return False
        return any(each.kind == "full" and each.began > since for each in repository.backups())

    archiving.archive_now()  # a gap is seen by what comes after it
    _await("a full backup that takes itself", FULL_LIMIT, is_there)


def _await(what: str, limit: float, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise StackError(f"not within {limit:.0f} s: {what}")
        time.sleep(operate.POLL)


def _restored(plan: Plan, keep: Path, to: str, *mistake: str) -> float:
    """Make a mistake, if any, and restore the stack; return the seconds until writes went on."""
    with Run(_probing(plan)) as probe:
        for each in mistake:
            docker("exec", _primary(), *SUPERUSER, "-c", each)
        begun = probe.now
        _command(keep, "restore", "--to", to, "--replace", "--yes")
        result = probe.stop()
    done = [each.completed for each in result.operations if each.outcome is Outcome.OK]
    gap = longest_gap(done, begun, result.seconds)
    return round(gap.began + gap.seconds - begun, 1)


def _probing(plan: Plan) -> Plan:
    rates = {"writes_per_second": PROBES, "reads_per_second": 0.0, "changes": 0.0}
    return replace(plan, prefix=new_prefix(), **rates)  # type: ignore[arg-type]


def _command(keep: Path, *words: str) -> None:
    """Run a command of an operator's; raise StackError with the end of what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "ops.cli", *words], cwd=names.ROOT, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        timeout=COMMAND_LIMIT,
    )  # fmt: skip
    with (keep / "commands.log").open("a", encoding="utf-8") as log:
        log.write(f"$ ./holdfast {' '.join(words)}\n{done.stdout}\n")
    if done.returncode != 0:
        end = "\n".join(done.stdout.splitlines()[-10:])
        raise StackError(f"./holdfast {' '.join(words)}: {end}")


def _fault(name: str, targets: Targets, inject: Callable[[Stage], None]) -> Fault:
    return Fault(name, "", inject, hold=HOLD, targets=targets)


def _primary() -> str:
    primary = cluster.find_primary()
    if primary is None:
        raise StackError("no node accepts writes")
    return names.container(primary)


def iso(moment: float) -> str:
    """Return a Unix time as `holdfast restore` takes it."""
    return datetime.fromtimestamp(moment, UTC).isoformat()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


RECOVERIES: dict[str, Callable[[Plan, Path], Recovered]] = {
    "restore-latest": restore_latest,
    "restore-to-time": restore_to_time,
    "backup-during-failover": backup_during_failover,
    "repository-lost": repository_lost,
    "archive-behind": archive_behind,
    "machine-lost": machine_lost,
}
"""What goes each way of WAYS: it is told the load, and the folder for what is kept."""
