"""What brings each alert to Alertmanager on the real stack: a fault, or a threshold that is moved.

A fault is a context manager that breaks something and mends it again. What takes days to come
(ages, budgets) or all of a machine is brought by a threshold that a stack which is well is past.
"""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ops import cluster, operate
from tests.stack.crowd import Crowd
from tests.stack.support import (
    RESUME_LIMIT,
    SECRETS,
    Writer,
    address,
    docker,
    kill,
    other,
    primary,
    psql,
    run,
    start,
    wait_until,
)
from tests.stack.test_runbook import STOP_KEEPER, paused
from tests.stack.watched import RELOAD
from tests.unit.test_alerts import THRESHOLDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.stack.watched import Receiver

    Fault = Callable[[Receiver], AbstractContextManager[None]]

SOON = {
    **{name: "0s" for name in THRESHOLDS if name.endswith("_FOR")},
    **{name: "1m" for name in THRESHOLDS if name.endswith("_WINDOW")},
    "EVENT_TOLD_FOR": "1m",
    "FAILOVERS_MOST": "0",
    "VIRTUAL_IP_MOVES_MOST": "0",
    "WORKERS_REPLACED_MOST": "0",
    "UNITS_HELD_MOST": "0.01",
    "CALLER_SHARE_MOST": "0.01",
    "REPLICATION_LAG_SECONDS_MOST": "5",
    "REPLICATION_LAG_BYTES_MOST": "10000",
    **dict.fromkeys(("SLO_BURN_1H", "SLO_BURN_6H", "SLO_BURN_1D", "SLO_BURN_3D"), "1001"),
}
"""Thresholds that a fault passes at once, and is told to be over a minute later. None passes the
budgets', as that would be over hours later."""

PASSED = {
    "ConnectionsNearlyUsedUp": {"CONNECTIONS_MOST": "-1"},
    "PoolWaiting": {"POOL_WAITING_MOST": "-1"},
    "IdempotencyKeysNotPurged": {"EXPIRED_KEYS_AGE_MOST": "-1"},
    "BackgroundTaskStuck": {"PURGER_AGE_MOST": "-1"},
    "BackgroundTaskFailing": {"TASK_FAILURES_MOST": "-1"},
    "ErrorBudgetBurn1h": {"SLO_BURN_1H": "-1", "SLO_BAD_MOST": "-1"},
    "ErrorBudgetBurn6h": {"SLO_BURN_6H": "-1"},
    "ErrorBudgetBurn1d": {"SLO_BURN_1D": "-1"},
    "ErrorBudgetBurn3d": {"SLO_BURN_3D": "-1"},
    "BackupTooOld": {"BACKUP_INTERVALS_MOST": "-1"},
    "VerificationTooOld": {"VERIFICATION_FIRST": "1s", "VERIFICATION_AGE_MOST": "-1"},
    "BackupFactsOld": {"BACKUP_FACTS_AGE_MOST": "-1"},
    "VolumeNearlyFull": {"VOLUME_FREE_LEAST": "2"},
    "VolumeFull": {"VOLUME_FREE_LAST": "2"},
    "RetainedWAL": {"RETAINED_WAL_MOST": "-1"},
    "CertificateExpiresSoon": {"CERTIFICATE_LEFT_LEAST": "99999999"},
    "CertificateExpires": {"CERTIFICATE_LEFT_LAST": "99999999"},
    "TransactionIdsOld": {"TRANSACTION_AGE_MOST": "-1"},
    "TransactionIdsRunOut": {"TRANSACTION_AGE_LAST": "-1"},
    "MachineOverloaded": {"CPU_PRESSURE_MOST": "-1"},
    "MachineShortOfMemory": {"MEMORY_LEAST": "2"},
}
"""Thresholds that a stack which is well is past, by the alert that they bring."""

TURNS: dict[str, tuple[Fault, set[str]]] = {}
"""Each fault by its name, and the alerts that it brings."""

ELSEWHERE = {
    "PoolerDown": "test_a_pooler_that_does_not_answer_is_told",
    "PoolerWaiting": "test_clients_that_wait_are_told",
    "VirtualIPHeldTwice": "test_two_holders_are_told",
    "Watchdog": "test_what_is_away_is_told_and_told_to_be_over",
}
"""What a test of test_monitoring.py brings, or of test_pooler.py."""

REQUEST = b"GET /api/users?limit=1 HTTP/1.1\r\nHost: app1\r\n\r\n"
HELD_MOST = 2000
"""REQUESTS_HELD_MOST."""

