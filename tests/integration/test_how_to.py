"""docs/how-to-use-it.md, followed word for word in an empty folder, makes a service that works."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
import pytest

from ops.embedded import free_port, wait_until
from ops.embedded.processes import Process
from service import errors
from tests.integration.guide import ANSWERS, Folder, blocks, paid
from tests.integration.support import ROOT, superuser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ops.embedded import EmbeddedStack

DATABASE = "ledger"
ROLES = ("ledger_app", "ledger_owner")
SERVES_WITHIN = 30.0  # seconds; about 1
ANSWER_TIMEOUT = 30.0  # seconds for an answer, which the deadline of 15 s bounds
HTTP_PORT = "8010"  # the guide's

# Everything that a database consists of here, as the server describes it, without the function that
# instances of the version before go on to call.
SHAPES = """
SELECT format('%s.%s %s%s %s', attrelid::regclass, attname, format_type(atttypid, atttypmod),
              CASE WHEN attnotnull THEN ' not null' END, pg_get_expr(adbin, adrelid)) AS shape
  FROM pg_attribute LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)
 WHERE attrelid = ANY ($1::text[]::regclass[]) AND attnum > 0 AND NOT attisdropped
UNION ALL
SELECT format('%s %s', conrelid::regclass, pg_get_constraintdef(oid))
  FROM pg_constraint WHERE conrelid = ANY ($1::text[]::regclass[]) AND contype <> 'n'
UNION ALL
SELECT indexdef FROM pg_indexes WHERE tablename = ANY ($1)
UNION ALL
SELECT pg_get_functiondef(oid) FROM pg_proc
 WHERE proname = ANY ($2) AND oid IS DISTINCT FROM to_regprocedure('idempotency_claim(bytea)')
UNION ALL
SELECT format('%s: everybody %s', proname, has_function_privilege('public', oid, 'EXECUTE'))
  FROM pg_proc
 WHERE proname = ANY ($2) AND oid IS DISTINCT FROM to_regprocedure('idempotency_claim(bytea)')
"""
TABLES = ["idempotency_keys", "database_history"]
FUNCTIONS = [
    "idempotency_claim",
    "idempotency_record",
    "begin_history",
    "commit_is_replicated",
    "position_after_commit",
]

# What nobody should do: without its key a write whose COMMIT is lost cannot go on.
KEYED = "        return await self.database.write_once(key, PlainJson(int), insert)\n"
UNKEYED = """        async with self.database.write() as connection:
            await insert(connection)
        return await self.database.write_once(key, PlainJson(int), insert)
"""


@pytest.fixture(scope="module")
def ports(stack: EmbeddedStack) -> dict[str, int]:
    """Ports of this place for those of `make dev` and of the guide's server."""
    return {"6432": stack.write_port, "6433": stack.read_port, HTTP_PORT: free_port()}


