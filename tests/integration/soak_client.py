"""A client of the soak: it knows exactly what to expect, whatever happens around it.

Each client has users of its own, so that its history is sequential and its model exact, however
many others there are. What it cannot know it finds out: a request that it hung up on, or that was
answered with 503, is sent again with the same key until it is answered.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

from tests.integration.cuts import Request
from tests.integration.model import Model
from tests.integration.twins import REPLAYED, TOKEN, problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from random import Random

    import httpx

    from tests.integration.service_client import Service
    from tests.integration.soak import Soak

CLIENTS = 8
ADDRESSES = 5  # of a client: it meets its own again
PATIENCE = 60.0  # seconds for one answer that is none of AGAIN; a failover takes two
# Problems that ask for the request again. All but the first say that nothing was applied.
DOUBT = "commit-in-doubt"
AGAIN = {DOUBT, "unavailable", "overloaded", "key-in-flight"}
NOBODY = 2**40  # an id that no user has
MOMENT = 0.05  # seconds after which a client may hang up, at most


class Client:
    """A client, and what it knows: its users and the answers to its keys."""

    def __init__(self, number: int, soak: Soak, rng: Random) -> None:
        self.model = Model()
        self._name = f"c{number}"
        self._soak = soak
        self._rng = rng
        self._keys = itertools.count()

    async def run(self, stop: asyncio.Event) -> None:
        """Do one thing after another."""
        kinds: list[Callable[[], Awaitable[None]]] = [
            *(3 * [self.create]),
            *(3 * [self.change]),
            self.delete,
            self.repeat,
            *(4 * [self.read]),
        ]
        while not stop.is_set():
            await self._rng.choice(kinds)()

    async def create(self) -> None:
        """Create a user, whose address may be taken."""
        await self.write(Request.create(self._email(), self._word()))

    async def change(self) -> None:
        """Change a user, perhaps in the version that there is, or in the one before."""
        body = self._rng.choice(
            [{"name": self._word()}, {"email": self._email(), "name": self._word()}]
        )
        user = self._user()
        await self.write(Request.change(user, body, self._version(user)))

    async def delete(self) -> None:
        """Delete a user, perhaps in one version."""
        user = self._user()
        await self.write(Request.delete(user, self._version(user)))

    async def repeat(self) -> None:
        """Send a write again that was answered long ago."""
        if self.model.known:
            key = self._rng.choice(list(self.model.known))
            await self.write(self.model.known[key][0], key)

    async def read(self, user: int | None = None) -> None:
        """Read a user with the token of the last write: nothing older."""
        wanted = self._user() if user is None else user
        path = f"/api/users/{wanted}"
        headers = {TOKEN: self.model.token} if self.model.token else {}
        response, _ = await self._answer(
            lambda service, more: service.client.get(path, headers=headers | more)
        )
        assert response.status_code in {200, 404}, response.text
        self._soak.seen[f"by {response.headers['X-Route']}"] += 1
        found = response.json() if response.status_code == 200 else None
        assert found == self.model.users.get(wanted), "stale"

    async def write(self, request: Request, key: str | None = None) -> None:
        """Send a write until its outcome is known, and hold it to the model."""
        key = key or f"{self._name}-{next(self._keys)}"
        response, may_be_there = await self._answer(
            lambda service, more: request.send(service, key, more)
        )
        if key not in self.model.known:
            assert may_be_there or REPLAYED not in response.headers, "applied, and denied before"
            response.headers.pop(REPLAYED, None)
        self.model.check(key, request, response)

    # ------------------------------------------------------------ how it asks
    async def _answer(
        self, send: Callable[[Service, dict[str, str]], Awaitable[httpx.Response]]
    ) -> tuple[httpx.Response, bool]:
        """Return the answer, and whether an earlier try may have been applied."""
        may_be_there = False
        async with asyncio.timeout(PATIENCE):
            while True:
                headers = {}
                if self._rng.random() < 0.2:
                    headers["Request-Timeout"] = str(self._rng.randint(10, 2000) / 1000)
                response = await self._try(send(self._soak.service(), headers))
                outcome = "hang-up" if response is None else _outcome(response)
                self._soak.seen[outcome] += 1
                if response is not None and outcome not in AGAIN:
                    return response, may_be_there
                may_be_there |= outcome in {"hang-up", DOUBT}
                await asyncio.sleep(self._rng.uniform(0, MOMENT))

    async def _try(self, sending: Awaitable[httpx.Response]) -> httpx.Response | None:
        """Wait for an answer, or hang up before it comes: then None."""
        task = asyncio.ensure_future(sending)
        if self._rng.random() < 0.1:
            await asyncio.wait([task], timeout=self._rng.uniform(0, MOMENT))
            task.cancel()
        (answer,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(answer, asyncio.CancelledError):
            return None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _email(self) -> str:
        return f"{self._name}-{self._rng.randrange(ADDRESSES)}@example.com"

    def _word(self) -> str:
        return f"{self._rng.getrandbits(32):08x}"

    def _user(self) -> int:
        return self._rng.choice([*self.model.users, NOBODY])

    def _version(self, user: int) -> str | None:
        version = self.model.users.get(user, {"version": 1})["version"]
        return self._rng.choice([None, f'"{version}"', f'"{version - 1}"'])


def _outcome(response: httpx.Response) -> str:
    return str(response.status_code) if response.is_success else problem(response)
