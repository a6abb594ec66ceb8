"""Take one guarantee away, and the assertion that shows it fails: the tests can see what they test.

Each scenario runs twice, with the guarantee and without.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from service.database import failures
from service.database.consistency import Readers
from service.database.failures import Phase
from service.database.pools import Pool
from service.errors import CommitInDoubt, DatabaseError
from tests.integration.scenarios import (
    assert_each_once,
    assert_leaves_the_demoted_node,
    assert_not_stale,
    demoted,
    forget_keys,
    lose_conditional_commit,
    lose_every_commit,
    lose_unkeyed_commit,
    read_what_was_written,
    replay_paused,
    store_nothing,
)
from tests.integration.twins import Twins, twins

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ops.embedded import EmbeddedStack

COMMITS = 20
both = pytest.mark.parametrize("guaranteed", [True, False], ids=["guaranteed", "taken away"])


def fails(guaranteed: bool, match: str) -> AbstractContextManager[object]:
    """Expect the assertion inside to hold, or to fail and to say what was violated."""
    return nullcontext() if guaranteed else pytest.raises(AssertionError, match=match)


# ---------------------------------------------------------------- the key is asked
@both
async def test_key_lookup(pair: Twins, guaranteed: bool) -> None:
    """Without the look-up a lost COMMIT is applied again, and clients are refused their own row."""
    if not guaranteed:
        await forget_keys(pair)
    responses = await lose_every_commit(pair, COMMITS)
    with fails(guaranteed, f"{COMMITS} writes were refused"):
        await assert_each_once(pair, responses)
    assert {each.status_code for each in responses} == {201 if guaranteed else 409}


@both
async def test_key_lookup_where_nothing_else_is_unique(pair: Twins, guaranteed: bool) -> None:
    """Without the look-up, and with no constraint to stop it, everything is there twice."""
    await pair.sql("DROP INDEX users_email_key")
    if not guaranteed:
        await forget_keys(pair)
        await store_nothing(pair)
    responses = await lose_every_commit(pair, COMMITS)
    with fails(guaranteed, "applied twice"):
        await assert_each_once(pair, responses)
    assert len(await pair.users()) == COMMITS * (1 if guaranteed else 2)


@both
async def test_key_lookup_before_the_condition(pair: Twins, guaranteed: bool) -> None:
    """Without the look-up a lost COMMIT meets its own change, and the client is told 412."""
    if not guaranteed:
        await forget_keys(pair)
    response = await lose_conditional_commit(pair)
    with fails(guaranteed, "refused its own change"):
        assert response.status_code == 200, "refused its own change"
    assert response.status_code == (200 if guaranteed else 412)
    assert [row["version"] for row in await pair.users()] == [2]


# ---------------------------------------------------------------- COMMIT is told from work
@both
async def test_commit_phase(pair: Twins, guaranteed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without knowing that COMMIT was sent, a write without a key is retried, and applied twice."""
    translate = failures.translate

    def blind(error: Exception, phase: Phase, *, closed: bool = False) -> DatabaseError:
        return translate(error, Phase.WORK if phase is Phase.COMMIT else phase, closed=closed)

    if not guaranteed:
        monkeypatch.setattr(failures, "translate", blind)
    outcome, count = await lose_unkeyed_commit(pair)
    with fails(guaranteed, "2 == 1"):
        assert count == 1
    assert isinstance(outcome, CommitInDoubt) is guaranteed


# ---------------------------------------------------------------- a pool leaves its node
@both
async def test_pool_renewal(
    disturbed_stack: EmbeddedStack,
    database: str,
    guaranteed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without renewal a pool asks the demoted node until the deadline, and the client gets 503."""
    if not guaranteed:
        monkeypatch.setattr(Pool, "expire", lambda _: None)
    async with demoted(disturbed_stack, database, request_deadline=2.0) as service:
        with fails(guaranteed, "unavailable"):
            await assert_leaves_the_demoted_node(service)
        retries = service.metric("holdfast_database_retries_total", kind="read-only")
        assert retries == 1 if guaranteed else retries > 5


# ---------------------------------------------------------------- a read waits for its token
@both
async def test_token_wait(
    disturbed_stack: EmbeddedStack,
    database: str,
    guaranteed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the wait a read with the token of a write comes from before it."""

    async def at_once(*_: object) -> bool:
        return True

    if not guaranteed:
        monkeypatch.setattr(Readers, "reach", at_once)
    async with twins(disturbed_stack, database) as pair, replay_paused(disturbed_stack):
        written, read = await read_what_was_written(pair, "fresh")
        with fails(guaranteed, "stale"):
            assert_not_stale(written, read)
        assert read.headers["X-Route"] == ("read-fallback" if guaranteed else "read")
