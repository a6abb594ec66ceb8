"""service.users.schemas: what is taken, what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.users.schemas import NewUser, User, UserChange

EMAIL = "ada@example.com"


def test_name_is_stripped() -> None:
    """Spaces around a name are no part of it."""
    assert NewUser(email=EMAIL, name="  Ada Lovelace ").name == "Ada Lovelace"


def test_domain_is_normalised_and_the_rest_kept() -> None:
    """Domains have no case; the local part is kept as it was written."""
    assert NewUser(email="Ada@EXAMPLE.com", name="Ada").email == "Ada@example.com"


@pytest.mark.parametrize(
    "email",
    [
        "",
        "ada",
        "ada@",
        "@example.com",
        "a b@example.com",
        "ada@exa\0mple.com",
        "x" * 250 + "@b.co",
    ],
)
def test_bad_addresses_are_refused(email: str) -> None:
    """No address, one with NUL in it, or one longer than any mail server takes."""
    with pytest.raises(ValidationError):
        NewUser(email=email, name="Ada")


@pytest.mark.parametrize("name", ["", "   ", "x" * 201, "a\0b", "a\nb", "\x7fx", "a\ud800"])
def test_bad_names_are_refused(name: str) -> None:
    """Nothing, too much, or what PostgreSQL cannot store."""
    with pytest.raises(ValidationError):
        NewUser(email=EMAIL, name=name)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=200))
def test_any_other_name_is_taken(name: str) -> None:
    """Names are people's business: any script, any symbol, as long as something is left of it."""
    if name.strip():
        assert NewUser(email=EMAIL, name=name).name == name.strip()


def test_unknown_fields_are_refused() -> None:
    """A misspelt field is an error, not a field ignored."""
    with pytest.raises(ValidationError, match="Extra inputs"):
        NewUser.model_validate({"email": EMAIL, "name": "Ada", "mail": "x"})


@pytest.mark.parametrize("change", [{"name": "Ada"}, {"email": EMAIL}])
def test_change_leaves_out_what_stays(change: dict[str, str]) -> None:
    """One field is enough."""
    assert UserChange.model_validate(change).model_dump(exclude_none=True) == change


def test_empty_change_is_refused() -> None:
    """A change of nothing is a mistake."""
    with pytest.raises(ValidationError, match="give email, name or both"):
        UserChange.model_validate({})


@pytest.mark.parametrize("change", [{"name": None}, {"email": None, "name": "Ada"}])
def test_null_is_no_way_to_keep_a_field(change: dict[str, str | None]) -> None:
    """Null would look like the removal of what cannot be absent."""
    with pytest.raises(ValidationError, match="must not be null"):
        UserChange.model_validate(change)


def test_every_field_of_an_answer_is_promised() -> None:
    """Clients may rely on each field, also on one that stored results can lack."""
    assert User.model_json_schema(mode="serialization")["required"] == list(User.model_fields)
