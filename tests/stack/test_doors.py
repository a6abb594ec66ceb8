"""Every door, tried by those it is not for: each of them stays out, for the reason it should."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import httpx
import pytest

from ops import cluster, names
from tests.stack.support import (
    BASE_URL,
    CLIENT_TIMEOUT,
    DOCKER_LIMIT,
    SECRETS,
    docker,
    log_of,
    new_user,
    primary,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.harmless

NODES = ("postgres1", "postgres2")
ROLES = (
    "postgres",
    "holdfast_owner",
    "holdfast_app",
    "holdfast_read",
    "holdfast_monitoring",
    "holdfast_check",
    "pgautofailover_replicator",
    "pgautofailover_monitor",
    "autoctl_node",
)
VIP = "172.30.0.100"
CA = "/run/secrets/tls_ca/ca.crt"
VERIFIED = f"sslmode=verify-full sslrootcert={CA}"

PEEP = "curl --silent --max-time 2 http://{address}:5432/"
REFUSED_OR_LATE = (7, 28)
"""Of curl; PostgreSQL, where it can be reached, hangs up on what is not its protocol."""

LOG_LIMIT = 10.0
"""Seconds for a statement to be in PostgreSQL's log."""

VISITOR = "holdfast-visitor"
OTHER = "/var/tmp/other"  # noqa: S108 - the container's own


@pytest.fixture(scope="module")
def visitor(running_stack: None) -> Iterator[str]:  # noqa: ARG001 - ordering only
    """A container that somebody has put into both networks, with the tools and the CA."""
    docker(
        "run", "--detach", "--rm", "--name", VISITOR, "--network", names.network("database"),
        "--volume", f"{SECRETS}/tls/nodes/ca.crt:{CA}:ro", "--volume", f"{SECRETS}:/secrets:ro",
        "--user", "0", "--entrypoint", "sleep", "holdfast-postgres", "600",
    )  # fmt: skip
    docker("network", "connect", names.network("edge"), VISITOR)
    yield VISITOR
    docker("rm", "--force", VISITOR)


def knock(container: str, conninfo: str, sql: str = "SELECT 1", **variables: str) -> str:
    """Try to log in and run SQL; return what psql says."""
    env = [part for name, value in variables.items() for part in ("--env", f"{name}={value}")]
    command = ["docker", "exec", *env, container, "psql", "-w", "-qAt", "-c", sql, conninfo]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=DOCKER_LIMIT
    )
    return (done.stdout if done.returncode == 0 else done.stderr).strip()


def password(name: str) -> str:
    """Return one of the stack's secrets."""
    return (SECRETS / name).read_text().strip()


@pytest.mark.parametrize("address", ["172.30.1.10", "172.30.1.21", "172.30.1.22"])
def test_nothing_leads_from_the_edge_to_a_node(address: str) -> None:
    """Only the proxies are in both networks."""

    def reaches(container: str) -> bool:
        command = ["docker", "exec", container, "sh", "-c", PEEP.format(address=address)]
        done = subprocess.run(command, capture_output=True, check=False, timeout=DOCKER_LIMIT)
        return done.returncode not in REFUSED_OR_LATE

    assert reaches("haproxy1")
    assert not any(reaches(container) for container in ("psql-client", "app1", "vip-access"))


@pytest.mark.parametrize("node", ["pg-monitor", *NODES])
@pytest.mark.parametrize("tls", ["verify-full", "disable"])
def test_no_node_answers_who_does_not_come_by_a_proxy(visitor: str, node: str, tls: str) -> None:
    """With or without TLS, whatever the role, even with its password: the address is not listed."""
    database = "pg_auto_failover" if node == "pg-monitor" else "holdfast"
    for name in (database, "postgres"):
        for role in ROLES:
            where = f"host={node} dbname={name} user={role} sslmode={tls} sslrootcert={CA}"
            said = knock(visitor, where, PGPASSWORD=password("db_password"))
            assert "pg_hba.conf rejects connection" in said, said


@pytest.mark.parametrize("port", [6432, 6433])
@pytest.mark.parametrize("database", ["holdfast", "postgres"])
def test_the_proxies_let_no_role_in_without_its_password(
    visitor: str, port: int, database: str
) -> None:
    """None, and a wrong one. Those that have no business here are rejected as such."""
    for role in ROLES:
        where = f"host={VIP} port={port} dbname={database} user={role} {VERIFIED}"
        said = knock(visitor, where)
        expected = ("pg_hba.conf rejects connection", "no password supplied")
        assert any(text in said for text in expected), said
        said = knock(visitor, where, PGPASSWORD="wrong")
        expected = ("pg_hba.conf rejects connection", "password authentication failed")
        assert any(text in said for text in expected), said


