"""When the stack's certificates end: as the container that renews them has written it down.

The edge's is also asked for: what it shows may be older than what it was given.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ops import cluster, names, settings

if TYPE_CHECKING:
    from pathlib import Path

EDGE_LIMIT = 2.0
"""Seconds for the edge to show its certificate."""

HAS_EXPIRED = 10
"""OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED."""

LATE = 5
"""Renewal is at a third of a life (deploy/tls/make-certificates): below a fifth it has failed."""

UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


@dataclass(frozen=True)
class Certificate:
    """One certificate, of a member or of a CA (`ca-nodes`, `ca-edge`)."""

    name: str
    life: int  # seconds it was made to last
    ends: float  # Unix time

    @property
    def left(self) -> float:
        """Seconds until it ends; below zero once it has."""
        return self.ends - time.time()

    @property
    def late(self) -> bool:
        """Whether it should have been renewed by now."""
        return self.left < self.life / LATE


def read(folder: Path) -> list[Certificate]:
    """Return what is written there, the one that ends first in front; nothing if nothing is."""
    found = []
    with contextlib.suppress(OSError, ValueError):
        for line in (folder / "ends").read_text(encoding="ascii").splitlines():
            name, life, ends = line.split()
            found.append(Certificate(name, int(life), float(ends)))
    return sorted(found, key=lambda one: one.ends)


def now(*, edge: bool) -> list[Certificate]:
    """Return those of this stack, the one that ends first in front; `edge`: it runs."""
    folder = names.secrets(names.ROOT) / "tls"
    found = read(folder)
    shown = _shown_by_edge(folder / "edge" / "ca.crt") if edge else None
    if shown is not None:
        found = [
            replace(one, ends=min(one.ends, shown)) if one.name == cluster.EDGE else one
            for one in found
        ]
    return sorted(found, key=lambda one: one.ends)


def span(seconds: float) -> str:
    """Say how long that is, in the largest unit of which there are two: `41 days`, `90 seconds`."""
    unit, size = next(((unit, size) for unit, size in UNITS if seconds >= 2 * size), UNITS[-1])
    count = max(0, int(seconds // size))
    return f"{count} {unit}{'' if count == 1 else 's'}"


def _shown_by_edge(ca: Path) -> float | None:
    """Return when the certificate ends that the edge shows; None when it shows none."""
    try:
        context = ssl.create_default_context(cafile=str(ca))
        context.check_hostname = False
        address = (settings.published_on(), settings.port("HTTPS_PORT"))
        with (
            socket.create_connection(address, timeout=EDGE_LIMIT) as plain,
            context.wrap_socket(plain) as session,
        ):
            shown = session.getpeercert() or {}
            return float(ssl.cert_time_to_seconds(str(shown["notAfter"])))
    except ssl.SSLCertVerificationError as error:
        return 0.0 if error.verify_code == HAS_EXPIRED else None
    except OSError:
        return None
