"""Files of age (age-encryption.org/v1) that a passphrase opens: `age --decrypt` reads them, too.

The format is public: https://github.com/C2SP/C2SP/blob/main/age.md. scrypt makes a key of the
passphrase, which encrypts the file's own key; the content follows in chunks of 64 KiB, each with
ChaCha20-Poly1305. Salt and work are in the header, which is authenticated as well.

Written here, and not with a library for the whole of it: pyrage chooses the work by measuring the
machine. That is 1 GiB of memory on a fast one, which a smaller one could not open, and next to
nothing on one that is busy in that moment. Tests have it read our files, and us the format's own
examples.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

if TYPE_CHECKING:
    from collections.abc import Iterator

WORK = 18
"""Of scrypt, the logarithm of N, as `age` itself has it: 256 MiB, half a second or a second."""

WORK_MOST = 20
"""What is read: 1 GiB. A file could ask for any amount of memory and time."""

BLOCK_SIZE = 8
"""scrypt's r, which the format fixes; p is 1."""

VERSION = b"age-encryption.org/v1\n"
HEADER = re.compile(
    rb"(age-encryption\.org/v1\n"
    rb"-> scrypt ([A-Za-z0-9+/]{22}) ([1-9][0-9]?)\n"
    rb"([A-Za-z0-9+/]{43})\n"
    rb"---) ([A-Za-z0-9+/]{43})\n"
)
KEY, SALT, NONCE, TAG = 16, 16, 16, 16
"""Bytes of a file's key, of scrypt's salt, of what the content's key is made with, of a tag."""

CHUNK = 65_536


class AgeError(Exception):
    """It cannot be read: the message says why."""


class OtherPassphraseError(AgeError):
    """The passphrase is another one."""


def encrypt(content: bytes, passphrase: str) -> bytes:
    """Return a file that the passphrase opens."""
    key, salt = secrets.token_bytes(KEY), secrets.token_bytes(SALT)
    wrapped = _cipher(_stretch(passphrase, salt, WORK)).encrypt(bytes(12), key, None)
    stanza = b"-> scrypt %s %d\n%s\n" % (_encode(salt), WORK, _encode(wrapped))
    header = VERSION + stanza + b"---"
    nonce = secrets.token_bytes(NONCE)
    cipher = _cipher(_derive(key, nonce, b"payload"))
    chunks = [content[at : at + CHUNK] for at in range(0, len(content), CHUNK)] or [b""]
    sealed = [
        cipher.encrypt(each, chunk, None)
        for each, chunk in zip(_nonces(len(chunks)), chunks, strict=True)
    ]
    return b"%s %s\n%s%s" % (header, _encode(_mac(key, header)), nonce, b"".join(sealed))


def decrypt(file: bytes, passphrase: str) -> bytes:
    """Return what is in a file; all of it is authentic, or AgeError is raised."""
    parts = HEADER.match(file)
    if parts is None:
        raise AgeError("it is no file that age encrypted with a passphrase, or its head is damaged")
    header, salt, work, wrapped, told = parts.groups()
    if int(work) > WORK_MOST:
        raise AgeError(f"its key takes 2^{int(work)} steps of scrypt; at most 2^{WORK_MOST} here")
    try:
        stretched = _stretch(passphrase, _decode(salt), int(work))
        key = _cipher(stretched).decrypt(bytes(12), _decode(wrapped), None)
    except InvalidTag:
        raise OtherPassphraseError(
            "the passphrase is another, or the file's head is damaged"
        ) from None
    if not hmac.compare_digest(_encode(_mac(key, header)), told):
        raise AgeError("its head is damaged")
    nonce, body = file[parts.end() :][:NONCE], file[parts.end() + NONCE :]
    cipher = _cipher(_derive(key, nonce, b"payload"))
    chunks = [body[at : at + CHUNK + TAG] for at in range(0, len(body), CHUNK + TAG)] or [b""]
    if len(chunks) > 1 and len(chunks[-1]) == TAG:
        raise AgeError("it is damaged: its last part is empty")
    try:
        return b"".join(
            cipher.decrypt(each, chunk, None)
            for each, chunk in zip(_nonces(len(chunks)), chunks, strict=True)
        )
    except InvalidTag:
        raise AgeError("it is damaged, or not all of it is there") from None


def _stretch(passphrase: str, salt: bytes, work: int) -> bytes:
    return hashlib.scrypt(
        passphrase.encode(),
        salt=b"age-encryption.org/v1/scrypt" + salt,
        n=2**work,
        r=BLOCK_SIZE,
        p=1,
        maxmem=128 * BLOCK_SIZE * (2**work + 64),
        dklen=32,
    )


def _derive(key: bytes, salt: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), length=32, salt=salt, info=purpose).derive(key)


def _mac(key: bytes, header: bytes) -> bytes:
    return hmac.digest(_derive(key, b"", b"header"), header, "sha256")


def _cipher(key: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(key)


def _nonces(count: int) -> Iterator[bytes]:
    """Return a nonce for each chunk: its number, and whether it is the last."""
    return (each.to_bytes(11, "big") + bytes([each == count - 1]) for each in range(count))


def _encode(value: bytes) -> bytes:
    return b64encode(value).rstrip(b"=")


def _decode(text: bytes) -> bytes:
    value = b64decode(text + b"=" * (-len(text) % 4))
    if _encode(value) != text:  # the format has one way to write it
        raise AgeError("its head is damaged")
    return value
