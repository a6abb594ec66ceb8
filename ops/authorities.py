"""Certificates of somebody else's CA: of a private S3, of whoever is told of alerts."""

from __future__ import annotations

from pathlib import Path

from ops.console import StackError

PEM = "-----BEGIN CERTIFICATE-----"


def read(variable: str, path: str) -> str:
    """Return what is in the file that a variable names, nothing where it is empty.

    Raises StackError where that is no certificate.
    """
    if not path:
        return ""
    try:
        text = Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeError) as error:
        raise StackError(f"{variable} is '{path}', which cannot be read: {error}") from None
    if PEM not in text:
        raise StackError(f"{variable} is '{path}'; it must be a file of certificates in PEM")
    return text
