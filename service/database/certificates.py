"""When the certificates end by which a session's server was verified."""

import ssl
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def ends(sslobject: ssl.SSLObject | None, *, own_ca: bool) -> Iterator[tuple[str, float]]:
    """Give common names, and Unix times in seconds.

    Of the server's, and with `own_ca` of the CAs' that are trusted; none where nobody verified.
    """
    shown = sslobject.getpeercert() if sslobject else None
    if sslobject is None or not shown:
        return
    trusted: Iterable[Mapping[str, Any]] = sslobject.context.get_ca_certs() if own_ca else ()
    for certificate in (shown, *trusted):
        names = [value for ((key, value),) in certificate["subject"] if key == "commonName"]
        yield ",".join(names), float(ssl.cert_time_to_seconds(str(certificate["notAfter"])))
