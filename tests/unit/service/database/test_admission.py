"""service.database.admission: how many units of work there may be."""

import pytest

from service.database.admission import Admission
from service.errors import Overloaded


def test_the_limit_is_kept_and_given_back() -> None:
    """As many as the limit, no more; what ends, also with an error, makes room."""
    admission = Admission(limit=2)
    with admission.admit(), admission.admit():
        assert admission.held == 2
        with pytest.raises(Overloaded), admission.admit():
            pass
        assert admission.held == 2
    with pytest.raises(KeyError), admission.admit():
        raise KeyError
    assert admission.held == 0
    with admission.admit(), admission.admit():
        pass
