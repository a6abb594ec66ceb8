"""ops.s3: a bucket is named in full or not at all, and its secret is a file."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from ops import authorities, s3, settings
from ops.console import StackError
from ops.secret_files import S3_CA, S3_FILES, S3_SECRET, SecretFiles

if TYPE_CHECKING:
    from pathlib import Path

SAID = {
    "BACKUP_S3_BUCKET": "backups.example.org",
    "BACKUP_S3_ENDPOINT": "s3.eu-central-1.amazonaws.com",
    "BACKUP_S3_REGION": "eu-central-1",
    "BACKUP_S3_KEY": "AKIAIOSFODNN7EXAMPLE",
    "BACKUP_S3_SECRET": "wJalrXUtnFEMI/K7MDENG+bPxRfiCY==",
}
CERTIFICATE = f"{authorities.PEM}\nMII\n-----END CERTIFICATE-----\n"


@pytest.fixture
def files(tmp_path: Path) -> SecretFiles:
    """Secrets as the first `make up` makes them."""
    files = SecretFiles(tmp_path / "secrets")
    files.make()
    for ca in ("nodes", "edge"):
        (files.certificates / ca).mkdir()
    return files


def test_all_of_it_or_nothing(files: SecretFiles) -> None:
    """Both are fine."""
    s3.check(SAID, files)
    s3.check({}, files)
    s3.check(dict.fromkeys(SAID, ""), files)


@pytest.mark.parametrize("missing", SAID)
def test_what_is_missing_is_said(missing: str, files: SecretFiles) -> None:
    """By its name; one that is empty is missing, too."""
    for said in ({**SAID, missing: ""}, {name: SAID[name] for name in SAID if name != missing}):
        with pytest.raises(
            StackError, match=rf"needs {missing}, too\. With none of .* in a volume"
        ):
            s3.check(said, files)


def test_a_ca_alone_is_no_bucket(files: SecretFiles) -> None:
    """Everything else is missing."""
    with pytest.raises(StackError, match="needs BACKUP_S3_BUCKET and BACKUP_S3_ENDPOINT and"):
        s3.check({s3.CA: "/ca.crt"}, files)


@pytest.mark.parametrize(
    ("name", "value", "fits"),
    [
        *(("BACKUP_S3_ENDPOINT", value, True) for value in ("minio", "minio:9000", "10.0.0.7:443")),
        *(
            ("BACKUP_S3_ENDPOINT", value, False)
            for value in ("https://minio", "minio/", "minio:", "minio:x", "a b", "-a", "a\nb", "é")
        ),
        *(("BACKUP_S3_BUCKET", value, True) for value in ("abc", "a.b-c")),
        *(("BACKUP_S3_BUCKET", value, False) for value in ("ab", "Abc", "a_b", "a/b", "s3://abc")),
        *(("BACKUP_S3_REGION", value, False) for value in ("eu central", "eu\nrepo1-type=posix")),
        *(("BACKUP_S3_KEY", value, False) for value in ("a b", "a\nb", "'a'")),
        ("BACKUP_S3_SECRET", "a\nb", False),
    ],
)
def test_what_cannot_be_is_refused(
    name: str, value: str, files: SecretFiles, *, fits: bool
) -> None:
    """By its name: it would be a line of pgBackRest's configuration."""
    expected = nullcontext() if fits else pytest.raises(StackError, match=f"{name} (is|has)")
    with expected:
        s3.check({**SAID, name: value}, files)


def test_the_secret_is_kept_in_a_file_alone(files: SecretFiles, tmp_path: Path) -> None:
    """The next `make up` finds it there; the rest is with the settings."""
    settings.keep(tmp_path, SAID)
    s3.keep(SAID, files)
    kept = settings.read(tmp_path)
    assert kept == {name: SAID[name] for name in s3.SETTINGS}
    assert SAID[s3.SECRET] not in settings.file(tmp_path).read_text()
    assert files.read(S3_SECRET) == SAID[s3.SECRET]
    s3.check(kept, files)
    s3.keep(kept, files)
    assert files.read(S3_SECRET) == SAID[s3.SECRET]


def test_back_to_a_volume(files: SecretFiles, tmp_path: Path) -> None:
    """With all of it empty nothing is left of it."""
    settings.keep(tmp_path, SAID)
    s3.keep(SAID, files)
    none = settings.read(tmp_path) | dict.fromkeys(s3.SETTINGS, "")
    s3.check(none, files)
    settings.keep(tmp_path, none)
    s3.keep(none, files)
    assert settings.read(tmp_path) == {}
    assert [files.read(name) for name in S3_FILES] == ["", ""]


def test_a_ca_is_copied(files: SecretFiles, tmp_path: Path) -> None:
    """It stays until another one is said, or none."""
    ca = tmp_path / "ca.crt"
    ca.write_text(CERTIFICATE)
    s3.check({**SAID, s3.CA: str(ca)}, files)
    s3.keep({**SAID, s3.CA: str(ca)}, files)
    ca.unlink()
    s3.keep(SAID, files)
    assert files.read(S3_CA) == CERTIFICATE
    s3.keep({**SAID, s3.CA: ""}, files)
    assert files.read(S3_CA) == ""


@pytest.mark.parametrize(("content", "says"), [(None, "cannot be read"), ("key", "PEM")])
def test_a_ca_is_a_certificate(
    content: str | None, says: str, files: SecretFiles, tmp_path: Path
) -> None:
    """Before anything is started."""
    ca = tmp_path / "ca.crt"
    if content is not None:
        ca.write_text(content)
    with pytest.raises(StackError, match=f"BACKUP_S3_CA is .*{says}"):
        s3.check({**SAID, s3.CA: str(ca)}, files)


def test_another_secret_is_another_file(files: SecretFiles) -> None:
    """So the repository's container is made anew, and no other."""
    before, of_s3 = files.digest(), files.digest(S3_FILES)
    s3.keep(SAID, files)
    after = files.digest(S3_FILES)
    assert after != of_s3
    s3.keep(SAID, files)
    assert (files.digest(), files.digest(S3_FILES)) == (before, after)


def test_it_is_meant_where_there_are_backups() -> None:
    """A bucket alone makes no repository."""
    assert s3.is_meant({**SAID, "BACKUP": "yes"})
    assert not s3.is_meant({**SAID, "BACKUP": "no"})
    assert s3.is_meant(SAID)  # there are, where nothing is said
    assert not s3.is_meant({"BACKUP": "yes", "BACKUP_S3_BUCKET": ""})
