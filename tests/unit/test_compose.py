"""What compose.yaml grants: nothing beyond what is listed here, to nobody."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops import s3, settings
from ops.embedded import majors
from ops.secret_files import S3_FILES

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose" / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]

CAPABILITIES = {
    name: {"NET_ADMIN", "NET_BROADCAST", "NET_RAW", "SETUID", "SETGID", "SETPCAP", "KILL"}
    for name in ("haproxy1", "haproxy2")
}
NODES = {"pg-monitor", "postgres1", "postgres2", "postgres3", "backup"}
PROXIES = {"haproxy1", "haproxy2"}
WATCHER = "monitoring"
IN_BOTH = PROXIES | {WATCHER}
WEEK = 7 * 24 * 3600  # seconds
LINE = 300
"""Bytes of a line on the disk, of all but the apps: the longest usual ones, with Docker's frame."""

REQUEST = 550
"""Bytes of a request's line, the same (tests/unit/service/observability/test_logs.py)."""

RATES = {"app1": (5, REQUEST), "app2": (5, REQUEST)}
"""Lines a second and their bytes, as deploy/compose/README.md has them; of the others one."""

LOGS_MOST = 6_200_000_000
"""Bytes of all logs together."""

MAKER = "certificates"
SECRET = re.compile(r"password|secret|token", re.IGNORECASE)


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_confined(name: str) -> None:
    """By what every part of the stack has in common."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert set(service.get("cap_add", [])) == CAPABILITIES.get(name, set())
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] > 0
    assert service["mem_limit"]
    assert "privileged" not in service
    assert not {"host"} & {
        service.get(kind) for kind in ("pid", "ipc", "network_mode", "userns_mode")
    }


def log_size(name: str) -> int:
    """Return the bytes of log that are kept of a service, if nothing is set."""
    logging = SERVICES[name]["logging"]
    assert logging["driver"] == "json-file"
    size = re.fullmatch(r"(\d+)m", logging["options"]["max-size"])
    assert size
    return int(size[1]) * 1_000_000 * int(by_default(logging["options"]["max-file"]))


@pytest.mark.parametrize("name", SERVICES)
def test_a_week_of_logs_is_kept(name: str) -> None:
    """At the rate that the documents state; the oldest file is removed as a whole."""
    rate, size = RATES.get(name, (1, LINE))
    options = SERVICES[name]["logging"]["options"]
    files = int(by_default(options["max-file"]))
    assert log_size(name) * (files - 1) / files >= 0.99 * rate * size * WEEK


def test_logs_are_bounded() -> None:
    """So that they do not fill the disk that the data is on."""
    assert sum(log_size(name) for name in SERVICES) < LOGS_MOST


def test_the_rates_are_the_documents() -> None:
    """Of a line's bytes and of files, the numbers stand there."""
    text = (ROOT / "deploy" / "compose" / "README.md").read_text()
    for number in (
        f"{LINE} bytes",
        f"{REQUEST} bytes",
        "5 requests a second",
        "18 files of 100 MB",
    ):
        assert number in text, number


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_of_the_host_is_mounted(name: str) -> None:
    """Named volumes, and secrets. Whoever makes certificates writes them, and talks to nobody."""
    if name == MAKER:
        assert SERVICES[name]["volumes"] == ["${SECRETS_DIR:-./secrets}/tls:/tls"]
        assert SERVICES[name]["network_mode"] == "none"
        return
    for volume in SERVICES[name].get("volumes", []):
        assert volume.partition(":")[0] in COMPOSE["volumes"]


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_in_an_environment(name: str) -> None:
    """A secret is a file."""
    found = [key for key in SERVICES[name].get("environment", {}) if SECRET.search(key)]
    assert found == []


def test_only_the_edge_is_published() -> None:
    """On loopback, unless BIND_ADDRESS says otherwise; who watches, whatever it says."""
    published = {name for name, service in SERVICES.items() if "ports" in service}
    assert published == {"vip-access", WATCHER}
    for port in SERVICES[WATCHER]["ports"]:
        assert port.startswith("127.0.0.1:")
    for port in SERVICES["vip-access"]["ports"]:
        assert port.startswith("${BIND_ADDRESS:-127.0.0.1}:")


def test_only_proxies_and_who_watches_are_in_both_networks() -> None:
    """Nodes and monitor in the one that leads nowhere, everything else in the other."""
    for name in IN_BOTH:
        assert int(SERVICES[name]["sysctls"]["net.ipv4.ip_forward"]) == 0
    for name, service in SERVICES.items():
        if name == MAKER:
            assert "networks" not in service
            continue
        expected = {"database"} if name in NODES else {"edge"}
        assert set(service["networks"]) == (
            expected | {"edge", "database"} if name in IN_BOTH else expected
        )
    assert COMPOSE["networks"]["database"]["internal"] is True


