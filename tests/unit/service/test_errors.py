"""service.errors: the tree that its docstring draws is the tree that it exports."""

import inspect
import re

import pytest

from service import errors


def drawn() -> dict[str, str]:
    """Read the docstring's tree: each error's name, and its parent's."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"((?:[│ ]   |├── |└── )*)([A-Z]\w+)(?:  |$)", line):
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            if depth:
                parents[found[2]] = path[depth - 1]
    return parents


def test_docstring_draws_every_class_under_its_parent() -> None:
    """Each class stands in the docstring where inheritance has it, and no other stands there."""
    actual = {
        name: cls.__base__.__name__
        for name, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, errors.HoldfastError) and cls is not errors.HoldfastError
    }

    assert drawn() == actual


def test_exports_are_the_tree_and_nothing_else() -> None:
    """`__all__` names the root and everything drawn below it."""
    assert set(errors.__all__) == {"HoldfastError", *drawn()}


@pytest.mark.parametrize("name", errors.__all__)
def test_a_503_says_when_to_come_back(name: str) -> None:
    """Whatever answers 503 carries Retry-After, and so does a key in flight; nothing else does."""
    error = getattr(errors, name)

    passing = error.status == 503 or error is errors.KeyInFlight
    assert passing == (error.retry_after is not None)


@pytest.mark.parametrize("name", errors.__all__)
def test_only_request_errors_show_their_message(name: str) -> None:
    """A database's error tells the client a fixed sentence: its message may name hosts."""
    error = getattr(errors, name)

    assert (error.detail is None) == issubclass(error, errors.RequestError)
