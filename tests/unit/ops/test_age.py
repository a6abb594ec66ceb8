"""ops.age: files that other implementations of age read, and that nobody changes unnoticed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyrage
import pytest

from ops import age

PASSPHRASE = "correct horse battery stäple"
VECTORS = Path(__file__).parent / "age_vectors"
SIZES = [0, 1, age.CHUNK - 1, age.CHUNK, age.CHUNK + 1, 2 * age.CHUNK, 200_000]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have scrypt take milliseconds: it is its work that is less, not what it does."""
    monkeypatch.setattr(age, "WORK", 10)


def some(size: int) -> bytes:
    """Return bytes of which no two chunks are alike."""
    return b"".join(each.to_bytes(4, "big") for each in range(size // 4 + 1))[:size]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("size", SIZES)
def test_another_implementation_reads_it(size: int) -> None:
    """So it can be opened without Holdfast; at the ends of chunks, too."""
    file = age.encrypt(some(size), PASSPHRASE)
    assert pyrage.passphrase.decrypt(file, PASSPHRASE) == some(size)
    assert age.decrypt(file, PASSPHRASE) == some(size)


@pytest.mark.parametrize("name", sorted(path.name for path in VECTORS.iterdir()))
def test_it_reads_what_the_format_allows_and_nothing_else(name: str) -> None:
    """Its own examples, sound and not (https://github.com/C2SP/CCTV, age/testdata; CC0)."""
    head, _, file = (VECTORS / name).read_bytes().partition(b"\n\n")
    lines = [line.split(": ", 1) for line in head.decode().splitlines()]
    told = dict(reversed(lines))  # of several passphrases the first
    if told["expect"] == "success":
        content = age.decrypt(file, told["passphrase"])
        assert hashlib.sha256(content).hexdigest() == told["payload"]
    else:
        with pytest.raises(age.AgeError):
            age.decrypt(file, told["passphrase"])


def test_a_guess_costs_a_quarter_of_a_gigabyte() -> None:
    """The header says how much work the key takes, and it takes that."""
    file = age.encrypt(b"content", PASSPHRASE)
    assert file.split(b"\n")[1].split()[3] == b"18"
    assert age.decrypt(file, PASSPHRASE) == b"content"


@pytest.mark.usefixtures("quick")
def test_no_two_files_are_alike() -> None:
    """Neither salt nor key nor nonce is used twice."""
    one, other = (age.encrypt(some(100), PASSPHRASE) for _ in range(2))
    assert one.split(b"\n")[1:4] != other.split(b"\n")[1:4]
    assert one[-100:] != other[-100:]


@pytest.mark.usefixtures("quick")
def test_another_passphrase_is_told_from_damage() -> None:
    """With an error of its own."""
    with pytest.raises(age.OtherPassphraseError, match="the passphrase is another"):
        age.decrypt(age.encrypt(b"content", PASSPHRASE), PASSPHRASE + " ")


@pytest.mark.usefixtures("quick")
def test_a_flipped_bit_is_noticed_wherever_it_is() -> None:
    """In each byte of the file."""
    file = age.encrypt(b"content", PASSPHRASE)
    for at in range(len(file)):
        damaged = bytearray(file)
        damaged[at] ^= 1
        with pytest.raises(age.AgeError):
            age.decrypt(bytes(damaged), PASSPHRASE)


@pytest.mark.usefixtures("quick")
def test_what_is_missing_is_noticed() -> None:
    """Bytes of the end, down to nothing; and more than there was."""
    file = age.encrypt(b"content", PASSPHRASE)
    for size in range(len(file)):
        with pytest.raises(age.AgeError):
            age.decrypt(file[:size], PASSPHRASE)
    with pytest.raises(age.AgeError):
        age.decrypt(file + b"x", PASSPHRASE)


@pytest.mark.usefixtures("quick")
def test_chunks_that_are_missing_or_changed_places_are_noticed() -> None:
    """Each of them is authentic by itself."""
    file = age.encrypt(some(3 * age.CHUNK), PASSPHRASE)
    step = age.CHUNK + age.TAG
    head, chunks = (
        file[: -3 * step],
        [file[len(file) - 3 * step :][at : at + step] for at in range(0, 3 * step, step)],
    )
    assert age.decrypt(head + b"".join(chunks), PASSPHRASE) == some(3 * age.CHUNK)
    one, two, three = chunks
    for wrong in ((one, two), (two, three), (two, one, three), (one, one, two, three), ()):
        with pytest.raises(age.AgeError, match="damaged, or not all of it"):
            age.decrypt(head + b"".join(wrong), PASSPHRASE)


@pytest.mark.usefixtures("quick")
def test_an_empty_chunk_behind_others_is_refused() -> None:
    """The format has one way to write a content; the other implementation sees it so, too."""
    head = age.HEADER.match(age.encrypt(b"", PASSPHRASE))
    assert head is not None
    _, salt, work, wrapped, _ = head.groups()
    stretched = age._stretch(PASSPHRASE, age._decode(salt), int(work))
    key = age._cipher(stretched).decrypt(bytes(12), age._decode(wrapped), None)
    nonce = bytes(age.NONCE)
    cipher, nonces = age._cipher(age._derive(key, nonce, b"payload")), age._nonces(2)
    chunks = [cipher.encrypt(next(nonces), each, None) for each in (some(age.CHUNK), b"")]
    file = head[0] + nonce + b"".join(chunks)
    with pytest.raises(age.AgeError, match="its last part is empty"):
        age.decrypt(file, PASSPHRASE)
    with pytest.raises(pyrage.DecryptError):
        pyrage.passphrase.decrypt(file, PASSPHRASE)


@pytest.mark.usefixtures("quick")
def test_a_file_cannot_ask_for_any_amount_of_work() -> None:
    """It is refused before any is done: 2^40 would be a petabyte."""
    file = age.encrypt(b"content", PASSPHRASE)
    with pytest.raises(age.AgeError, match=r"2\^40 steps"):
        age.decrypt(file.replace(b" 10\n", b" 40\n", 1), PASSPHRASE)
    with pytest.raises(age.AgeError, match="no file that age encrypted"):
        age.decrypt(file.replace(b" 10\n", b" 010\n", 1), PASSPHRASE)