def test_addresses_are_in_the_lower_half() -> None:
    """Of their networks: Docker gives out the upper one by itself."""
    found = set()
    for name, service in SERVICES.items():
        networks = service.get("networks", [])
        for network, options in networks.items() if isinstance(networks, dict) else ():
            taken = ipaddress.ip_address(by_default(options["ipv4_address"]))
            pool = COMPOSE["networks"][network]["ipam"]["config"][0]
            assert taken in ipaddress.ip_network(by_default(pool["subnet"])), name
            assert taken not in ipaddress.ip_network(by_default(pool["ip_range"])), name
            found.add((name, network))
    both = {(name, network) for name in IN_BOTH for network in ("edge", "database")}
    assert found == both | {(name, "database") for name in NODES} | {("vip-access", "edge")}


def by_default(text: str) -> str:
    """Return what a value is where no variable is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def test_one_base_image_by_digest() -> None:
    """The same wherever it is named."""
    files = [*(ROOT / "deploy").glob("*/Dockerfile"), ROOT / "deploy/bootstrap/base-image.sh"]
    files.append(ROOT / "deploy/compose/compose.yaml")
    named = {
        found
        for path in files
        for found in re.findall(r"debian:[\w.-]+(?:@sha256:[0-9a-f]{64})?", path.read_text())
    }
    assert len(named) == 1
    assert "@sha256:" in named.pop()


def test_the_major_release_is_said_once() -> None:
    """Whoever builds programs of PostgreSQL is told it; no file has another one, or its own."""
    told = set()
    for service in SERVICES.values():
        build = service.get("build")
        path = ROOT / "deploy/compose" / build["context"] / build["dockerfile"] if build else None
        if path and "PG_MAJOR" in path.read_text():
            told.add(build["args"]["PG_MAJOR"])
            assert "\nARG PG_MAJOR\n" in path.read_text()  # with no default
    assert told == {f"${{PG_MAJOR:-{settings.MAJOR_DEFAULT}}}"}
    assert str(majors.DEFAULT) == settings.MAJOR_DEFAULT
    assert settings.CHOICES["PG_MAJOR"] == tuple(map(str, majors.MAJORS))
    fixed = re.compile(r"(?:postgresql(?:-client)?-|lib/postgresql/)\d\d")
    files = [path for path in (ROOT / "deploy").rglob("*") if path.is_file()]
    assert not [path for path in files if fixed.search(path.read_text(errors="replace"))]


SECRET_FILES = {by_default(secret["file"]) for secret in COMPOSE["secrets"].values()}


def test_the_keys_of_the_cas_are_mounted_once() -> None:
    """Where certificates are made; others have folders beneath, of theirs."""
    assert "secrets/tls/nodes" in SECRET_FILES
    assert not {"secrets", "secrets/tls", "secrets/tls/keys"} & SECRET_FILES
    mounted = [
        name
        for name, service in SERVICES.items()
        if any("SECRETS_DIR" in volume for volume in service.get("volumes", []))
    ]
    assert mounted == [MAKER]


def test_what_is_replaced_is_in_a_folder() -> None:
    """A mounted file would go on being the old one."""
    alone = (".crt", ".pem", "access_tokens")
    assert not [file for file in SECRET_FILES if file.endswith(alone)]


# ---------------------------------------------------------------- with a repository in S3
S3 = yaml.safe_load((ROOT / "deploy" / "compose" / "s3.yaml").read_text())
REPOSITORY: dict[str, Any] = S3["services"]["backup"]


def test_s3_is_of_the_repository_alone() -> None:
    """It gets a way out, two files and what it is told; nobody else gets anything."""
    assert set(S3["services"]) == {"backup"}
    assert set(REPOSITORY) == {"environment", "secrets", "labels", "networks"}
    assert set(S3["secrets"]) == set(REPOSITORY["secrets"]) == set(S3_FILES)
    assert not set(S3_FILES) & set(COMPOSE["secrets"])
    assert set(S3["networks"]) == set(REPOSITORY["networks"]) == {"outside"}
    assert "outside" not in COMPOSE["networks"]
    assert "ports" not in REPOSITORY


def test_the_bucket_is_said_without_its_secret() -> None:
    """All that is kept, and what follows from the stack's name."""
    told = REPOSITORY["environment"]
    assert not [name for name in told if SECRET.search(name)]
    assert {name: told[name] for name in s3.SETTINGS} == {
        name: f"${{{name}:-}}" for name in s3.SETTINGS
    }
    assert told["BACKUP_S3_PATH"] == "/${CONTAINER_PREFIX:-}holdfast"


def test_the_repository_answers_in_the_nodes_network_alone() -> None:
    """There it has its address; nobody is to come in by the way out."""
    address = SERVICES["backup"]["networks"]["database"]["ipv4_address"]
    assert REPOSITORY["environment"]["LISTEN_ADDRESS"] == address
