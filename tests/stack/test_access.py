"""Bearer tokens on the real stack: the whole of it up with ACCESS=writes."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import subprocess
import time
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import httpx
import pytest

from ops import cluster, tokens
from tests.stack.support import (
    BASE_URL,
    CLIENT_TIMEOUT,
    RESUME_LIMIT,
    ROOT,
    UP_LIMIT,
    docker,
    log_of,
    make,
    new_user,
    primary,
    sql,
    wait_until,
)
from tests.stack.test_flood import CROWD
from tests.stack.test_hostile import ATTACK_LIMIT
from tests.stack.test_logs import MOST, ask, said_since

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "Idempotency-Key"

RATE = 150
"""Requests a second that the holder of a token has; an address has twice that for all of its."""


def run(*arguments: str, limit: float = 60.0, **variables: str) -> str:
    """Run a command in the checkout, which must succeed; return its output."""
    done = subprocess.run(
        arguments, cwd=ROOT, capture_output=True, text=True, check=False, timeout=limit,
        env={**os.environ, **variables},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def before(running_stack: None) -> httpx.Response:  # noqa: ARG001 - ordering only
    """A write that was answered while the stack was open."""
    return create(None, new_user("before"), **{KEY: f"key-{uuid.uuid4()}"})


@pytest.fixture(scope="module")
def locked(before: httpx.Response) -> Iterator[None]:  # noqa: ARG001 - ordering only
    """The stack asks for tokens, and is open again afterwards."""
    asked = {"ACCESS": "writes", "RATE_LIMIT": str(RATE)}
    make("up", **asked)
    yield
    opened = {"ACCESS": "open", "RATE_LIMIT": "", "YES": "1"}
    make("up", **opened)


def create(
    token: str | None, user: dict[str, str] | None = None, /, **headers: str
) -> httpx.Response:
    """Create a user: this one, or one that nobody else makes."""
    if token:
        headers["Authorization"] = f"Bearer {token}"
    body = user or new_user("access")
    url = f"{BASE_URL}/api/users"
    return httpx.post(url, json=body, headers=headers, timeout=CLIENT_TIMEOUT)


@contextmanager
def held() -> Iterator[tuple[str, str]]:
    """Make a token that works; give its holder's name, and it."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    made = run("./holdfast", "access", "add", name, "--scope", "write", "--json")
    token = json.loads(made)["token"]
    try:
        wait_until("the token to work", RESUME_LIMIT, lambda: _all(token, 201))
        yield name, token
    finally:
        run("./holdfast", "access", "remove", name)


@pytest.mark.usefixtures("locked")
def test_a_token_from_its_making_to_its_end() -> None:
    """Reads are open, writes are not; a new token works without a restart, an ended one no more."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    assert httpx.get(f"{BASE_URL}/api/users", timeout=CLIENT_TIMEOUT).status_code == 200
    refused = create(None)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Bearer")
    made = run("./holdfast", "access", "add", name, "--scope", "write", "--json")
    token = json.loads(made)["token"]
    try:
        # Both instances read the file, each once a second.
        wait_until("the token to work", RESUME_LIMIT, lambda: _all(token, 201))
        there = run("./holdfast", "access", "list")
        assert name in there
        assert token not in there
    finally:
        run("./holdfast", "access", "remove", name)
    wait_until("the token to end", RESUME_LIMIT, lambda: _all(token, 401))


@pytest.mark.usefixtures("locked")
def test_the_audit_names_the_holder() -> None:
    """In the database, with the request's id; the service has no way to read or change it."""
    with held() as (name, token):
        user = create(token, **{"X-Request-Id": f"request-of-{name}"})
    known = user.headers["x-request-id"]
    assert known != f"request-of-{name}"  # the edge's, not the client's to choose
    query = f"""SELECT client, action, entity_id FROM audit_log
                 WHERE request_id = '{known}'"""  # noqa: S608 - of 32 hexadecimal digits
    found = docker("exec", primary(), "psql", "-d", "holdfast", "-qAt", "-c", query)
    assert found.strip() == f"{name}|insert|{user.json()['id']}"
    logged = [
        json.loads(line)
        for app in cluster.APPS
        for line in log_of(app, "--tail", "200").splitlines()
        if known in line
    ]
    (line,) = [each for each in logged if each["event"] == "request"]
    assert line["client_request_id"] == f"request-of-{name}"
    assert line["client_ip"] == "172.30.0.1"


@pytest.mark.usefixtures("locked")
def test_what_was_closed_stays_closed() -> None:
    """A later `make up` that says nothing of it changes nothing; one that opens it wants a yes."""
    make("up")
    assert create(None).status_code == 401
    with pytest.raises(AssertionError, match=r"ACCESS from writes to open.*YES=1"):
        make("up", ACCESS="open")
    assert create(None).status_code == 401


@pytest.mark.usefixtures("locked")
def test_a_key_outlives_access_and_its_holder(before: httpx.Response) -> None:
    """A write is repeated after ACCESS was changed, and by another holder: it is applied once."""
    key, user = before.headers[KEY], json.loads(before.request.content)
    answers = []
    for _ in range(2):
        with held() as (_, token):
            answers.append(create(token, user, **{KEY: key}))
            other = create(token, new_user("other"), **{KEY: key})
            assert other.status_code == 422, other.text
    for answer in answers:
        assert (answer.status_code, answer.json()) == (201, before.json())
        assert answer.headers["idempotency-replayed"] == "true"
    assert sql(f"SELECT count(*) FROM users WHERE email = '{user['email']}'") == ["1"]  # noqa: S608


