"""service.database.unit: what the attempts of one unit of work share."""

import pytest

from service.database import IdempotencyKey
from service.database.unit import current_unit, unit_of_work


def test_a_unit_of_work_has_one_key() -> None:
    """A key made anew for each attempt would let a COMMIT in doubt be applied twice: refused."""
    key = IdempotencyKey.made()
    with unit_of_work(1.0) as unit:
        unit.use(key.digest)
        unit.use(key.digest)
        with pytest.raises(ValueError, match="one idempotency key"):
            unit.use(IdempotencyKey.made().digest)


def test_the_next_unit_has_its_own() -> None:
    """A key binds the unit of work that is open, and no later one."""
    for _ in range(2):
        with unit_of_work(1.0) as unit:
            assert current_unit() is unit
            unit.use(IdempotencyKey.made().digest)
