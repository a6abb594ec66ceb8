"""Whatever breaks off, and in whatever order: the service and a plain dict say the same.

Hypothesis makes up clients' histories on two instances, cuts connections at every step of the
protocol and swaps the nodes' roles. The dict knows nothing of that. Profiles: tests/conftest.py.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.integration.cuts import ANSWER_MOST, CUTS, KINDS, Cut, Request, Step
from tests.integration.fault_proxy import Fault
from tests.integration.twins import KEY, REPLAYED, TOKEN, Twins, assert_replay, problem, twins

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    import httpx

    from ops.embedded import EmbeddedStack

PATIENCE = 40.0  # seconds for anything that one rule does; a failover takes two
TURMOIL_ODDS = 40  # one example in so many kills the primary, which takes as long as 100 writes
READ_CUTS = {f"read {fault.name}" for fault in CUTS}
EXPECTED = {*KINDS, *READ_CUTS, "switchover", "failover", "hang-up"}

EMAILS = st.sampled_from([f"{name}@example.com" for name in ("a", "b", "c", "d", "D")])
NAMES = st.text("xyzäß ", min_size=1, max_size=6).map(str.strip).filter(bool)
CHANGES = st.fixed_dictionaries({}, optional={"email": EMAILS, "name": NAMES}).filter(bool)


def cuts(*steps: Step) -> st.SearchStrategy[list[Cut]]:
    """Make up to two cuts at these steps; one that is named twice is as likely again."""
    cut = st.builds(Cut, st.sampled_from(steps), st.sampled_from(CUTS), st.integers(1, ANSWER_MOST))
    return st.lists(cut, max_size=2)


ANYWHERE = cuts(*Step)
IN_A_REPLAY = cuts(Step.IDLE, Step.CLAIM, *(3 * [Step.RECALL]), Step.COMMIT, Step.POSITION)
INSTANCE = st.integers(0, 1)
PICK = st.integers(0, 9)
NOBODY = 2**40  # an id that no user has


@dataclass
class World:
    """What outlives an example: two running instances, and what was counted."""

    runner: asyncio.Runner
    twins: Twins
    keys: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    sprung: Counter[str] = field(default_factory=Counter)

    def run(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something on the instances' event loop."""
        self.runner.run(asyncio.wait_for(work, PATIENCE))

    def count(self, kind: str) -> None:
        """Note that a failure really happened."""
        self.sprung[kind] += 1
        event(kind)


