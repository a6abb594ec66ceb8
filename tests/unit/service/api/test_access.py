"""service.api.access: who gets past, who does not, and what the file of tokens may be."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from service.api import access
from service.api.access import Access, Right, TokensError, parse
from service.app import create_app
from service.settings import Settings, SettingsError

READER, WRITER, BOTH = "reader-token", "writer-token", "both-token"
PASSED = 503
"""What a request that was let through is answered: the database is away."""


def digest(token: str) -> str:
    """Return what the file has of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


FILE = f"""# who may what
reporting  read        {digest(READER)}
importer   write       {digest(WRITER)}

ci         read,write  {digest(BOTH)}
"""


EXPIRING = f"""old read {digest(READER)} 2001-01-31T00:00:00Z
new read {digest(BOTH)} 2999-01-31T00:00:00Z
"""


@pytest.fixture
def tokens_file(tmp_path: Path) -> Path:
    """A file with three tokens."""
    path = tmp_path / "access_tokens"
    path.write_text(FILE)
    return path


@pytest.fixture
def settings(settings: Settings, tokens_file: Path, request: pytest.FixtureRequest) -> Settings:
    """Settings that ask for tokens, as far as the test says: for everything by default."""
    wanted = getattr(request, "param", Access.ALL)
    return settings.model_copy(update={"access": wanted, "access_tokens_file": tokens_file})


def bearer(token: str) -> dict[str, str]:
    """Return the header that sends a token."""
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    ("method", "token", "status", "problem"),
    [
        ("GET", None, 401, "unauthenticated"),
        ("POST", None, 401, "unauthenticated"),
        ("GET", READER, PASSED, "unavailable"),
        ("POST", READER, 403, "forbidden"),
        ("GET", WRITER, 403, "forbidden"),
        ("POST", WRITER, PASSED, "unavailable"),
        ("GET", BOTH, PASSED, "unavailable"),
        ("POST", BOTH, PASSED, "unavailable"),
        ("GET", "unknown", 401, "unauthenticated"),
        ("GET", digest(READER), 401, "unauthenticated"),
    ],
)
async def test_who_gets_past(
    client: httpx.AsyncClient, method: str, token: str | None, status: int, problem: str
) -> None:
    """By scope; what the file has is no token itself."""
    headers = bearer(token) if token else {}
    body = {"email": "a@example.org", "name": "A"} if method == "POST" else None
    answer = await client.request(method, "/api/users", headers=headers, json=body)
    assert answer.status_code == status
    assert answer.json()["type"] == f"urn:holdfast:problem:{problem}"
    assert ("www-authenticate" in answer.headers) == (status in {401, 403})


@pytest.mark.parametrize("settings", [Access.WRITES], indirect=True)
@pytest.mark.parametrize(
    ("method", "token", "status"),
    [("GET", None, PASSED), ("GET", "unknown", 401), ("DELETE", None, 401), ("PATCH", READER, 403)],
)
async def test_reads_may_be_left_open(
    client: httpx.AsyncClient, method: str, token: str | None, status: int
) -> None:
    """A wrong token is refused all the same: whoever sends one means to be known."""
    headers = bearer(token) if token else {}
    answer = await client.request(method, "/api/users/1", headers=headers, json={"name": "B"})
    assert answer.status_code == status


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {READER}",
        f"Bearer {READER} {READER}",
        "Bearer \u00e9",
        READER,
    ],
)
async def test_what_is_no_bearer_token(client: httpx.AsyncClient, header: str) -> None:
    """401, never an error of ours."""
    answer = await client.get("/api/users", headers=[(b"Authorization", header.encode("latin-1"))])
    assert answer.status_code == 401
    assert "invalid_token" in answer.headers["www-authenticate"]


async def test_two_tokens_are_none(client: httpx.AsyncClient) -> None:
    """Else a proxy and the service might each believe another one."""
    both = [*bearer(READER).items(), *bearer(BOTH).items()]
    assert (await client.get("/api/users", headers=both)).status_code == 401


@pytest.mark.parametrize("path", ["/livez", "/metrics", "/docs", "/openapi.json"])
async def test_what_is_no_data_needs_no_token(client: httpx.AsyncClient, path: str) -> None:
    """Probes above all: an instance whose probes are refused leaves rotation."""
    assert (await client.get(path)).status_code == 200


TOKEN: dict[str, list[str]] = {"HTTPBearer": []}
DESCRIBED = [
    pytest.param(Access.OPEN, None, None, id="open"),
    pytest.param(Access.WRITES, [{}, TOKEN], [TOKEN], id="writes"),
    pytest.param(Access.ALL, [TOKEN], [TOKEN], id="all"),
]