@pytest.fixture(scope="module")
def ledger(
    stack: EmbeddedStack, ports: dict[str, int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Folder]:
    """Follow the guide in an empty folder, and forget its roles and database afterwards."""
    folder = Folder(tmp_path_factory.mktemp("empty"), ports)
    try:
        folder.follow()
        yield folder
    finally:
        stack.primary.sql(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        for role in ROLES:
            stack.primary.sql(f"DROP ROLE IF EXISTS {role}")


@pytest.fixture
def server(ledger: Folder) -> Iterator[httpx.Client]:
    """Run the guide's server, as its block says, and give a client of it."""
    (command,) = [block.text for block in blocks() if "uvicorn" in block.text]
    process = Process("ledger", ledger.path / "ledger.log")
    process.start(["sh", "-ec", ledger.here(command)], ledger.environment, ledger.path)
    url = f"http://127.0.0.1:{ledger.ports[HTTP_PORT]}"
    with httpx.Client(base_url=url, timeout=ANSWER_TIMEOUT) as client:
        try:
            process.wait_ready(lambda: answers(client), SERVES_WITHIN, "answering")
            yield client
        finally:
            process.stop()


def answers(client: httpx.Client) -> bool:
    """Whether the server takes requests."""
    try:
        return client.get("/openapi.json").is_success
    except httpx.TransportError:
        return False


# ------------------------------------------------------------ the guide itself
def test_it_prints_what_the_guide_shows(ledger: Folder) -> None:
    """The program pays once, and the second run is a repetition."""
    assert len(ledger.printed) == 1
    for printed, shown in ledger.printed:
        assert printed == shown


def test_it_needs_asyncpg_alone(ledger: Folder) -> None:
    """The copy imports the driver, and neither this repository nor any other library."""
    look = (
        "import sys, importlib.util, ledger.database as taken, ledger.errors;"
        "print(taken.Database.__module__, importlib.util.find_spec('service'),"
        " *sorted({name.partition('.')[0] for name in sys.modules}"
        " & {'asyncpg', 'sqlalchemy', 'pydantic', 'fastapi', 'structlog'}))"
    )
    assert ledger.python(look).split() == ["ledger.database.routing", "None", "asyncpg"]


def test_the_copy_does_not_speak_of_service(ledger: Folder) -> None:
    """No module of this repository is named in what is copied, nor in what the reader writes."""
    sources = {path.name: path.read_text() for path in ledger.path.rglob("*.py")}
    named = re.compile(r"\bservice\.\w+|\bexamples\.")
    assert {name: named.findall(text) for name, text in sources.items() if named.search(text)} == {}


async def test_the_tables_are_those_of_the_migrations(
    ledger: Folder, stack: EmbeddedStack, migrated: str
) -> None:
    """The guide's SQL makes what the migrations of this repository make: none can drift."""
    assert ledger.printed
    shapes = []
    for name in (DATABASE, migrated):
        async with superuser(stack, name) as admin:
            rows = await admin.fetch(SHAPES, TABLES, FUNCTIONS)
        shapes.append(sorted(row["shape"] for row in rows))
    assert len(shapes[0]) > 15
    assert shapes[0] == shapes[1]


async def test_the_owner_sees_the_standby(ledger: Folder, stack: EmbeddedStack) -> None:
    """With the guide's rights `commit_is_replicated` knows that the standby has everything."""
    assert ledger.printed
    asked = "SELECT commit_is_replicated(pg_current_wal_flush_lsn(), '5 s')"
    async with superuser(stack, DATABASE) as admin:
        await admin.execute("SET ROLE ledger_app")
        assert await admin.fetchval(asked)


# ------------------------------------------------------------ over HTTP
def test_it_serves(server: httpx.Client) -> None:
    """A payment is made once, its token sees it, and errors are problems of their own."""
    order = {"account": "alan", "cents": 700}
    headers = {"Idempotency-Key": "order-http"}
    first = server.post("/payments", json=order, headers=headers)
    again = server.post("/payments", json=order, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201), first.text
    assert first.json() == again.json()
    seen = {"Consistency-Token": first.headers["Consistency-Token"]}
    assert server.get("/accounts/alan", headers=seen).json() == {"cents": 700}
    other = server.post("/payments", json=order | {"cents": 1}, headers=headers)
    assert other.status_code == 422
    assert other.headers["content-type"] == "application/problem+json"
    assert other.headers["Idempotency-Key"] == "order-http"
    assert other.json()["type"] == "urn:ledger:problem:idempotency-key-reused"
    assert other.json()["detail"].startswith("This idempotency key was used")
    bad = server.get("/accounts/alan", headers={"Consistency-Token": "none"})
    assert (bad.status_code, bad.json()["title"]) == (400, "The consistency token cannot be used")


def test_it_tells_that_a_write_is_on_one_node(
    disturbed_stack: EmbeddedStack, server: httpx.Client
) -> None:
    """With no standby to wait for, a payment is answered `Durability: local`."""
    disturbed_stack.set_synchronous(on=False)

    def is_told() -> bool:  # sessions read the setting a moment later
        key = {"Idempotency-Key": f"order-{uuid4()}"}
        paid = server.post("/payments", json={"account": "rosa", "cents": 1}, headers=key)
        return paid.headers.get("Durability") == "local"

    wait_until(is_told, SERVES_WITHIN, "a payment to be marked `local`")


def test_the_handler_answers_each_error(ledger: Folder) -> None:
    """Status, problem, title, detail and Retry-After are the error's, and the key comes back."""
    told = json.loads(ledger.python(ANSWERS))
    assert told.keys() == set(errors.__all__)
    for name, (status, headers, body) in told.items():
        error = getattr(errors, name)
        retry = None if error.retry_after is None else str(error.retry_after)
        assert body == {
            "type": f"urn:ledger:problem:{error.problem}",
            "title": error.title,
            "status": error.status,
            "detail": error.detail or "the message",
        }
        assert (status, headers.get("retry-after")) == (error.status, retry)
        assert headers["idempotency-key"] == "k7"


# ------------------------------------------------------------ the guide's own test
def test_the_guides_test_fails_without_keys(ledger: Folder) -> None:
    """The guide's test of lost COMMITs, which passes, fails when a write has no key."""
    payments = ledger.path / "ledger" / "payments.py"
    right = payments.read_text()
    assert KEYED in right
    try:
        payments.write_text(right.replace(KEYED, UNKEYED))
        done = ledger.run(sys.executable, "-m", "pytest", "-q", "test_ledger.py")
    finally:
        payments.write_text(right)
    assert done.returncode == 1
    assert "CommitInDoubt" in done.stdout


# ------------------------------------------------------------ the stack
def test_the_lines_of_pg_hba_are_as_the_stacks_own() -> None:
    """The guide's two lines let its roles in from where, and as, the stack's own come."""
    (added,) = [block.text for block in blocks() if "hostssl" in block.text]
    own = (ROOT / "deploy" / "postgres" / "pg_hba.node.conf").read_text()
    own = own.replace("DATABASE_PREFIX.", "172.30.1.")  # DATABASE_SUBNET's default
    through_proxies = own[: own.index("# Statistics,")]
    clients = [
        line.split()
        for line in through_proxies.splitlines()
        if re.match(r"hostssl +holdfast ", line)
    ]
    lines = [line.split() for line in added.splitlines()]
    assert [line[3:] for line in lines] == [line[3:] for line in clients]
    assert {tuple(line[:3]) for line in lines} == {
        ("hostssl", DATABASE, ",".join(sorted(ROLES, reverse=True)))
    }


@pytest.mark.parametrize("name", ["172.30.0.100", "127.0.0.1", "localhost", "vip-access", "::1"])
def test_the_names_are_in_the_certificates(name: str) -> None:
    """What the guide gives as a host is among the names of each node's certificate."""
    maker = (ROOT / "deploy" / "tls" / "make-certificates").read_text()
    (names,) = re.findall(r'NAMES\[\$node\]="([^"]+)"', maker)
    (address,) = re.findall(r"VIP:=([0-9.]+)", maker)
    names = names.replace("$VIP", address)
    assert name in {each.partition(":")[2] for each in names.split(",")}


@pytest.mark.tls
def test_verify_full_takes_the_right_ca_alone(
    disturbed_stack: EmbeddedStack, ledger: Folder
) -> None:
    """With LEDGER_CA sessions are encrypted; with another CA, or another name, there is none."""
    right, wrong = (make_ca(ledger.path / name) for name in ("right", "wrong"))
    primary = disturbed_stack.primary
    for setting, value in (
        ("ssl_cert_file", install(right, disturbed_stack)),
        ("ssl_key_file", install(right.with_suffix(".key"), disturbed_stack)),
        ("ssl", "on"),
    ):
        primary.sql(f"ALTER SYSTEM SET {setting} = '{value}'")
    primary.reload("ssl", "on")
    wait_until(
        lambda: paid(ledger) == "True", SERVES_WITHIN, "the primary to offer TLS", primary.log
    )
    assert paid(ledger, LEDGER_CA=str(right)) == "True"
    unnamed = paid(ledger, LEDGER_CA=str(right), LEDGER_HOST="localhost")
    assert "not valid for 'localhost'" in unnamed
    assert "certificate verify failed: self-signed" in paid(ledger, LEDGER_CA=str(wrong))


def make_ca(stem: Path) -> Path:
    """Make a CA's certificate that a server on loopback can show itself; its key is beside it."""
    certificate = stem.with_suffix(".crt")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 "
        f"-subj /CN={stem.name} -addext subjectAltName=IP:127.0.0.1 "
        f"-keyout {stem.with_suffix('.key')} -out {certificate}"
    )
    subprocess.run(command.split(), check=True, capture_output=True, env=os.environ, timeout=30)
    return certificate


def install(file: Path, stack: EmbeddedStack) -> Path:
    """Copy a file to where the server can read it, and nobody else."""
    target = stack.directory / file.name
    target.write_bytes(file.read_bytes())
    target.chmod(0o600)
    stack._account.own(target)
    return target
