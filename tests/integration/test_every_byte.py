"""Whatever byte goes through last: the client gets its answer, and a write is there once.

`make check` takes the bytes around each end of a message, and some others by chance;
HYPOTHESIS_PROFILE=long takes every byte with every ending (docs: CONTRIBUTING.md).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from service.database import Role
from tests.integration.every_byte import (
    HURRIED,
    UNHURRIED,
    Lane,
    boundaries,
    every_byte,
    lane,
    sample,
)
from tests.integration.faults import Ending
from tests.integration.support import seeded, what_nobody_awaits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ops.embedded import EmbeddedStack
    from tests.integration.every_byte import Case

EVERY_BYTE = settings.get_current_profile_name() == "long"
OTHERS = 10  # bytes by chance, for each way of an exchange
LANES = 3  # requests at a time, where each keeps a processor busy
SILENT_LANES = 20  # where each waits most of its time

pytestmark = pytest.mark.timeout(7200 if EVERY_BYTE else 120)
ROLES = pytest.mark.parametrize("role", Role)


async def cases(lane: Lane, *, odd: bool) -> list[Case]:
    """Return the cases, after a look at an exchange that nothing ends."""
    rng = seeded("bytes")
    found: list[Case] = []
    for warm in (False, True):
        wire = await lane.record(warm=warm)
        some = sample(warm, wire, rng, others=OTHERS, odd=odd)
        found += every_byte(warm, wire) if EVERY_BYTE else some
    rng.shuffle(found)
    return found


async def run_all(lanes: list[Lane], cases: Iterable[Case]) -> Counter[str]:
    """Run the cases, one at a time on each lane; count those that were cut."""
    left, struck = iter(cases), Counter[str]()

    async def run_some(lane: Lane) -> None:
        for case in left:
            try:
                was_cut = await lane.run(case)
            except BaseException as error:
                error.add_note(f"{case}")
                raise
            struck[case.ending] += was_cut

    async with asyncio.TaskGroup() as group:
        for each in lanes:
            group.create_task(run_some(each))
    return struck


def outcomes(lanes: list[Lane]) -> dict[str, float]:
    """Count the COMMITs in doubt that were resolved."""
    name = "holdfast_database_resolved_commits_total"
    return {
        outcome: sum(each.service.metric(name, outcome=outcome) for each in lanes)
        for outcome in ("applied", "absent")
    }


async def cut_everywhere(stack: EmbeddedStack, database: str, role: Role, *, odd: bool) -> None:
    """Run all cases of a request: those that hang on many lanes, the others on few."""
    unheard = what_nobody_awaits()
    async with AsyncExitStack() as running:

        async def lanes(name: str, count: int, settings: dict[str, object]) -> list[Lane]:
            each = (lane(stack, database, role, f"{name}{n:02}", **settings) for n in range(count))
            return [await running.enter_async_context(one) for one in each]

        quick, slow = (
            await lanes("quick", LANES, UNHURRIED),
            await lanes("slow", SILENT_LANES, HURRIED),
        )
        found, started = await cases(quick[0], odd=odd), time.monotonic()
        print(f"{role}: {len(found)} cases")
        silent = [case for case in found if case.ending is Ending.SILENCE]
        struck = await run_all(quick, [case for case in found if case.ending is not Ending.SILENCE])
        struck += await run_all(slow, silent)
        resolved = outcomes(quick)
    print(f"{role}: {len(found)} cases in {time.monotonic() - started:.1f} s; cut: {dict(struck)}")
    assert unheard == []
    # The exchange is a few bytes longer or shorter from one time to the next, never much.
    assert all(struck[ending] > 0 for ending in Ending)
    assert sum(struck.values()) > 0.95 * len(found)
    assert role is Role.READ or all(resolved.values())  # COMMIT was cut, and its answer was


@ROLES
async def test_cut_at_any_byte(stack: EmbeddedStack, database: str, role: Role) -> None:
    """A keyed write and a read get their answers, wherever their connection ends, and however."""
    await cut_everywhere(stack, database, role, odd=False)


@pytest.mark.uvloop
@ROLES
async def test_cut_at_any_byte_on_uvloop(stack: EmbeddedStack, database: str, role: Role) -> None:
    """The same on the event loop that the service runs on."""
    await cut_everywhere(stack, database, role, odd=True)


def test_boundaries() -> None:
    """The ends of messages are found in a login and after it, in either direction."""
    query, ready = b"Q\0\0\0\x0dSELECT 1\0", b"Z\0\0\0\x05I"
    startup = b"\0\0\0\x08\x04\xd2\x16\x2f" + b"\0\0\0\x0a\0\3\0\0\0\0"
    assert boundaries(startup + query, login=True) == [0, 8, 18, 32]
    assert boundaries(b"N" + ready, login=True) == [0, 1, 7]
    assert boundaries(query + ready, login=False) == [0, 14, 20]
