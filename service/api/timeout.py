"""`Request-Timeout`: a client that will not wait as long as the service would hold its request."""

import re
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Header

from service.database.deadline import Deadline
from service.database.unit import patience
from service.errors import BadTimeout

NAME = "Request-Timeout"
# A plain decimal, above 0, up to 31 years.
_SECONDS = re.compile(r"[1-9][0-9]{0,8}(\.[0-9]{1,9})?|0\.[0-9]{0,8}[1-9]")


async def request_timeout(
    header: Annotated[
        str | None,
        Header(
            alias=NAME,
            description="Seconds after which the client wants an answer, such as `2.5`, be it 503. "
            "It can only shorten the service's own deadline.",
            json_schema_extra={"pattern": f"^({_SECONDS.pattern})$"},
        ),
    ] = None,
) -> AsyncIterator[None]:
    """Bound the units of work of this request. Raises BadTimeout."""
    if header is None:
        yield
        return
    with patience(Deadline.after(_seconds(header))):
        yield


def _seconds(text: str) -> float:
    if not _SECONDS.fullmatch(text.strip(" \t")):
        raise BadTimeout(
            f"Send {NAME} as a number of seconds above 0, such as 2.5, or leave it out."
        )
    return float(text)
