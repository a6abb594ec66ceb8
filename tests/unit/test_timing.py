"""Numbers that depend on each other, wherever they are: each is above what it must be above."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops import operate, stack, timing
from ops.drills.faults import STALL
from service.database.routing import CLOSE_BOUND
from service.lifecycle import TRACES_BOUND
from service.server import KEEP_ALIVE
from service.settings import OVERRUN, Settings
from service.workers import supervisor

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "deploy/compose/compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
HAPROXY = (ROOT / "deploy/haproxy/haproxy.cfg").read_text()
NGINX = (ROOT / "deploy/nginx/nginx.conf").read_text()
EDGE = (ROOT / "deploy/nginx/entrypoint").read_text()

DOCKERS_OWN = 10  # seconds before SIGKILL where a service does not say
UVICORN = 0.3  # seconds between its looks, while it stops
DEADLINES = [*map(float, timing.DEADLINES.values()), timing.DEADLINE_MOST]


def haproxy(section: str, name: str) -> float:
    """Return the seconds of a timeout in a section of haproxy.cfg."""
    text = re.search(rf"^{section}$(.*?)(?=^\S|\Z)", HAPROXY, re.DOTALL | re.MULTILINE)
    assert text, section
    found = re.search(rf"^ +(?:timeout )?{name} +([0-9]+)(ms|s)?$", text[1], re.MULTILINE)
    assert found, name
    return int(found[1]) / (1000 if found[2] == "ms" else 1)


def nginx(name: str) -> float:
    """Return the seconds of the only such directive in nginx.conf's `http`."""
    (found,) = re.findall(rf"^ +{name} ([0-9]+)s;", NGINX.partition("stream {")[0], re.MULTILINE)
    return int(found)


def grace(name: str) -> float:
    """Return the seconds that a container has to stop."""
    return float(SERVICES[name].get("stop_grace_period", f"{DOCKERS_OWN}s").removesuffix("s"))


def settings(deadline: float) -> Settings:
    """Return an instance's settings as the stack gives them, with what takes longest to stop."""
    collector = "http://collector:4318"
    return Settings(
        db_write_host="there", request_deadline=deadline, otel_exporter_otlp_endpoint=collector
    )


@pytest.mark.parametrize("deadline", DEADLINES)
def test_who_waits_for_an_answer_waits_longer_than_it_takes(deadline: float) -> None:
    """HAProxy longer than the service, nginx longer than HAProxy: the innermost says why."""
    assert haproxy("backend apps", "server") > deadline + OVERRUN
    assert haproxy("frontend http", "client") > deadline + OVERRUN
    connects = 2 * haproxy("backend apps", "connect") * haproxy("backend apps", "retries")
    queue = haproxy("defaults", "queue")
    assert nginx("proxy_read_timeout") > queue + connects + haproxy("backend apps", "server")
    assert nginx("proxy_next_upstream_timeout") < nginx("proxy_read_timeout")


@pytest.mark.parametrize("deadline", DEADLINES)
def test_an_instance_stays_for_as_long_as_it_holds_requests(deadline: float) -> None:
    """In rotation while a failover lasts; and alive, when it is stopped, until they have ended."""
    known = settings(deadline)
    assert known.health_grace > deadline
    assert known.shutdown_timeout > deadline + OVERRUN
    ends = known.drain_delay + math.ceil(known.shutdown_timeout) + 2 * CLOSE_BOUND + UVICORN
    ends += TRACES_BOUND
    for name in ("app1", "app2"):
        assert grace(name) > supervisor.stop_bound(known) > ends


MONITOR = (ROOT / "deploy/postgres/bin/entrypoint-monitor").read_text()


@pytest.mark.parametrize("profile", timing.DEADLINES)
def test_a_stall_that_the_drill_asks_for_is_none_to_the_monitor(profile: str) -> None:
    """From a stall's first moment to the check's verdict, and time to catch up after it.

    With `fast`, no report is too young at that verdict: it would be waited for.
    """
    line = re.search(rf"^{profile}\)\n(?: +#.*\n)* +(.*)$", MONITOR, re.MULTILINE)
    assert line
    timers = {name: int(value) / 1000 for name, value in re.findall(r"(\w+)=(\d+)", line[1])}
    tries = int(timers["retries"] * 1000) + 1
    verdict = tries * timers["timeout"] + (tries - 1) * timers["delay"]
    assert verdict > STALL + 0.4
    assert (timers["unhealthy"] < verdict) is (profile == "fast")


def test_the_profiles_are_the_services_own_default_and_more() -> None:
    """Without `make up` the service has the patience of `fast`; no profile's is refused."""
    assert settings(15).request_deadline == float(timing.DEADLINES["fast"])
    assert Settings.model_fields["request_deadline"].default == float(timing.DEADLINES["fast"])
    for profile, seconds in timing.DEADLINES.items():
        assert timing.deadline(profile, None) == timing.deadline(profile, seconds) == seconds


@pytest.mark.parametrize("name", ["REQUEST_DEADLINE", "HEALTH_GRACE", "SHUTDOWN_TIMEOUT"])
def test_compose_repeats_none_of_them(name: str) -> None:
    """What `make up` does not set is the service's own."""
    assert SERVICES["app1"]["environment"][name] == f"${{{name}:-}}"


def test_who_stops_containers_waits_until_they_have() -> None:
    """For one of them; and for all, where each waits for those that need it."""
    assert max(map(grace, SERVICES)) < operate.STOP_LIMIT

    def until_stopped(name: str) -> float:
        users = [user for user, each in SERVICES.items() if name in each.get("depends_on", ())]
        return grace(name) + max(map(until_stopped, users), default=0)

    assert max(map(until_stopped, SERVICES)) < stack.STOP_LIMIT


def test_a_proxy_is_gone_before_it_is_killed() -> None:
    """HAProxy ends its last sessions by itself."""
    for name in ("haproxy1", "haproxy2"):
        assert haproxy("global", "hard-stop-after") < grace(name)


def test_the_service_closes_idle_connections_last() -> None:
    """Else HAProxy could send a request on one that is just being closed."""
    assert haproxy("frontend http", "http-keep-alive") < KEEP_ALIVE


def kept(name: str) -> int:
    """Return the number of a directive of nginx's connections to the virtual IP."""
    found = re.search(rf"upstream patient {{.*?^ +{name} (\d+)s?;", NGINX, re.DOTALL | re.MULTILINE)
    assert found, name
    return int(found[1])


def test_the_edge_closes_idle_connections_first() -> None:
    """Else each that HAProxy closes just then would cost a request a second try."""
    assert kept("keepalive_timeout") < haproxy("frontend http", "http-keep-alive")


def test_all_kept_connections_dead_leave_a_request_its_tries() -> None:
    """Each takes an entry of the list, as each try does; who finds none left is answered 502."""
    listed = re.search(r"^seq (\d+) .*>/tmp/servers.conf$", EDGE, re.MULTILINE)
    tries = re.search(r"^ +proxy_next_upstream_tries (\d+);", NGINX, re.MULTILINE)
    assert listed
    assert tries
    assert int(listed[1]) >= kept("keepalive") + int(tries[1])


def test_what_nobody_acknowledges_is_given_up_while_it_may_be_tried_again() -> None:
    """Linux makes 200 ms of tcp_retries2, doubled for each, and looks when it sends again."""
    retries = SERVICES["vip-access"]["sysctls"]["net.ipv4.tcp_retries2"]
    given_up = 0.2 * (2 ** (retries + 1) - 1)
    assert 2 * given_up < nginx("proxy_next_upstream_timeout")