class Histories(RuleBasedStateMachine):
    """Clients' histories. The model: what users there are, and what each key was answered."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.users: dict[int, dict[str, Any]] = {}
        self.known: dict[str, tuple[Request, httpx.Response]] = {}
        self.token: str | None = None
        self.turmoil: str | None = None

    # ------------------------------------------------------------ what the model says
    def expected(self, request: Request) -> tuple[int, str]:
        """Return the status, and the problem if it is one, of a request with a new key."""
        body = request.body or {}
        if request.method != "POST" and request.user not in self.users:
            return 404, "not-found"
        taken = {
            user["email"].lower()
            for user in self.users.values()
            if request.method == "POST" or user["id"] != request.user
        }
        if body.get("email", "").lower() in taken:
            return 409, "email-in-use"
        return {"POST": 201, "PATCH": 200, "DELETE": 204}[request.method], ""

    def apply(self, request: Request, response: httpx.Response) -> None:
        """Do to the dict what an acknowledged request did."""
        if request.method == "DELETE":
            assert response.content == b""
            del self.users[request.user]
            return
        user = response.json()
        before = {} if request.method == "POST" else self.users[request.user]
        if request.method == "POST":
            assert user["id"] not in self.users
            assert response.headers["Location"] == f"/api/users/{user['id']}"
        kept = {name: before[name] for name in ("id", "created_at") if name in before}
        assert user == {**user, **before, **(request.body or {}), "updated_at": user["updated_at"]}
        assert kept.items() <= user.items()
        self.users[user["id"]] = user

    def check(self, key: str, request: Request, response: httpx.Response) -> None:
        """Compare an answer with the model, and bring the model up to date."""
        first_request, first = self.known.get(key, (request, None))
        if first_request != request:
            assert (response.status_code, problem(response)) == (422, "idempotency-key-reused")
            return
        if first is not None:
            assert_replay(first, response)
        else:
            found = (response.status_code, "" if response.is_success else problem(response))
            assert found == self.expected(request), response.text
            if not response.is_success:
                assert REPLAYED not in response.headers
                return
            self.apply(request, response)
            self.known[key] = request, response
        self.token = response.headers[TOKEN]

    # ------------------------------------------------------------ what clients do
    async def post(self, instance: int, key: str, request: Request) -> httpx.Response:
        """Send a write."""
        client = self.world.twins.services[instance].client
        headers = {KEY: key}
        return await client.request(
            request.method, request.path, json=request.body, headers=headers
        )

    async def send(self, instance: int, key: str, request: Request, cuts: list[Cut]) -> None:
        """Send a write while connections are cut, and check its answer."""
        proxy = self.world.twins.write
        traps = [(cut, await cut.arm(proxy, request, key)) for cut in cuts]
        response = await self.post(instance, key, request)
        for cut, trap in traps:
            if trap is None or trap.count:
                self.world.count(str(cut))
        await proxy.forward()  # what did not spring is forgotten
        self.check(key, request, response)

    async def read(self, instance: int, path: str = "/api/users?limit=200&order=oldest") -> Any:  # noqa: ANN401 - JSON
        """Read with the token of the last write."""
        client = self.world.twins.services[instance].client
        response = await client.get(path, headers={TOKEN: self.token or ""})
        assert response.status_code in {200, 404}, response.text
        return response.json()["items"] if "?" in path else response

    def new_key(self) -> str:
        """Return a key that nobody has used."""
        return f"key-{next(self.world.keys)}"

    def picked(self, pick: int) -> int:
        """Return the id of some user, or of nobody."""
        return NOBODY if pick == 0 else list(self.users)[pick % len(self.users)]

    @rule(instance=INSTANCE, email=EMAILS, name=NAMES, cuts=ANYWHERE)
    def create(self, instance: int, email: str, name: str, cuts: list[Cut]) -> None:
        """Create a user."""
        request = Request.create(email, name)
        self.world.run(self.send(instance, self.new_key(), request, cuts))

    @precondition(lambda self: self.users)
    @rule(instance=INSTANCE, pick=PICK, change=CHANGES, cuts=ANYWHERE)
    def change(self, instance: int, pick: int, change: dict[str, str], cuts: list[Cut]) -> None:
        """Change a user."""
        request = Request.change(self.picked(pick), change)
        self.world.run(self.send(instance, self.new_key(), request, cuts))

    @precondition(lambda self: self.users)
    @rule(instance=INSTANCE, pick=PICK, cuts=ANYWHERE)
    def delete(self, instance: int, pick: int, cuts: list[Cut]) -> None:
        """Delete a user."""
        request = Request.delete(self.picked(pick))
        self.world.run(self.send(instance, self.new_key(), request, cuts))

    @precondition(lambda self: self.known)
    @rule(instance=INSTANCE, pick=PICK, cuts=IN_A_REPLAY)
    def replay(self, instance: int, pick: int, cuts: list[Cut]) -> None:
        """Send a write again, to the same instance or to the other."""
        key = list(self.known)[pick % len(self.known)]
        self.world.run(self.send(instance, key, self.known[key][0], cuts))

    @precondition(lambda self: self.known)
    @rule(instance=INSTANCE, pick=PICK, name=NAMES)
    def reuse(self, instance: int, pick: int, name: str) -> None:
        """Use a key again, for something else: it is refused, and nothing is applied."""
        key = list(self.known)[pick % len(self.known)]
        self.world.run(self.send(instance, key, Request.create("reused@example.com", name), []))

    @rule(instance=INSTANCE, email=EMAILS, step=st.sampled_from(Step))
    def hang_up(self, instance: int, email: str, step: Step) -> None:
        """Hang up in the middle of a write, and send it again."""
        self.world.run(self._hang_up(instance, Request.create(email, "gone"), step))

    async def _hang_up(self, instance: int, request: Request, step: Step) -> None:
        key, proxy = self.new_key(), self.world.twins.write
        trap = await Cut(step, Fault.HOLD).arm(proxy, request, key)
        task = asyncio.create_task(self.post(instance, key, request))
        held = asyncio.create_task(trap.sprung.wait() if trap else asyncio.sleep(0.002))
        await asyncio.wait([task, held], return_when=asyncio.FIRST_COMPLETED)
        for each in (task, held):
            each.cancel()
        first, _ = await asyncio.gather(task, held, return_exceptions=True)
        if trap is not None:
            trap.release()
        await proxy.forward()
        if isinstance(first, asyncio.CancelledError):
            self.world.count("hang-up")
            first = await self.post(1 - instance, key, request)
            first.headers.pop(REPLAYED, None)  # whether it was applied before, nobody can know
        elif isinstance(first, BaseException):
            raise first
        self.check(key, request, first)

    @precondition(lambda self: self.users)
    @rule(instance=INSTANCE, pick=PICK, cut=st.none() | st.sampled_from(CUTS))
    def read_all_and_one(self, instance: int, pick: int, cut: Fault | None) -> None:
        """Read with the last token: what the dict has, and nothing older."""
        self.world.run(self._read_all_and_one(instance, self.picked(pick), cut))

    async def _read_all_and_one(self, instance: int, user: int, cut: Fault | None) -> None:
        proxy = self.world.twins.read
        trap = proxy.trap(b"", cut) if cut else None
        assert await self.read(instance) == list(self.users.values())
        if trap is not None and trap.count:
            self.world.count(f"read {trap.fault.name}")
        await proxy.forward()
        response = await self.read(instance, f"/api/users/{user}")
        found = response.json() if response.status_code == 200 else None
        assert found == self.users.get(user)

    # ------------------------------------------------------------ the nodes
    @initialize(odds=st.integers(0, TURMOIL_ODDS - 1))
    def begin(self, odds: int) -> None:
        """Start from nothing."""
        self.turmoil = {13: "switchover", 29: "failover"}.get(odds)
        self.world.run(self.world.twins.sql("TRUNCATE users, idempotency_keys"))

    @precondition(lambda self: self.turmoil)
    @rule()
    def swap_roles(self) -> None:
        """Write and read all the time while the primary is handed over, or killed."""
        assert self.turmoil is not None
        name, self.turmoil = self.turmoil, None
        self.world.run(self._swap_roles(name))
        self.world.count(name)

    async def _swap_roles(self, name: str) -> None:
        world = self.world.twins
        swap = asyncio.create_task(asyncio.to_thread(_TURMOIL[name], world.stack))
        for instance in itertools.cycle((0, 1)):
            await self.send(instance, self.new_key(), Request.create("e@example.com", "e"), [])
            assert await self.read(1 - instance) == list(self.users.values())
            request = Request.delete(next(reversed(self.users)))
            await self.send(1 - instance, self.new_key(), request, [])
            if swap.done():
                break
        await swap
        await world.follow_roles()

    @invariant()
    def no_address_twice(self) -> None:
        """Hold the model itself to the schema's rule."""
        emails = [user["email"].lower() for user in self.users.values()]
        assert len(emails) == len(set(emails))

    def teardown(self) -> None:
        """Compare the tables with the model: nothing twice, nothing missing."""
        self.world.run(self._compare())

    async def _compare(self) -> None:
        rows = await self.world.twins.users()
        found = {row["id"]: (row["email"], row["name"]) for row in rows}
        assert found == {user["id"]: (user["email"], user["name"]) for user in self.users.values()}
        assert await self.world.twins.keys() == len(self.known)


def _fail_over(stack: EmbeddedStack) -> None:
    stack.failover()
    stack.rejoin()


_TURMOIL = {"switchover": lambda stack: stack.switchover(), "failover": _fail_over}


@pytest.fixture
def world(disturbed_stack: EmbeddedStack, database: str) -> Iterator[World]:
    """Run both instances on an event loop that the rules enter and leave."""
    with asyncio.Runner() as runner:
        running = AsyncExitStack()
        entered = running.enter_async_context(twins(disturbed_stack, database))
        try:
            yield World(runner, runner.run(entered))
        finally:
            runner.run(running.aclose())


@pytest.mark.timeout(3600 if settings.get_current_profile_name() == "long" else 180)
def test_histories(world: World) -> None:
    """Every history ends as the dict says, and every kind of failure has happened in one."""
    machine = type("Bound", (Histories,), {"world": world})
    run_state_machine_as_test(machine, settings=settings(stateful_step_count=15))
    print(f"sprung: {dict(world.sprung)}")
    assert EXPECTED - set(world.sprung) == set()
