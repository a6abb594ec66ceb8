"""Who may use the console: whoever has its link, from a page of its own.

Everything on this machine reaches loopback: other users, and every page that a browser here shows.
So nothing is answered without the token of the link, which is kept in a cookie, and nothing is done
without a second word, which the page keeps to itself. A cookie goes to every port of a host, so
another user's server may get to see it: who has seen it can look, and do nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ADDRESS = "127.0.0.1"
PORT = 8405

LIFE = 86400.0
"""Seconds that a link is good: an open page goes on after the console was started again."""

BYTES = 16
"""Of randomness."""

OWN = {"same-origin", "none"}
"""Sec-Fetch-Site of the page's own requests, and of an address that a person has opened."""


@dataclass(frozen=True)
class Keys:
    """The link's two words: `act` is kept by the page, `look` follows from it, not the reverse."""

    act: str

    @property
    def look(self) -> str:
        """The token that everything needs."""
        digest = hashlib.sha256(f"look {self.act}".encode()).hexdigest()
        return digest[: 2 * BYTES]

    def link(self, port: int) -> str:
        """Return what to open. What follows `#` is sent to nobody."""
        return f"http://{ADDRESS}:{port}/?token={self.look}#{self.act}"


def kept(file: Path) -> Keys:
    """Return the keys of a file that only its owner can read; make new ones once a day."""
    try:
        fresh = time.time() - file.stat().st_mtime < LIFE
        own = file.stat().st_uid == os.geteuid() and not file.stat().st_mode & 0o077
        if fresh and own and (word := file.read_text(encoding="ascii").strip()):
            return Keys(word)
    except (OSError, ValueError):
        pass
    keys = Keys(secrets.token_urlsafe(BYTES))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as output:
        output.write(keys.act + "\n")
    return keys


@dataclass(frozen=True)
class Guard:
    """Says of each request why it is refused; nothing when it is not."""

    keys: Keys
    port: int

    @property
    def cookie(self) -> str:
        """The cookie's name: of this port alone, as cookies do not tell ports apart."""
        return f"holdfast-console-{self.port}"

    @property
    def hosts(self) -> set[str]:
        """What this console is called by those who mean it."""
        return {f"{name}:{self.port}" for name in (ADDRESS, "localhost")}

    def refuses(self, headers: Mapping[str, str], token: str) -> str:
        """Judge a request; `token` is the one of its address, if there is one."""
        if headers.get("Host") not in self.hosts:
            return "This console is asked by another name than its own."  # DNS rebinding
        if token:
            return "" if _same(token, self.keys.look) else "The link is not good any more."
        if (headers.get("Sec-Fetch-Site") or "none") not in OWN:
            return "Another site asks."
        if not _same(self._shown(headers.get("Cookie") or ""), self.keys.look):
            return "Open the link that `./holdfast console` prints."
        return ""

    def refuses_to_act(self, headers: Mapping[str, str]) -> str:
        """Judge a request to do something, beside `refuses`."""
        origins = {f"http://{host}" for host in self.hosts}
        if headers.get("Origin") not in origins:
            return "Another site asks."  # CSRF
        if headers.get("Content-Type") != "application/json":
            return "The request is not JSON."
        if not _same(headers.get("X-Console-Key") or "", self.keys.act):
            return "Open the link that `./holdfast console` prints: this page can only look."
        return ""

    def _shown(self, cookies: str) -> str:
        for each in cookies.split(";"):
            name, _, value = each.strip().partition("=")
            if name == self.cookie:
                return value
        return ""


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
