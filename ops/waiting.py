"""What `make up` waits for, step by step: healthy containers, an answer, a standby in sync."""

from __future__ import annotations

import http.client
import time
from typing import TYPE_CHECKING

from ops import cluster, names, settings, snapshot
from ops.console import Progress, StackError
from ops.diagnosis import diagnose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

HEALTHY_LIMIT = 240.0
"""Seconds for all containers to become healthy: a first base backup and the migrations included."""

ANSWER_LIMIT = 60.0
"""Seconds for the service to answer through the published port once its containers are healthy."""

HEALTH_TIMEOUT = 5.0
"""Seconds that one question about the service's health may take."""

REFUSED_LIMIT = 5.0
"""Seconds for the published port to answer before its container is restarted: the engine's own
process for it may have died (docs/runbook.md)."""

REDUNDANT_LIMIT = 180.0
"""Seconds for the nodes to be in sync: a node that was damaged copies the primary's data anew."""

LEADER_LIMIT = 10.0
"""Seconds until it is asked whether nodes wait for what only a person can say."""

POLL = 0.3
"""Seconds between two looks at something that is waited for."""


def changes() -> Callable[[Progress], str]:
    """Return what prints each container once it is ready, and returns those that are not."""
    seen: dict[str, str] = {}

    def show(progress: Progress) -> str:
        waiting = []
        for container in cluster.containers():
            if seen.get(container.name) != container.condition:
                seen[container.name] = container.condition
                if container.ready:
                    progress.line(f"{names.container(container.name):<13}{container.condition}")
            if not container.ready:
                waiting.append(container.name)
        if progress.seconds > LEADER_LIMIT:
            _refuse_to_wait_for_a_person(name for name in waiting if name in cluster.NODES)
        return ", ".join(waiting)

    return show


def _refuse_to_wait_for_a_person(nodes: Iterable[str]) -> None:
    found = next((node for node in nodes if cluster.is_leaderless(node)), None)
    if found:
        command = names.command(f"./holdfast failover {found} --accept-loss")
        raise StackError(
            "The monitor lost its data while no data node ran: nobody knows which was the primary. "
            f"`{command}` says what each node has, and makes {found} the primary "
            '(docs/runbook.md, "The monitor is down"). Then `make up` again.'
        )


def await_health(show: Callable[[Progress], str]) -> None:
    """Wait until all containers are healthy; raise StackError with what they say."""
    progress = Progress("Waiting for health")
    while note := show(progress):
        if progress.seconds > HEALTHY_LIMIT:
            progress.failed()
            raise unhealthy(f"not healthy within {HEALTHY_LIMIT:.0f} s")
        progress.note(note)
        time.sleep(POLL)
    progress.done("all healthy")


def await_answer() -> None:
    """Wait until the service answers through the published port; raise StackError."""
    progress = Progress(f"Service through {settings.published_on()}:{cluster.edge_port()}")
    restarted = False
    while (answer := cluster.ask_edge("/health", HEALTH_TIMEOUT)) != http.client.OK:
        if progress.seconds > REFUSED_LIMIT and not restarted and not cluster.edge_answers():
            restarted = True
            progress.line("nobody answers there though nginx is healthy: it is restarted")
            cluster.docker("restart", names.container(cluster.EDGE))
        if progress.seconds > ANSWER_LIMIT:
            progress.failed()
            raise StackError(
                f"/health on port {cluster.edge_port()} did not answer 200 within "
                f"{ANSWER_LIMIT:.0f} s (last: {answer}). `{names.command('make status')}` shows "
                f"which part is missing, `{names.command('make logs')}` why."
            )
        progress.note(str(answer))
        time.sleep(POLL)
    progress.done("answers")


def await_redundancy() -> None:
    """Wait until any one node may be lost: containers are healthy before that, alone."""
    progress = Progress("A standby in sync")
    while not (now := snapshot.take()).redundant:
        if progress.seconds > REDUNDANT_LIMIT:
            progress.failed()
            problems = "\n".join(f"  {one.what}" for one in diagnose(now))
            raise StackError(
                f"no primary with a standby in sync within {REDUNDANT_LIMIT:.0f} s:\n{problems}\n"
                f"`{names.command('./holdfast status')}` says more, docs/runbook.md what to do."
            )
        progress.note(", ".join(f"{node.name} {node.state}" for node in now.nodes))
        time.sleep(POLL)
    progress.done("any one node may be lost")


def unhealthy(cause: object) -> StackError:
    """Say which containers are not healthy and how their logs end, the hopeless first."""
    bad = sorted(
        (container for container in cluster.containers() if not container.ready),
        key=lambda container: not container.hopeless,
    )
    ill = ", ".join(names.container(each.name) for each in bad) or "nothing was created"
    text = [str(cause), f"not healthy: {ill}"]
    for each in bad[:1] if bad and bad[0].hopeless else bad[:3]:
        text.append(f"--- last lines of {names.container(each.name)} ({each.condition})")
        text += cluster.last_words(each.name)
    logs, again = names.command("make logs"), names.command("make up")
    text.append(f"More: `{logs}` and docs/runbook.md. `{again}` goes on from here.")
    return StackError("\n".join(text))
