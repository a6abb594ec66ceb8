"""What each data node may become, from settings."""

from __future__ import annotations

import pytest

from ops.console import StackError
from ops.nodes import Part, parts

THREE = {"NODES": "3"}


def test_all_are_alike_where_nothing_is_said() -> None:
    """As pg_auto_failover makes them."""
    assert parts({}) == {"postgres1": Part(50), "postgres2": Part(50)}
    assert parts(THREE) == dict.fromkeys(("postgres1", "postgres2", "postgres3"), Part(50))


def test_a_node_for_reports() -> None:
    """It never leads, and nobody waits for it."""
    said = {**THREE, "CANDIDATE_PRIORITIES": "postgres3=0, postgres2=100"}
    said["WITHOUT_QUORUM"] = "postgres3"
    assert parts(said) == {
        "postgres1": Part(50),
        "postgres2": Part(100),
        "postgres3": Part(0, quorum=False),
    }
    # It is not there yet, or no longer.
    assert parts({**said, "NODES": "2"}) == {"postgres1": Part(50), "postgres2": Part(100)}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"CANDIDATE_PRIORITIES": "postgres2"}, "must be like postgres2=100,postgres3=0"),
        ({"CANDIDATE_PRIORITIES": "postgres2=101"}, "0 (never leads) to 100"),
        ({"CANDIDATE_PRIORITIES": "postgres2=-1"}, "CANDIDATE_PRIORITIES is 'postgres2=-1'"),
        ({"CANDIDATE_PRIORITIES": "postgres4=1"}, "no data node postgres4"),
        ({"WITHOUT_QUORUM": "postgres2,pg"}, "no data node pg"),
        ({"CANDIDATE_PRIORITIES": "postgres2=0"}, "fewer than two nodes"),
        ({"WITHOUT_QUORUM": "postgres1"}, "fewer than two nodes"),
        (
            THREE | {"CANDIDATE_PRIORITIES": "postgres2=0", "WITHOUT_QUORUM": "postgres3"},
            "fewer than two nodes",
        ),
    ],
)
def test_what_cannot_be_is_refused(said: dict[str, str], words: str) -> None:
    """Before anything is done."""
    with pytest.raises(StackError) as refused:
        parts(said)
    assert words in str(refused.value)
