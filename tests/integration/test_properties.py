"""Whatever breaks off, and in whatever order: the service and a plain dict say the same.

Hypothesis makes up clients' histories on two instances, cuts connections at every step of the
protocol and swaps the nodes' roles. The dict knows nothing of that. Profiles: tests/conftest.py.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, event, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture import engine
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.integration.cuts import ANSWER_MOST, CUTS, Cut, Request, Step
from tests.integration.fault_proxy import Fault
from tests.integration.model import Model
from tests.integration.scenarios import fail_over, forget_keys, hand_over
from tests.integration.twins import REPLAYED, TOKEN, Twins, twins

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    import httpx

    from ops.embedded import EmbeddedStack

STEPS = 15  # of a history, at most
LONG = settings.get_current_profile_name() == "long"
HISTORIES = settings().max_examples if LONG else 40  # enough for all that is EXPECTED, twice over
SHRINKING = 20.0  # seconds for making a history that failed shorter; Hypothesis would take 300
PATIENCE = 40.0  # seconds for anything that one rule does; a failover takes two
# The roles are swapped at one step in so many: that takes as long as 100 writes. By count, as what
# Hypothesis draws comes in clusters, or not at all; a history that runs again may not meet it.
SWAP_EVERY = 90
SWAP_TAKES = 0.4  # seconds until writes are held, or more
TURMOILS = {"switchover": hand_over, "failover": fail_over}
EXPECTED = {*Step, *(fault.name for fault in CUTS), *TURMOILS, "read", "hang-up", "by read", "412"}

EMAILS = st.sampled_from([f"{name}@example.com" for name in ("a", "b", "c", "d", "D")])
NAMES = st.text("xyzäß ", min_size=1, max_size=6).map(str.strip).filter(bool)
CHANGES = st.fixed_dictionaries({}, optional={"email": EMAILS, "name": NAMES}).filter(bool)


def cuts(*steps: Step) -> st.SearchStrategy[list[Cut]]:
    """Make up to two cuts at these steps; one that is named twice is as likely again."""
    cut = st.builds(Cut, st.sampled_from(steps), st.sampled_from(CUTS), st.integers(1, ANSWER_MOST))
    return st.lists(cut, max_size=2)


ANYWHERE = cuts(*Step)
IN_A_REPLAY = cuts(Step.IDLE, Step.CLAIM, *(3 * [Step.RECALL]), Step.COMMIT)
INSTANCE = st.integers(0, 1)
PICK = st.integers(0, 9)
NOBODY = 2**40  # an id that no user has


@dataclass
class World:
    """What outlives an example: two running instances, and what was counted."""

    runner: asyncio.Runner
    twins: Twins
    keys: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    steps: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    turmoils: Iterator[str] = field(default_factory=lambda: itertools.cycle(TURMOILS))
    sprung: Counter[str] = field(default_factory=Counter)

    def run(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something on the instances' event loop."""
        self.runner.run(asyncio.wait_for(work, PATIENCE))

    def step(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do what a rule does; now and then while the roles are swapped."""
        self.run(work if next(self.steps) % SWAP_EVERY else self._meanwhile(work))

    async def _meanwhile(self, work: Coroutine[Any, Any, Any]) -> None:
        name = next(self.turmoils)
        swap = asyncio.create_task(asyncio.to_thread(TURMOILS[name], self.twins.stack))
        await asyncio.sleep(random.uniform(0, SWAP_TAKES))  # noqa: S311 - no secret
        await work
        await swap
        await self.twins.follow_roles()
        self.count(name)

    def count(self, *kinds: str) -> None:
        """Note that a failure really happened."""
        self.sprung.update(filter(None, kinds))
        event(" ".join(kinds))


class Histories(RuleBasedStateMachine):
    """Clients' histories, each step of which is checked against the model."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()

    # ------------------------------------------------------------ what clients do
    async def post(self, instance: int, key: str, request: Request) -> httpx.Response:
        """Send a write."""
        return await request.send(self.world.twins.services[instance], key)

    async def send(self, instance: int, key: str, request: Request, cuts: list[Cut]) -> None:
        """Send a write while connections are cut, and check its answer."""
        proxy = self.world.twins.write
        traps = [(cut, await cut.arm(proxy, request, key)) for cut in cuts]
        response = await self.post(instance, key, request)
        for cut, trap in traps:
            if trap is None or trap.count:
                self.world.count(cut.step, "" if trap is None else cut.fault.name)
        await proxy.forward()  # what did not spring is forgotten
        self.model.check(key, request, response)
        self.world.sprung[str(response.status_code)] += 1

    async def read(self, instance: int, path: str = "/api/users?limit=200&order=oldest") -> Any:  # noqa: ANN401 - JSON
        """Read with the token of the last write."""
        client = self.world.twins.services[instance].client
        response = await client.get(path, headers={TOKEN: self.model.token})
        assert response.status_code in {200, 404}, response.text
        self.world.sprung[f"by {response.headers['X-Route']}"] += 1
        return response.json()["items"] if "?" in path else response

    def new_key(self) -> str:
        """Return a key that nobody has used."""
        return f"key-{next(self.world.keys)}"

    def picked(self, pick: int) -> int:
        """Return the id of some user, or of nobody."""
        return NOBODY if pick == 0 else list(self.model.users)[pick % len(self.model.users)]

    @rule(instance=INSTANCE, email=EMAILS, name=NAMES, cuts=ANYWHERE)
    def create(self, instance: int, email: str, name: str, cuts: list[Cut]) -> None:
        """Create a user."""
        request = Request.create(email, name)
        self.world.step(self.send(instance, self.new_key(), request, cuts))

    @precondition(lambda self: self.model.users)
    @rule(instance=INSTANCE, pick=PICK, change=CHANGES, cuts=ANYWHERE)
    def change(self, instance: int, pick: int, change: dict[str, str], cuts: list[Cut]) -> None:
        """Change a user."""
        request = Request.change(self.picked(pick), change)
        self.world.step(self.send(instance, self.new_key(), request, cuts))

    @precondition(lambda self: self.model.users)
    @rule(instance=INSTANCE, pick=PICK, cuts=ANYWHERE)
    def delete(self, instance: int, pick: int, cuts: list[Cut]) -> None:
        """Delete a user."""
        request = Request.delete(self.picked(pick))
        self.world.step(self.send(instance, self.new_key(), request, cuts))

    @precondition(lambda self: self.model.users)
    @rule(
        instance=INSTANCE,
        pick=PICK,
        change=st.none() | CHANGES,
        behind=st.booleans(),
        cuts=ANYWHERE,
    )
    def change_one_version(
        self, instance: int, pick: int, change: dict[str, str] | None, behind: bool, cuts: list[Cut]
    ) -> None:
        """Change or delete a user, if it is in the version that there is, or was before."""
        user = self.picked(pick)
        tags = self.model.tags.get(user, ['"1"'])
        tag = tags[max(-2, -len(tags)) if behind else -1]
        request = Request.change(user, change, tag) if change else Request.delete(user, tag)
        self.world.step(self.send(instance, self.new_key(), request, cuts))

    @precondition(lambda self: self.model.known)
    @rule(instance=INSTANCE, pick=PICK, cuts=IN_A_REPLAY)
    def replay(self, instance: int, pick: int, cuts: list[Cut]) -> None:
        """Send a write again, to the same instance or to the other."""
        key = list(self.model.known)[pick % len(self.model.known)]
        self.world.step(self.send(instance, key, self.model.known[key][0], cuts))

    @precondition(lambda self: self.model.known)
    @rule(instance=INSTANCE, pick=PICK, name=NAMES)
    def reuse(self, instance: int, pick: int, name: str) -> None:
        """Use a key again, for something else: it is refused, and nothing is applied."""
        key = list(self.model.known)[pick % len(self.model.known)]
        self.world.step(self.send(instance, key, Request.create("reused@example.com", name), []))

    @rule(email=EMAILS, name=NAMES, cuts=ANYWHERE)
    def create_at_once(self, email: str, name: str, cuts: list[Cut]) -> None:
        """Create a user on both instances at a time, with the same key."""
        self.world.step(self._create_at_once(self.new_key(), Request.create(email, name), cuts))

    async def _create_at_once(self, key: str, request: Request, cuts: list[Cut]) -> None:
        proxy = self.world.twins.write
        for cut in cuts:
            await cut.arm(proxy, request, key)
        both = await asyncio.gather(*(self.post(instance, key, request) for instance in (0, 1)))
        await proxy.forward()
        assert both[0].status_code == both[1].status_code, [each.text for each in both]
        if both[0].is_success:
            assert both[0].content == both[1].content
            # The other one; with COMMITs lost on both sides neither may know who was first.
            assert cuts or sorted(REPLAYED in each.headers for each in both) == [False, True]
        both[0].headers.pop(REPLAYED, None)
        self.model.check(key, request, both[0])

    @rule(instance=INSTANCE, email=EMAILS, step=st.sampled_from(Step))
    def hang_up(self, instance: int, email: str, step: Step) -> None:
        """Hang up in the middle of a write, and send it again."""
        self.world.step(self._hang_up(instance, Request.create(email, "gone"), step))

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
        self.model.check(key, request, first)

    @precondition(lambda self: self.model.users)
    @rule(instance=INSTANCE, pick=PICK, cut=st.none() | st.sampled_from(CUTS))
    def read_all_and_one(self, instance: int, pick: int, cut: Fault | None) -> None:
        """Read with the last token: what the dict has, and nothing older."""
        self.world.step(self._read_all_and_one(instance, self.picked(pick), cut))

    async def _read_all_and_one(self, instance: int, user: int, cut: Fault | None) -> None:
        proxy = self.world.twins.read
        trap = proxy.trap(b"", cut) if cut else None
        assert await self.read(instance) == list(self.model.users.values())
        if trap is not None and trap.count:
            self.world.count("read", trap.fault.name)
        await proxy.forward()
        response = await self.read(instance, f"/api/users/{user}")
        found = response.json() if response.status_code == 200 else None
        assert found == self.model.users.get(user)

    @initialize()
    def begin(self) -> None:
        """Start from nothing."""
        self.world.run(self.world.twins.sql("TRUNCATE users, idempotency_keys"))

    @invariant()
    def no_address_twice(self) -> None:
        """Hold the model itself to the schema's rule."""
        emails = [user["email"].lower() for user in self.model.users.values()]
        assert len(emails) == len(set(emails))

    def teardown(self) -> None:
        """Send everything again, and compare the tables: nothing twice, nothing missing."""
        self.world.run(self._compare())

    async def _compare(self) -> None:
        for number, (key, (request, _)) in enumerate(self.model.known.items()):
            self.model.check(key, request, await self.post(number % 2, key, request))
        rows = await self.world.twins.users()
        found = {row["id"]: (row["email"], row["name"]) for row in rows}
        assert found == {
            user["id"]: (user["email"], user["name"]) for user in self.model.users.values()
        }
        assert await self.world.twins.keys() == len(self.model.known)


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


def histories(world: World) -> type[Histories]:
    """Make the machine for a world: Hypothesis calls it without arguments."""
    return type("Histories", (Histories,), {"world": world})


@pytest.mark.timeout(3600 if LONG else 180)
def test_histories(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every history ends as the dict says, and every step and every fault was in one."""
    monkeypatch.setattr(engine, "MAX_SHRINKING_SECONDS", SHRINKING)
    chosen = settings(stateful_step_count=STEPS, max_examples=HISTORIES)
    run_state_machine_as_test(histories(world), settings=chosen)
    print(f"sprung: {dict(sorted(world.sprung.items()))}")
    assert EXPECTED - set(world.sprung) == set()


def test_histories_notice_a_forgotten_key(world: World) -> None:
    """Negative control: a service that never looks a key up is found out."""
    world.run(forget_keys(world.twins))
    few = settings(
        stateful_step_count=STEPS,
        max_examples=20,
        phases=[Phase.generate],
        database=None,
        report_multiple_bugs=False,
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(histories(world), settings=few)
