"""MONITORING=yes on the real stack: what is wrong is told, is told to be over, and is not made up.

The short form breaks what can be away at the same time and is told within a minute; the long forms
(`make check-monitoring`) wait for what pages later, and for planned work to page nobody; each alert
has its turn in test_turns.py.
"""

from __future__ import annotations

import re
import subprocess
import time
from itertools import chain
from typing import TYPE_CHECKING

import httpx
import pytest

from dashboards.pages import EMPTY_WHILE_WELL, queries
from ops import cluster, operate
from tests.runbook import section
from tests.stack.support import (
    BASE_URL,
    CLIENT_TIMEOUT,
    create_user,
    docker,
    kill,
    make,
    other,
    primary,
    psql,
    read_back,
    run,
    start,
    wait_until,
)
from tests.stack.test_runbook import named
from tests.stack.watched import (
    ALERTMANAGER,
    OVER_LIMIT,
    PROMETHEUS,
    SCRAPED_LIMIT,
    TOLD_LIMIT,
    Watched,
    monitoring,
)
from tests.unit.test_alerts import ALERTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGED_LIMIT = 240.0
"""Seconds for what pages after two minutes."""

ANSWERED_LIMIT = 120.0
"""Seconds for rates of a minute, and of what is recorded from them, since the first request."""

CASES_LIMIT = 300.0
"""Seconds for all of promtool's cases: some play a month."""

EMPTY = {
    # Series that are there once something has happened, or while somebody asks.
    *("holdfast_database_failures_total", "holdfast:slo_good:rate1m", "holdfast:slo_bad:rate1m"),
    *("holdfast:slo_requests:rate1m", "prometheus_rule_evaluation_failures_total"),
    *("holdfast:slo_bad:ratio_rate5m", "holdfast:slo_bad:ratio_rate30m"),
    *("holdfast:slo_bad:ratio_rate1h", "holdfast:slo_bad:ratio_rate2h"),
    *("holdfast:slo_bad:ratio_rate6h", "holdfast:slo_bad:ratio_rate1d"),
    *("holdfast:slo_bad:ratio_rate3d", "holdfast:node:maintenance"),
}
"""Of what rules ask for, what may have no value while all is well."""

METRIC = re.compile(
    r"(?<!\")\b(?:holdfast|haproxy|pg|node|probe|pgbackrest|prometheus|alertmanager)[_:][\w:]+"
)


