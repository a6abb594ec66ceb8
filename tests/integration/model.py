"""What a client may expect: plain dicts, which know nothing of nodes, connections or failures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.integration.twins import REPLAYED, TOKEN, assert_replay, problem

if TYPE_CHECKING:
    import httpx

    from tests.integration.cuts import Request

SUCCESS = {"POST": 201, "PATCH": 200, "DELETE": 204}


@dataclass
class Model:
    """The users that there are, and what each key was answered."""

    users: dict[int, dict[str, Any]] = field(default_factory=dict)
    known: dict[str, tuple[Request, httpx.Response]] = field(default_factory=dict)
    token: str = ""  # of the last write
    tags: dict[int, list[str]] = field(default_factory=dict)  # of each user, the newest last

    def expected(self, request: Request) -> tuple[int, str]:
        """Return the status of a request with a new key, and the problem if it is one."""
        own = None if request.method == "POST" else request.user
        if own is not None and own not in self.users:
            return 404, "not-found"
        if own is not None and request.if_match not in {None, self.tags[own][-1]}:
            return 412, "precondition-failed"
        taken = {user["email"].lower() for user in self.users.values() if user["id"] != own}
        if (request.body or {}).get("email", "").lower() in taken:
            return 409, "email-in-use"
        return SUCCESS[request.method], ""

    def check(self, key: str, request: Request, response: httpx.Response) -> None:
        """Compare an answer with the model, and bring the model up to date."""
        if key not in self.known:
            self._check_new(key, request, response)
            return
        first_request, first = self.known[key]
        if first_request != request:
            assert (response.status_code, problem(response)) == (422, "idempotency-key-reused")
            return
        assert_replay(first, response)
        self.token = response.headers[TOKEN]

    def _check_new(self, key: str, request: Request, response: httpx.Response) -> None:
        found = (response.status_code, "" if response.is_success else problem(response))
        assert found == self.expected(request), response.text
        assert REPLAYED not in response.headers
        if response.is_success:
            self._apply(request, response)
            self.known[key] = request, response
            self.token = response.headers[TOKEN]

    def _apply(self, request: Request, response: httpx.Response) -> None:
        if request.method == "DELETE":
            assert response.content == b""
            del self.users[request.user]
            return
        user = response.json()
        before: dict[str, Any] = {}
        if request.method == "POST":
            assert user["id"] not in self.users
            assert response.headers["Location"] == f"/api/users/{user['id']}"
        else:
            before = self.users[request.user]
        changed = {**(request.body or {}), "updated_at": user["updated_at"]}
        changed["version"] = before.get("version", 0) + 1
        changed["etag"] = user["etag"]
        assert user == {**user, **before, **changed}
        self._tag(user["id"], response.headers["ETag"], user["etag"])
        self.users[user["id"]] = user

    def _tag(self, user: int, tag: str, etag: str) -> None:
        """Note a tag, which has to be a new one."""
        assert tag == f'"{etag}"'
        assert not any(tag in tags for tags in self.tags.values())
        self.tags.setdefault(user, []).append(tag)