@pytest.mark.parametrize("role", ["postgres", "pgautofailover_replicator", "holdfast_check"])
def test_no_superuser_and_no_replication_by_the_proxies(visitor: str, role: str) -> None:
    """Whatever the password."""
    where = f"host={VIP} port=6432 dbname=holdfast user={role} {VERIFIED}"
    said = knock(visitor, where, PGPASSWORD=password("replication_password"))
    assert "pg_hba.conf rejects connection" in said, said


@pytest.mark.parametrize(
    "role_and_database",
    ["user=holdfast_app dbname=holdfast", "user=holdfast_check dbname=postgres"],
)
def test_no_role_is_let_in_without_tls(visitor: str, role_and_database: str) -> None:
    """The right role, the right password, in clear text; nor as the proxies themselves log in."""
    for port in (6432, 6433):
        where = f"host={VIP} port={port} {role_and_database} sslmode=disable"
        said = knock(visitor, where, PGPASSWORD=password("db_password"))
        assert "server closed the connection unexpectedly" in said, said


def test_the_right_one_is_let_in(visitor: str) -> None:
    """Else the others would prove nothing."""
    where = f"host={VIP} port=6432 dbname=holdfast user=holdfast_app {VERIFIED}"
    assert knock(visitor, where, PGPASSWORD=password("db_password")) == "1"


@pytest.mark.parametrize("server", [*NODES, "pg-monitor"])
def test_who_says_nothing_is_shut_out(visitor: str, server: str) -> None:
    """Well before the minute that PostgreSQL would give him."""
    listen = f"cat </dev/tcp/{server}/5432"
    docker("exec", visitor, "timeout", "30", "bash", "-c", listen)


def test_a_client_notices_a_wrong_ca_and_a_wrong_name(visitor: str) -> None:
    """Of another CA; and of a host that the certificate does not name."""
    docker(
        "exec", visitor, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
        "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", "/CN=other",
        "-keyout", f"{OTHER}.key", "-out", f"{OTHER}.crt",
    )  # fmt: skip
    known = "port=6432 dbname=holdfast user=holdfast_app sslmode=verify-full"
    said = knock(visitor, f"host={VIP} {known} sslrootcert={OTHER}.crt")
    assert "certificate verify failed" in said, said
    said = knock(visitor, f"host=haproxy1 {known} sslrootcert={CA}")
    assert "does not match host name" in said, said


def test_the_check_user_sees_nothing() -> None:
    """From a proxy's address, where it is let in without a password: only there, and no data."""
    base = (
        "run", "--rm", "--network", "container:haproxy1", "--entrypoint", "psql",
        "--volume", "/etc/hosts:/etc/none:ro", "holdfast-postgres", "-w", "-qAt",
    )  # fmt: skip

    def ask(database: str, sql: str) -> str:
        conninfo = (
            f"host={_address(primary())} dbname={database} user=holdfast_check sslmode=disable"
        )
        command = ["docker", *base, "-c", sql, conninfo]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=DOCKER_LIMIT
        )
        return (done.stdout if done.returncode == 0 else done.stderr).strip()

    assert ask("postgres", "SHOW transaction_read_only") == "off"
    assert "pg_hba.conf rejects connection" in ask("holdfast", "SELECT 1")
    for query in (
        "SELECT rolpassword FROM pg_authid",
        "CREATE TABLE mine (id int)",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
    ):
        assert "permission denied" in ask("postgres", query), query


def _address(node: str) -> str:
    return docker("exec", node, "hostname", "-i").split()[0]


@pytest.mark.parametrize("url", ["http://127.0.0.1:8404/", "http://127.0.0.1:8080/metrics"])
def test_statistics_want_a_password(url: str) -> None:
    """None, a wrong one."""
    assert httpx.get(url).status_code == 401
    assert httpx.get(url, auth=("holdfast", "wrong")).status_code == 401


@pytest.mark.parametrize(
    "container",
    [
        "pg-monitor", "postgres1", "postgres2", "haproxy1", "haproxy2", "app1", "app2",
        "vip-access", "psql-client", "certificates",
    ],
)  # fmt: skip
def test_no_container_writes_its_root(container: str) -> None:
    """Not even as root; and it has no more rights than the list in compose.yaml."""
    for user in ("0", "100"):
        command = ["docker", "exec", "--user", user, container, "touch", "/usr/mine"]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=DOCKER_LIMIT
        )
        assert done.returncode != 0
        assert "Read-only file system" in done.stderr, done.stderr


