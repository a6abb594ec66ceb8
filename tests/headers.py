"""The headers of responses: which of them pages can read, and which are nothing to them.

Every response that a test of the service gets is held against these, so that a header which is new
is either in the list for CORS or named here as none of a page's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.app import TOLD

if TYPE_CHECKING:
    import httpx

# Readable without being exposed (Fetch, CORS-safelisted response-header name).
SAFELISTED = frozenset(
    {
        "cache-control",
        "content-language",
        "content-length",
        "content-type",
        "expires",
        "last-modified",
        "pragma",
    }
)
# Of the connection, of the browser itself, and of the documentation's assets.
NOT_FOR_PAGES = frozenset(
    {
        "accept-ranges",
        "access-control-allow-credentials",
        "access-control-allow-headers",
        "access-control-allow-methods",
        "access-control-allow-origin",
        "access-control-expose-headers",
        "access-control-max-age",
        "connection",
        "date",
        "set-cookie",
        "transfer-encoding",
        "vary",
    }
)
KNOWN = SAFELISTED | NOT_FOR_PAGES | {name.lower() for name in TOLD}


async def only_known(response: httpx.Response) -> None:
    """Assert that pages can read all that is meant for them: a hook for httpx's clients."""
    unknown = set(response.headers) - KNOWN
    assert not unknown, f"neither in TOLD (service/app.py) nor in {__file__}: {unknown}"
