"""`Prefer` (RFC 7240): what a client would rather have. What is not known or allowed is ignored.

`consistency-cookie`: this write's token also as a cookie (service/api/consistency.py).
`durability=local`: a write's answer need not wait until a standby has it.
"""

import re

from fastapi import Request, Response

from service.api.fields import sent, tell

COOKIE = "consistency-cookie"
LOCAL = "durability=local"
# RFC 7240, 2: preferences by commas, each perhaps with a value, in quotes or not, and parameters.
_PREFERENCE = re.compile(r'\s*([^\s=;,"]+)(?:\s*=\s*("?)([^\s;,"]*)\2)?\s*(?:;.*)?', re.DOTALL)


def prefers(request: Request, preference: str) -> bool:
    """Tell whether a request has a preference: `name`, or `name=value`."""
    fields = sent(request, b"prefer")
    if not fields:  # as nearly always
        return False
    each = b",".join(fields).decode("latin-1").split(",")
    return preference in map(_canonical, each)


def _canonical(text: str) -> str:
    """Return a preference without spaces, quotes and parameters; names and values in lower case."""
    found = _PREFERENCE.fullmatch(text)
    if found is None:
        return ""
    name, _, value = found.groups()
    return (f"{name}={value}" if value else name).lower()


def applied(response: Response, *preferences: str) -> None:
    """Tell which preferences were followed."""
    tell(response, b"preference-applied", ", ".join(preferences))
