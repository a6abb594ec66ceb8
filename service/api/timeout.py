"""`Request-Timeout`: a client that will not wait as long as the service would hold its request."""

import re
from typing import Annotated

from fastapi import Header

from service.database.deadline import Deadline
from service.database.unit import current_caller
from service.errors import BadTimeout

NAME = "Request-Timeout"
DIGITS_MOST = 30  # before and after the point: more than any program prints
_MORE = f"[0-9]{{0,{DIGITS_MOST - 1}}}"
_ZEROS = f"0{{0,{DIGITS_MOST - 1}}}"
# A plain decimal above 0: its first digit that is no zero is before the point, or after it.
PATTERN = rf"^({_ZEROS}[1-9]{_MORE}(\.[0-9]{_MORE})?|0{_ZEROS}\.{_ZEROS}[1-9]{_MORE})$"
_SECONDS = re.compile(PATTERN)


async def request_timeout(
    header: Annotated[
        str | None,
        Header(
            alias=NAME,
            description="Seconds after which the client wants an answer, such as `2.5`, be it 503. "
            "It can only shorten the service's own deadline.",
            json_schema_extra={"pattern": PATTERN},
        ),
    ] = None,
) -> None:
    """Bound the units of work of this request. Raises BadTimeout."""
    if header is not None:
        current_caller().patience = Deadline.after(parse(header))


def parse(text: str) -> float:
    """Return the seconds in a header. Raises BadTimeout."""
    if not _SECONDS.fullmatch(text.strip(" \t")):
        raise BadTimeout(
            f"Send {NAME} as a number of seconds above 0, such as 2.5, or leave it out."
        )
    return float(text)