SOCKET, HAPROXY = "/run/haproxy/admin.sock", "471102"
CONFIGURATION = "/tmp/monitoring/prometheus.yml"  # noqa: S108 - the container's own
WORKER = """for each in /proc/[0-9]*/stat; do
    read -r pid _ _ parent _ <$each
    [ $parent -le 1 ] || { kill -KILL $pid; exit; }
done"""
END_SESSIONS = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE usename = 'holdfast_app'"""
RULES = "/tmp/monitoring/alerts*.yml"  # noqa: S108 - the container's own
FAILING = "groups: [{name: failing, rules: [{record: failing, expr: up + on() up}]}]"
PGBACKREST = ("pgbackrest", "--config=/tmp/pgbackrest.conf", "--stanza=holdfast")
SEGMENTS = "ls -t $(find /var/lib/pgbackrest/archive -name '????????????????????????-*')"
"""The newest first."""


def turn(*alerts: str) -> Callable[[Callable[[Receiver], Iterator[None]]], None]:
    """Have a fault among TURNS."""

    def keep(fault: Callable[[Receiver], Iterator[None]]) -> None:
        TURNS[fault.__name__] = contextmanager(fault), set(alerts)

    return keep


def killed(*members: str) -> Callable[[Receiver], Iterator[None]]:
    """Return a fault that kills containers and starts them again."""

    def fault(_: Receiver) -> Iterator[None]:
        kill(*members)
        try:
            yield
        finally:
            start(*members)

    fault.__name__ = f"{'-and-'.join(members)}-killed"
    return fault


turn("MonitorDown")(killed("pg-monitor"))
turn("EdgeDoesNotAnswer")(killed("vip-access"))
turn("NoInstance", "InstanceOutOfRotation")(killed("app1", "app2"))


@turn(
    "NoWritableNode",
    "NoReadableNode",
    "RequestsHeldNearBound",
    "OneCallerHoldsMost",
    "RequestsRefused",
)
def no_node_and_a_crowd(_: Receiver) -> Iterator[None]:
    """More come to an instance than it may hold, while it can serve nobody."""
    nodes = (primary(), other(primary()))
    kill(*nodes)
    try:
        with Crowd(HELD_MOST + 100, (address("app1"), 8000), REQUEST):
            yield
    finally:
        start(*nodes)


@turn(
    *("FailoverHappened", "FailoversRepeat", "DataNodeDown", "NodeUnhealthy"),
    *("NoSynchronousStandby", "CommitsOnOneNode"),
)
def primary_killed(_: Receiver) -> Iterator[None]:
    """Writes go on, each on one node."""
    dead = primary()
    with Writer():
        kill(dead)
        try:
            yield
        finally:
            start(dead)


@turn("ProxyDown", "VirtualIPMoved", "VirtualIPFlapping")
def holder_killed(_: Receiver) -> Iterator[None]:
    """The other proxy takes the address over."""
    holder = cluster.find_vip_holder()
    assert holder is not None
    kill(holder)
    try:
        yield
    finally:
        start(holder)


@turn("VirtualIPUnheld")
def nobody_holds_the_address(_: Receiver) -> Iterator[None]:
    """HAProxy runs on both, Keepalived on none."""
    for proxy in cluster.PROXIES:
        docker("exec", proxy, "s6-svc", "-d", "/run/s6/keepalived")
    try:
        yield
    finally:
        for proxy in cluster.PROXIES:
            docker("exec", proxy, "s6-svc", "-u", "/run/s6/keepalived")


@turn("TargetDown", "ArchiveFailing")
def repository_killed(_: Receiver) -> Iterator[None]:
    """What is written is kept until it is back."""
    kill("backup")
    try:
        _switch_wal()
        yield
    finally:
        start("backup")


@turn("BackupFailed", "WALGap")
def segment_lost(_: Receiver) -> Iterator[None]:
    """A full backup is due at once, and cannot be taken."""
    for _each in range(3):
        newest = _segments()[0]
        _switch_wal()
        wait_until("a segment", RESUME_LIMIT, lambda: _segments()[0] != newest)  # noqa: B023
    docker("exec", "backup", *PGBACKREST, "stop")
    try:
        docker("exec", "backup", "rm", _segments()[1])
        yield
    finally:
        docker("exec", "backup", *PGBACKREST, "start")


@turn("SwitchoverHappened")
def switchover(_: Receiver) -> Iterator[None]:
    """As an operator does it."""
    operate.switchover()
    yield


@turn("NodeInMaintenance")
def in_maintenance(_: Receiver) -> Iterator[None]:
    """As an operator does it."""
    node = other(primary())
    assert run("ops.cli", "maintenance", "on", node).returncode == 0
    try:
        yield
    finally:
        assert run("ops.cli", "maintenance", "off", node).returncode == 0


@turn("NodeNotInRole")
def refused_as_standby(_: Receiver) -> Iterator[None]:
    """A node that was away may not replicate any more."""
    node, leader = other(primary()), primary()
    kill(node)
    psql(leader, "ALTER ROLE pgautofailover_replicator NOLOGIN")
    try:
        start(node)
        yield
    finally:
        psql(leader, "ALTER ROLE pgautofailover_replicator LOGIN")


@turn("NodeNotSeenByProxy")
def taken_out_at_a_proxy(_: Receiver) -> Iterator[None]:
    """By hand, and forgotten."""
    proxy, server = cluster.PROXIES[0], f"pg_any/{other(primary())}"

    def tell(state: str) -> None:
        command = f"echo 'set server {server} state {state}' | socat - {SOCKET}"
        docker("exec", "--user", HAPROXY, proxy, "sh", "-c", command)

    tell("maint")
    try:
        yield
    finally:
        tell("ready")


@turn("TwoWritableNodes")
def old_primary_thaws(_: Receiver) -> Iterator[None]:
    """And its keeper does not."""
    old = primary()
    docker("exec", old, "sh", "-c", STOP_KEEPER)
    with paused(old):
        wait_until("another primary", RESUME_LIMIT, lambda: cluster.find_primary() == other(old))
    try:
        yield
    finally:
        docker("stop", "--time", "5", old)
        start(old)


@turn("ReplicationLagTime", "ReplicationLagBytes")
def replay_paused(_: Receiver) -> Iterator[None]:
    """The standby receives, and shows nothing of it."""
    node = other(primary())
    with Writer():
        psql(node, "SELECT pg_wal_replay_pause()")
        try:
            yield
        finally:
            psql(node, "SELECT pg_wal_replay_resume()")


@turn("CertificateRefused")
def certificate_of_another_ca(_: Receiver) -> Iterator[None]:
    """The service is told to trust another CA than the nodes' own.

    A primary that shows such a certificate does not stay one: the monitor verifies as well.
    """
    file = SECRETS / "tls" / "nodes" / "ca.crt"
    before = file.read_bytes()
    with paused(cluster.MAKER):  # it would make all certificates anew
        file.write_bytes(self_signed("another").partition(b"-----END PRIVATE KEY-----\n")[2])
        try:
            psql(primary(), END_SESSIONS)
            yield
        finally:
            file.write_bytes(before)


@turn("WorkerReplaced", "WorkersKeepDying")
def worker_killed(_: Receiver) -> Iterator[None]:
    """WORKERS=2."""
    docker("exec", "app1", "bash", "-c", WORKER)
    yield


@turn("RuleFails", "JobMissing")
def configuration_broken(_: Receiver) -> Iterator[None]:
    """A rule of somebody's own that cannot be evaluated, and a job that is gone."""
    broken = f"""sed -i -e 's/job_name: edge/job_name: gone/' \\
        -e 's#^rule_files:.*#rule_files: [{RULES}, /tmp/failing.yml]#' {CONFIGURATION}
        echo '{FAILING}' >/tmp/failing.yml; {RELOAD}"""
    docker("exec", cluster.WATCHER, "sh", "-c", broken)
    try:
        yield
    finally:
        mended = f"render configuration && {RELOAD}"
        docker("exec", cluster.WATCHER, "sh", "-c", mended)


@turn("NotificationsFail")
def receiver_refuses(receiver: Receiver) -> Iterator[None]:
    """Whoever is to be told does not take it."""
    receiver.answer = 400
    try:
        yield
    finally:
        receiver.answer = 204


def self_signed(name: str, *extensions: str) -> bytes:
    """Return a key and a certificate that no CA has signed, in PEM."""
    added = [word for each in extensions for word in ("-addext", each)]
    command = [
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-days", "1", "-subj", f"/CN={name}", *added, "-keyout", "-", "-out", "-"),
    ]
    return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout


def _switch_wal() -> None:
    psql(primary(), "SELECT pg_logical_emit_message(false, '', 'x'), pg_switch_wal()")


def _segments() -> list[str]:
    return docker("exec", "backup", "sh", "-c", SEGMENTS).split()