@pytest.fixture(scope="module")
def cases(watched: Watched) -> Iterator[subprocess.Popen[str]]:  # noqa: ARG001 - the image
    """Promtool's cases, on their way beside the other tests.

    In a container of their own, as some play a month, which takes memory.
    """
    test = "promtool test rules /etc/monitoring/tests/*.yml"
    command = [
        "docker",
        "run",
        "--rm",
        "--network",
        "none",
        "holdfast-monitoring",
        "sh",
        "-c",
        test,
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        yield running


@pytest.fixture(scope="module")
def watched(running_stack: None) -> Iterator[Watched]:  # noqa: ARG001 - ordering only
    """A stack with MONITORING=yes that tells a receiver here; without it again afterwards."""
    with monitoring({}) as watched:
        yield watched


@pytest.mark.usefixtures("cases")
def test_all_is_asked_and_nothing_is_wrong(watched: Watched) -> None:
    """Every target answers, every rule works, and nobody is called."""
    assert watched.down() == []
    jobs = {each["metric"]["job"] for each in watched.query("up")}
    assert jobs == {
        *("app", "haproxy", "proxy", "postgres", "monitor", "node", "edge"),
        *("backup", "repository", "prometheus", "alertmanager"),
    }
    watched.await_none()
    rules = chain.from_iterable(group["rules"] for group in watched.ask("rules")["groups"])
    assert {each["name"]: each["lastError"] for each in rules if each["health"] == "err"} == {}


def test_what_rules_ask_for_is_there(watched: Watched) -> None:
    """A rule of what nobody tells would never fire."""
    wanted = set(chain.from_iterable(METRIC.findall(rule["expr"]) for rule in ALERTS.values()))

    def missing() -> set[str]:
        return wanted - EMPTY - set(watched.ask("label/__name__/values"))

    # What is recorded comes with its group's next turn.
    wait_until(f"{missing()}", ANSWERED_LIMIT, lambda: not missing())


def test_nobody_reads_without_the_password(watched: Watched) -> None:
    """Neither what Prometheus nor what Alertmanager knows; nor what the repository tells."""
    for url in (PROMETHEUS, ALERTMANAGER):
        assert watched.client.get(url, auth=("holdfast", "guessed")).status_code == 401
    for port in (9854, 9100):
        code = "curl -sk -o /dev/null -w '%{http_code}' https://backup:" + f"{port}/metrics"
        assert docker("exec", cluster.WATCHER, "sh", "-c", code) == "401"


@pytest.mark.usefixtures("watched")
def test_thresholds_of_ones_own_count_and_are_checked(tmp_path: Path) -> None:
    """What is no threshold ends the build, and is named."""
    own = tmp_path / "thresholds.own"
    mounted = f"{own}:/etc/monitoring/thresholds.own:ro"
    render = ("run", "--rm", "--user", "0", "--network", "none", "--volume", mounted)
    render += ("holdfast-monitoring", "sh", "-c")
    script = "render rules && grep -h pg_settings_max_connections /etc/monitoring/alerts*.yml"
    own.write_text("# half as much\n\nCONNECTIONS_MOST=0.4\n")
    assert "> 0.4\n" in docker(*render, script)
    safe = "PROFILE=safe render rules && grep -h -A 3 'alert: NoWritableNode' /etc/monitoring/*.yml"
    assert "for: 30s\n" in docker(*render, safe)
    own.write_text("CONNECTIONS_MOST=0.4\nCONECTIONS_MOST=0.4\nVOLUME_FREE_FOR=soon\n")
    refused = subprocess.run(
        ["docker", *render, script], capture_output=True, text=True, check=False, timeout=60
    )
    assert refused.returncode != 0
    assert "2:CONECTIONS_MOST=0.4\n3:VOLUME_FREE_FOR=soon\n" in refused.stderr


def test_every_panel_is_answered(watched: Watched) -> None:
    """Grafana would draw something, but for what is empty while all is well."""

    def unanswered() -> list[str]:
        with httpx.Client(base_url=BASE_URL, timeout=CLIENT_TIMEOUT) as client:
            assert read_back(client, create_user("panel")).status_code == 200
        return [
            f"{each.dashboard}, {each.title}: {each.expression}"
            for each in queries()
            if (each.dashboard, each.title) not in EMPTY_WHILE_WELL
            and not watched.query(each.expression)
        ]

    wait_until("an answer for every panel", ANSWERED_LIMIT, lambda: not unanswered())


@pytest.mark.long
@pytest.mark.runbook("Monitoring does not see a part")
def test_what_is_away_is_told_and_told_to_be_over(watched: Watched) -> None:
    """A standby, an instance and the spare proxy at once: clients feel nothing, people are told."""
    spare = next(each for each in cluster.PROXIES if each != cluster.find_vip_holder())
    standby = other(primary())
    kill(standby, "app1", spare)
    watched.await_alerts("DataNodeDown", "InstanceOutOfRotation", "ProxyDown")
    assert "page" not in watched.firing().values()
    told = {"DataNodeDown", "InstanceOutOfRotation", "ProxyDown"}
    hook = watched.receiver
    wait_until("the webhook's alerts", TOLD_LIMIT, lambda: told <= hook.alerts("firing"))
    assert "`docker start NAME`" in section("Monitoring does not see a part")
    start(standby, "app1", spare)
    watched.await_none()
    wait_until("the webhook's good news", OVER_LIMIT, lambda: told <= hook.alerts("resolved"))
    assert hook.told["/alive"], "no sign of life was sent"


@pytest.mark.runbook("The virtual IP moves, or two proxies hold it")
def test_two_holders_are_told(watched: Watched) -> None:
    """The kernel of each proxy says what it has."""
    spare = next(each for each in cluster.PROXIES if each != cluster.find_vip_holder())
    # Not on the device of `edge`, where it would be answered for.
    docker("exec", spare, "ip", "address", "add", f"{cluster.vip()}/32", "dev", "lo")
    try:
        watched.await_alerts("VirtualIPHeldTwice")
        assert named("The virtual IP moves, or two proxies hold it")
    finally:
        docker("exec", spare, "ip", "address", "del", f"{cluster.vip()}/32", "dev", "lo")
    watched.await_none()


@pytest.mark.runbook("A failover happened")
def test_a_switchover_is_told_and_calls_nobody(watched: Watched) -> None:
    """It is known for what it is, not for a failover."""
    begun = time.time()
    operate.switchover()
    watched.await_alerts("SwitchoverHappened")
    assert set(watched.firing().values()) == {"info"}
    assert not called(watched, begun)
    assert run("ops.cli", "events").returncode == 0


def called(watched: Watched, since: float) -> set[str]:
    """Return the pages that were firing at any time since then."""
    seconds = int(time.time() - since) + 1
    found = watched.query(
        f'max_over_time(ALERTS{{alertstate="firing",severity="page"}}[{seconds}s])'
    )
    return {each["metric"]["alertname"] for each in found}


@pytest.mark.runbook("PostgreSQL's connections run out")
def test_who_has_connections_is_shown() -> None:
    """By the runbook's command."""
    command = re.search(r"-c '(SELECT usename, .*?)'", section("PostgreSQL's connections run out"))
    assert command is not None
    said = psql(primary(), command[1])
    assert "holdfast_app" in said


@pytest.mark.runbook("Transaction ids run out")
def test_what_holds_transaction_ids_is_shown_and_frozen() -> None:
    """By the runbook's commands."""
    text = section("Transaction ids run out")
    queries = re.findall(r"[`'](SELECT [^`']*)[`']", text)
    assert len(queries) == 3
    for query in queries:
        docker("exec", primary(), "psql", "-d", "holdfast", "-qAt", "-c", query)
    assert "vacuumdb --all --freeze" in text
    docker("exec", primary(), "vacuumdb", "--all", "--freeze", "--quiet")


@pytest.mark.runbook("The error budget burns")
def test_the_runbooks_queries_are_answered(watched: Watched) -> None:
    """Those that it says to look at."""
    queries = re.findall(r"`(sum by [^`]*)`", section("The error budget burns"))
    assert len(queries) == 2
    for query in queries:
        watched.query(query)


def test_rules_pass_their_cases_where_they_run(cases: subprocess.Popen[str]) -> None:
    """By the promtool of this Prometheus."""
    said, _ = cases.communicate(timeout=CASES_LIMIT)
    assert cases.returncode == 0, said


# ---------------------------------------------------------------- the long forms
@pytest.mark.long
def test_what_was_true_before_a_gap_does_not_count(watched: Watched) -> None:
    """Who held which role is not remembered, as long as it was, by who was away as it changed."""
    docker("stop", cluster.WATCHER)
    try:
        operate.switchover()
    finally:
        docker("start", cluster.WATCHER)
    begun = time.time()
    answer = 'holdfast_node_answer{job="proxy", instance="haproxy1", answer="writable"}'

    def ready() -> bool:
        try:
            return watched.client.get(f"{PROMETHEUS}/-/ready").status_code == httpx.codes.OK
        except httpx.TransportError:  # it does not listen yet
            return False

    wait_until("Prometheus", SCRAPED_LIMIT, ready)

    def asked() -> bool:
        return bool(watched.query(f"timestamp({answer}) > {begun}"))

    wait_until("an answer of now", SCRAPED_LIMIT, asked)
    writable = watched.query(f"{answer} == 1")
    assert [each["metric"]["node"] for each in writable] == [primary()]
    states = "count by (node) (holdfast_monitor_node_state) != 1"
    wait_until("one state for each", SCRAPED_LIMIT * 2, lambda: not watched.query(states))
    wait_until("all targets", SCRAPED_LIMIT, lambda: not watched.down())


@pytest.mark.long
def test_a_killed_primary_pages_until_it_is_back(watched: Watched) -> None:
    """Writes go on at once; that each is on one node alone is what somebody has to mend."""
    dead = primary()
    kill(dead)
    watched.await_alerts("FailoverHappened", "DataNodeDown")
    watched.await_alerts("NoSynchronousStandby", limit=PAGED_LIMIT)
    pages = {name for name, severity in watched.firing().items() if severity == "page"}
    assert pages == {"NoSynchronousStandby"}
    start(dead)
    watched.await_none()
    hook = watched.receiver
    wait_until("good news", OVER_LIMIT, lambda: "NoSynchronousStandby" in hook.alerts("resolved"))


@pytest.mark.long
def test_planned_work_calls_nobody(watched: Watched) -> None:
    """A rolling restart, and every container replaced."""
    begun = time.time()
    done = run("ops.cli", "restart", "--rolling", limit=600)
    assert done.returncode == 0, done.stdout
    make("update", 1200, MONITORING="yes")
    wait_until("all targets", SCRAPED_LIMIT, lambda: not watched.down())
    assert not called(watched, begun)