@pytest.mark.parametrize(("settings", "reads", "writes"), DESCRIBED, indirect=["settings"])
async def test_the_interface_says_where_a_token_is_needed(
    client: httpx.AsyncClient, reads: list[object] | None, writes: list[object] | None
) -> None:
    """Nowhere, for what changes something, or everywhere: as the service's ACCESS says."""
    described = (await client.get("/openapi.json")).json()

    users = [described["paths"][path] for path in ("/api/users", "/api/users/{id}")]
    asked = {method: each.get("security") for path in users for method, each in path.items()}
    assert asked == {"get": reads, "post": writes, "patch": writes, "delete": writes}
    assert ("securitySchemes" in described["components"]) == (reads is not None)


async def test_refused_before_the_body_is_looked_at(client: httpx.AsyncClient) -> None:
    """Who may not write learns nothing about what a body may be."""
    answer = await client.post("/api/users", headers=bearer(READER), content=b"{" * 5000)
    assert answer.status_code == 403


async def test_tokens_come_and_go(
    client: httpx.AsyncClient, tokens_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a restart; a file that is wrong for a moment shuts nobody out."""
    monkeypatch.setattr(access, "LOOK", 0.0)

    async def status(token: str, change: Callable[[], object]) -> int:
        change()
        return (await client.get("/api/users", headers=bearer(token))).status_code

    new = f"new read {digest('new')}\n"
    assert await status("new", lambda: tokens_file.write_text(new)) == PASSED
    assert await status(READER, lambda: None) == 401
    assert await status("new", lambda: tokens_file.write_text("new read 12")) == PASSED
    assert await status("new", tokens_file.unlink) == PASSED


@pytest.mark.parametrize(
    "line",
    [
        "ci deadbeef",
        f"ci read {'g' * 64}",
        f"ci admin {digest(READER)}",
        f"ci read,, {digest(READER)}",
        f"a name read {digest(READER)}",
        f"ci read {digest(READER)[:-1]}",
    ],
)
def test_a_bad_line_is_named_and_not_quoted(line: str) -> None:
    """A token that was written there by mistake must not end up in a log."""
    with pytest.raises(TokensError, match="line 2: ") as caught:
        parse(f"# comment\n{line}\n")
    assert line.rsplit(maxsplit=1)[-1] not in str(caught.value)


def test_a_line_has_a_name_scopes_and_a_digest() -> None:
    """Comments and empty lines do not count."""
    holders = parse(FILE)
    assert [holder.name for holder in holders] == ["reporting", "importer", "ci"]
    assert holders[2].rights == {Right.READ, Right.WRITE}


def test_no_file_no_start(settings: Settings, tokens_file: Path) -> None:
    """A service that was told to ask for tokens does not start without any to compare with."""
    tokens_file.unlink()
    with pytest.raises(SettingsError, match=r"ACCESS_TOKENS_FILE.*No such file"):
        create_app(settings)


async def test_an_expired_token_is_told_so(
    client: httpx.AsyncClient, tokens_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """401, with the moment; one that will expire still counts."""
    monkeypatch.setattr(access, "LOOK", 0.0)
    tokens_file.write_text(EXPIRING)  # noqa: ASYNC240 - a few bytes
    answer = await client.get("/api/users", headers=bearer(READER))
    assert answer.status_code == 401
    assert "The token of old expired at 2001-01-31T00:00:00Z" in answer.json()["detail"]
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert (await client.get("/api/users", headers=bearer(BOTH))).status_code == PASSED


def test_what_is_wrong_with_the_file_is_logged_once(
    tokens_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at each request; again when something else is wrong, or it was right meanwhile."""
    monkeypatch.setattr(access, "LOOK", 0.0)
    held = access.Tokens(tokens_file)

    def lines(change: Callable[[], object]) -> int:
        change()
        with capture_logs() as logs:
            for _ in range(3):
                held.holder("any")
        return sum(line["event"].startswith("bad file of tokens") for line in logs)

    assert lines(lambda: tokens_file.write_text("new read 12")) == 1
    assert lines(lambda: tokens_file.write_text("new\nread 12 34")) == 0  # line 1 is still wrong
    assert lines(tokens_file.unlink) == 1
    assert lines(lambda: tokens_file.write_text(FILE)) == 0
    assert held.holder(READER) is not None
    assert lines(tokens_file.unlink) == 1
