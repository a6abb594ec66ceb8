"""`Request-Timeout`: a client that will not wait as long as the service would hold its request."""

import math
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Header

from service.database.deadline import Deadline
from service.database.unit import patience
from service.errors import BadTimeout

NAME = "Request-Timeout"


async def request_timeout(
    header: Annotated[
        str | None,
        Header(
            alias=NAME,
            description="Seconds after which the client wants an answer, such as `2.5`, be it 503. "
            "It can only shorten the service's own deadline.",
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
    try:
        seconds = float(text) if text.isascii() else math.nan
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise BadTimeout(
            f"Send {NAME} as a number of seconds above 0, such as 2.5, or leave it out."
        )
    return seconds
