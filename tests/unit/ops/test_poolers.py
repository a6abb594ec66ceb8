"""What `status` tells of a pooler, from the words of its console (PgBouncer 1.24)."""

from __future__ import annotations

from ops.poolers import Pooler, in_words, pooler_of

POOLS = """database,user,cl_active,cl_waiting,sv_active,sv_idle,sv_used,sv_tested,sv_login,maxwait
holdfast,holdfast_app,8,2,3,1,0,0,1,0
holdfast,holdfast_read,4,0,0,2,0,0,0,0
pgbouncer,pgbouncer,1,0,0,0,0,0,0,0
"""


def test_clients_and_sessions_are_counted() -> None:
    """Of the application's database; its console's own visitor is none."""
    found = pooler_of("postgres1", POOLS)
    assert found == Pooler("postgres1", clients=14, waiting=2, sessions=7)
    assert in_words(found) == "postgres1 14 clients (2 waiting) on 7 sessions"


def test_one_that_does_not_answer_is_told() -> None:
    """Not shown as one without clients."""
    assert in_words(pooler_of("postgres2", "")) == "postgres2 does not answer"