@pytest.mark.usefixtures("locked")
def test_a_load_with_a_token() -> None:
    """The generator sends the token of its environment."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    made = run("./holdfast", "access", "add", name, "--scope", "write", "--scope", "read", "--json")
    token = json.loads(made)["token"]
    try:
        wait_until("the token to work", RESUME_LIMIT, lambda: _all(token, 201))
        said = json.loads(
            run("./holdfast", "load", "--seconds", "2", "--json", HOLDFAST_TOKEN=token)
        )
    finally:
        run("./holdfast", "access", "remove", name)
    assert said["errors"] == {}
    assert token not in json.dumps(said)


@pytest.mark.usefixtures("locked")
@pytest.mark.parametrize("command", [["load", "--seconds", "2"], ["drill", "app-killed"]])
def test_a_load_without_a_token_is_told_to_bring_one(command: list[str]) -> None:
    """Not asked whether the stack is up."""
    environment = {name: value for name, value in os.environ.items() if name != "HOLDFAST_TOKEN"}
    done = subprocess.run(
        ["./holdfast", *command], cwd=ROOT, env=environment, capture_output=True, text=True,
        check=False, timeout=UP_LIMIT,
    )  # fmt: skip
    assert done.returncode == 1
    assert "asks for a token that may write (401)" in done.stderr
    assert "HOLDFAST_TOKEN=$(./holdfast access add" in done.stderr


@pytest.mark.usefixtures("locked")
def test_standard_output_of_a_new_token_is_the_token() -> None:
    """As `TOKEN=$(./holdfast access add ...)` wants it."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    try:
        token = run("./holdfast", "access", "add", name, "--scope", "write").strip()
        wait_until("the token to work", RESUME_LIMIT, lambda: _all(token, 201))
    finally:
        run("./holdfast", "access", "remove", name)


@pytest.mark.usefixtures("locked")
async def test_a_rate_belongs_to_a_token() -> None:
    """One that is ahead by two seconds waits for them; another of the same address does not."""
    async with asyncio.timeout(CLIENT_TIMEOUT):
        requests = [_ask("hasty") for _ in range(3 * RATE)]
        answers = await asyncio.gather(*requests, _ask("calm"))
    assert {status for _, status in answers} == {"404"}
    *hasty, calm = (seconds for seconds, _ in answers)
    assert max(hasty) > calm + 0.5


@pytest.mark.usefixtures("locked")
def test_a_client_over_its_rate_is_no_news() -> None:
    """Hundreds of requests that are slowed down leave no line each, at the edge or behind it."""
    moment = datetime.now(UTC)
    answers = ask(4 * RATE, at_once=100)
    assert None not in answers
    for container in (cluster.EDGE, *cluster.PROXIES):
        assert len(said_since(container, moment)) <= MOST, container


@pytest.mark.usefixtures("locked")
def test_past_a_rate_only_the_surplus_is_refused() -> None:
    """2,500 requests of one address at the same time: 2,000 wait their turn, the others get 429."""
    code = CROWD.replace("LIMIT", str(ATTACK_LIMIT))
    answers = dict(ast.literal_eval(docker("exec", "psql-client", "python3", "-c", code)))
    assert set(answers) == {(200, False), (429, True)}, answers
    assert answers[200, False] >= 2000, answers


async def _ask(token: str) -> tuple[float, str]:
    """Ask for what is not there; return the seconds until the answer, and its status."""
    reader, writer = await asyncio.open_connection("127.0.0.1", 8080)
    begun = time.monotonic()
    authorization = f"Authorization: Bearer {token}"
    head = ("GET /nothing HTTP/1.1", "Host: rates", authorization, "Connection: close", "", "")
    writer.write("\r\n".join(head).encode())
    answer = await reader.read()
    writer.close()
    return time.monotonic() - begun, answer.split()[1].decode()


def _all(token: str, status: int) -> bool:
    """Tell whether every instance answers so, as far as eight requests find them."""
    return {create(token).status_code for _ in range(8)} == {status}


@pytest.mark.runbook("The file of tokens is wrong")
def test_a_typo_keeps_the_last_good_tokens(locked: None) -> None:  # noqa: ARG001 - a state
    """`status` names the line; who had a token has it still, and the mended file counts again."""
    with held() as (_, token):
        file = tokens.of_stack()
        good = file.read_text()
        try:
            file.write_text(f"{good}a typo\n")
            (what,) = _complaints()
            assert f"line {len(good.splitlines()) + 1}" in what
            time.sleep(2)  # instances look each second
            assert _all(token, 201)
        finally:
            file.write_text(good)
        assert _complaints() == []


def _complaints() -> list[str]:
    """Return what `status` says of the file of tokens; its exit code is 3 then."""
    command = [str(ROOT / "holdfast"), "status", "--json"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    problems = json.loads(done.stdout)["problems"]
    return [one["what"] for one in problems if one["heading"] == "The file of tokens is wrong"]
