"""Email addresses. What is plain is told by its looks; everything else is the library's to judge.

The library takes as long for one address as the database for its row, nearly all of it for the
domain, of which there are few.
"""

import re
from functools import lru_cache

from pydantic import ValidatorFunctionWrapHandler
from pydantic.networks import validate_email
from pydantic_core import PydanticCustomError

# RFC 5322, dot-atom, without what is seldom used; 64 octets at most (RFC 5321, 4.5.3.1.1).
_LOCAL = re.compile(r"(?=.{1,64}\Z)[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*")
_DOMAIN = re.compile(r"[A-Za-z0-9.-]{1,190}")  # with any local part less than an address may have
_DOMAINS = 4096  # remembered


def plain(value: object, judge: ValidatorFunctionWrapHandler) -> object:
    """Return an address as it is stored, for pydantic's WrapValidator around EmailStr."""
    if isinstance(value, str):
        local, _, domain = value.partition("@")
        if _LOCAL.fullmatch(local) and _DOMAIN.fullmatch(domain) and (known := _domain(domain)):
            return f"{local}@{known}"
    return judge(value)


@lru_cache(maxsize=_DOMAINS)
def _domain(domain: str) -> str:
    """Return a domain as the library writes it; nothing if it is none."""
    try:
        return validate_email(f"a@{domain}")[1].partition("@")[2]
    except PydanticCustomError:
        return ""