def test_every_container_is_bounded() -> None:
    """Capabilities, privileges, memory and processes, as the engine has them."""
    proxies = {"NET_ADMIN", "NET_BROADCAST", "NET_RAW", "SETUID", "SETGID", "SETPCAP", "KILL"}
    shape = "{{.HostConfig.CapDrop}}|{{.HostConfig.CapAdd}}|{{.HostConfig.SecurityOpt}}|"
    shape += "{{.HostConfig.Memory}}|{{.HostConfig.PidsLimit}}|{{.HostConfig.ReadonlyRootfs}}"
    for container in cluster.containers():
        inspected = docker("inspect", "--format", shape, container.name).strip()
        dropped, added, security, memory, processes, read_only = inspected.split("|")
        assert dropped == "[ALL]", container.name
        allowed = proxies if container.name.startswith("haproxy") else set()
        given = {name.removeprefix("CAP_") for name in added.strip("[]").split()}
        assert given == allowed, container.name
        assert "no-new-privileges" in security
        assert int(memory) > 0
        assert processes.lstrip("0<nil>")
        assert read_only == "true"


def test_only_the_edge_is_published() -> None:
    """Five ports of one container, on loopback."""
    published = {
        container.name: docker("port", container.name).split() for container in cluster.containers()
    }
    assert {name for name, ports in published.items() if ports} == {"vip-access"}
    bound = {word for word in published["vip-access"] if ":" in word}
    assert bound == {f"127.0.0.1:{port}" for port in (8080, 8443, 8404, 6432, 6433)}


def log_files(name: str) -> str:
    """Return all that PostgreSQL has written to its log files there."""
    everything = "find /var/lib/postgresql -path '*log/*' -type f -exec cat {} +"
    return docker("exec", name, "sh", "-c", everything)


def test_no_secret_is_told() -> None:
    """Not by an environment, a command line, an inspection, an image's history, or a log."""
    values = {path.name: path.read_text().strip() for path in SECRETS.glob("*_password")}
    assert len(values) > 5
    told = {}
    for container in cluster.containers():
        told[f"inspect {container.name}"] = docker("inspect", container.name)
        told[f"logs {container.name}"] = log_of(container.name)
        if container.state == "running":
            told[f"processes of {container.name}"] = docker(
                "top", container.name, "-eo", "pid,args"
            )
    for name in ("pg-monitor", *NODES):
        told[f"log files of {name}"] = log_files(name)
    for image in ("postgres", "haproxy", "nginx", "service", "client"):
        told[f"image {image}"] = docker("history", "--no-trunc", f"holdfast-{image}")
    found = [
        (place, name) for place, text in told.items() for name, v in values.items() if v in text
    ]
    assert found == []


def test_a_password_that_cannot_be_set_is_not_told() -> None:
    """A node that has just become a standby refuses the statement, and logs what it refuses."""
    standby = next(name for name in NODES if name != primary())
    statement = "ALTER ROLE holdfast_app PASSWORD 'refused-in-clear-text'"
    for tried in (
        "set_passwords holdfast_app db_password",
        f'local_sql -d postgres -c "{statement}"',
    ):
        said = docker("exec", standby, "bash", "-c", f"source common.sh; {tried} || echo refused")
        assert said == "refused\n"
    # The other way is logged, and after it.
    wait_until("a log of it", LOG_LIMIT, lambda: "refused-in-clear-text" in log_files(standby))
    assert "SCRAM-SHA-256$" not in log_files(standby)


def test_no_address_is_in_the_log() -> None:
    """An error is told without its DETAIL, which quotes the row; a slow statement, its values."""
    user = new_user("logged")
    for expected in (201, 409):
        answer = httpx.post(f"{BASE_URL}/api/users", json=user, timeout=CLIENT_TIMEOUT)
        assert answer.status_code == expected
    node = primary()
    slow = f"SELECT length($1), pg_sleep(1.1) \\bind '{user['email']}' \\g"
    docker("exec", node, "bash", "-c", f"psql -d holdfast -qAt <<'SQL'\n{slow}\nSQL")
    for told in ("duplicate key", "SELECT length($1), pg_sleep(1.1)"):
        wait_until(f"{told} in the log", LOG_LIMIT, lambda: told in log_files(node))  # noqa: B023
    assert user["email"] not in log_files(node)


def test_monitoring_reads_no_password() -> None:
    """Statements that others run are its business (pg_monitor); none of them has a password."""
    query = "SELECT query FROM pg_stat_statements UNION ALL SELECT query FROM pg_stat_activity"
    asked = f"SET ROLE holdfast_monitoring; {query}"
    seen = docker("exec", primary(), "psql", "-d", "holdfast", "-qAt", "-c", asked)
    assert "pg_stat" in seen
    assert "insufficient privilege" not in seen
    assert "SCRAM-SHA-256$" not in seen
    assert not [
        path.name for path in SECRETS.glob("*_password") if path.read_text().strip() in seen
    ]
