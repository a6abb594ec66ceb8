"""What clients send and receive about users."""

import unicodedata
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    EmailStr,
    Field,
    StringConstraints,
    WrapValidator,
    model_validator,
)

from service.users.emails import plain
from service.users.table import EMAIL_LENGTH, NAME_LENGTH

BIGINT_MAX = 2**63 - 1


_CONTROL = r"\x00-\x1f\x7f-\x9f"
_SOMETHING_PRINTABLE = rf"^[^{_CONTROL}]*[^\s{_CONTROL}][^{_CONTROL}]*$"


def _printable(value: object) -> object:
    """Refuse control characters: PostgreSQL cannot store NUL, and no name has any."""
    if (
        isinstance(value, str)
        and not value.isprintable()
        and any(unicodedata.category(character) == "Cc" for character in value)
    ):
        raise ValueError("must not contain control characters")
    return value


Email = Annotated[EmailStr, WrapValidator(plain), StringConstraints(max_length=EMAIL_LENGTH)]
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=NAME_LENGTH),
    BeforeValidator(_printable),
    Field(json_schema_extra={"pattern": _SOMETHING_PRINTABLE}),
]
UserId = Annotated[int, Field(ge=1, le=BIGINT_MAX)]
# Of which a user must have one to be written; None: any.
ETags: TypeAlias = list[str] | None


class Order(StrEnum):
    """The order of a list of users."""

    NEWEST = "newest"
    OLDEST = "oldest"


class NewUser(BaseModel):
    """A user to create."""

    model_config = ConfigDict(extra="forbid")

    email: Email
    name: Name


def _at_least_one_and_no_null(schema: dict[str, Any]) -> None:
    """Describe what `_something_and_no_null` asks for."""
    schema["minProperties"] = 1
    for name, described in schema["properties"].items():
        given = next(each for each in described["anyOf"] if each != {"type": "null"})
        schema["properties"][name] = {**given, "title": described["title"]}


class UserChange(BaseModel):
    """What to change of a user: whatever is absent stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_at_least_one_and_no_null)

    email: Email | None = None
    name: Name | None = None

    @model_validator(mode="after")
    def _something_and_no_null(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("give email, name or both")
        if nulls := sorted(name for name in self.model_fields_set if getattr(self, name) is None):
            raise ValueError(f"{' and '.join(nulls)} must not be null; leave out what stays")
        return self


class User(BaseModel):
    """A user."""

    # What has a default is in every answer as well.
    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    id: int
    email: str
    name: str
    created_at: datetime
    updated_at: datetime
    # 0, which no user has: a stored result from before there were versions.
    version: int = Field(default=0, description="1 at first, one more with every change")
    etag: str = Field(
        default="", description="The entity tag; for `If-Match`, put it in double quotes"
    )


def _tag_of_before(stored: object) -> object:
    """Give a stored result from before there was `etag` the tag that it was answered with."""
    if isinstance(stored, dict):
        stored.setdefault("etag", str(stored.get("version", 0)))
    return stored


StoredUser: TypeAlias = Annotated[User, BeforeValidator(_tag_of_before)]
"""A user as a key's result has it, perhaps from an earlier version."""


class UserPage(BaseModel):
    """A page of users."""

    items: list[User]
    next: str | None = Field(description="The cursor of the next page; null on the last")
