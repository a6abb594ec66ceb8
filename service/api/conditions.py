"""Entity tags (RFC 9110, 8.8.3): which version of a resource a client has in mind.

A resource's strong tag is its version in double quotes.
"""

from typing import Any

_ETAG = {
    "description": 'The version, as a strong entity tag such as `"3"`',
    "schema": {"type": "string"},
}


def etag(version: int) -> str:
    """Return the entity tag of a version."""
    return f'"{version}"'


def tagged(status: int) -> dict[int | str, dict[str, Any]]:
    """Describe an answer that has an entity tag, for `responses=`."""
    return {status: {"headers": {"ETag": _ETAG}}}
