"""deploy/postgres/bin/pgbackrest.sh: where the repository is, and how it is encrypted."""

from __future__ import annotations

import pytest

from tests.unit.shells import DEPLOY, Node

SOURCE = """
source "$HOME/bin/pgbackrest.sh"
secret() { cat "$HOME/mounted/$1"; }
log() { echo "$@" >&2; }
"""
S3 = {
    "BACKUP_S3_BUCKET": "backups",
    "BACKUP_S3_ENDPOINT": "minio:9000",
    "BACKUP_S3_REGION": "eu-central-1",
    "BACKUP_S3_KEY": "AKIA",
    "BACKUP_S3_PATH": "/second-holdfast",
}
ENVIRONMENT = "".join(f"{name}={value}\n" for name, value in S3.items())
ENCRYPTED = {"repo1-cipher-type=aes-256-cbc", "repo1-cipher-pass=of the backups"}


@pytest.fixture
def repository(node: Node) -> Node:
    """A container that has its secrets, those of S3 included."""
    node.mount("backup_cipher", "of the backups")
    node.mount("backup_s3_secret", "a/b+c==")
    node.mount("backup_s3_ca", "")
    return node


@pytest.mark.parametrize(
    ("processors", "processes"), [(1, "1"), (2, "1"), (3, "2"), (4, "2"), (64, "4")]
)
def test_a_backup_leaves_processors_to_the_load(
    repository: Node, processors: int, processes: str
) -> None:
    """With all of two the load's median was 0.8 s while it was taken."""
    there = (
        f"PGBACKREST_CONFIG=$HOME/config tls=; mkdir() {{ :; }}; nproc() {{ echo {processors}; }}"
    )
    config = f'{SOURCE} {there}; write_config; cat "$PGBACKREST_CONFIG"'
    assert f"process-max={processes}" in repository.run(config).splitlines()


def test_without_a_bucket_it_is_in_the_volume(repository: Node) -> None:
    """Encrypted, and with no word of S3."""
    lines = repository.run(f"{SOURCE} repository_options").splitlines()
    assert set(lines) == ENCRYPTED | {"repo1-path=/var/lib/pgbackrest"}


@pytest.mark.parametrize("ca", [False, True])
def test_with_a_bucket_it_is_there(repository: Node, *, ca: bool) -> None:
    """Encrypted all the same; a CA of its own only where there is one."""
    if ca:
        repository.mount("backup_s3_ca", "-----BEGIN CERTIFICATE-----\n")
    lines = repository.run(f"{SOURCE} {ENVIRONMENT} repository_options").splitlines()
    assert set(lines) == ENCRYPTED | {
        "repo1-type=s3",
        "repo1-path=/second-holdfast",
        "repo1-s3-bucket=backups",
        "repo1-s3-endpoint=minio:9000",
        "repo1-s3-region=eu-central-1",
        "repo1-s3-key=AKIA",
        "repo1-s3-key-secret=a/b+c==",
        "repo1-s3-uri-style=path",
        *(["repo1-storage-ca-file=/run/secrets/backup_s3_ca"] if ca else []),
    }


@pytest.mark.parametrize("missing", ["backup_cipher", "backup_s3_secret"])
def test_a_secret_that_is_empty_is_no_repository(repository: Node, missing: str) -> None:
    """It would be one in plain, or one that nobody may write."""
    repository.mount(missing, "")
    script = 'options=$(repository_options 2>&1) && echo made || echo "$options"'
    assert f"nothing is in the secret {missing}" in repository.run(
        f"{SOURCE} {ENVIRONMENT} {script}"
    )


@pytest.mark.parametrize("missing", [name for name in S3 if name != "BACKUP_S3_BUCKET"])
def test_half_a_bucket_is_no_repository(repository: Node, missing: str) -> None:
    """Whoever starts containers by hand is told what is not set."""
    script = f"unset {missing}; (repository_options) 2>&1 >/dev/null && echo made || true"
    said = repository.run(f"{SOURCE} {ENVIRONMENT} {script}")
    assert missing in said
    assert "made" not in said


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("entrypoint-repository", "options=$(repository_options)"),
        ("entrypoint-scratch", "restore_data "),
        ("entrypoint-replace", "restore_data "),
    ],
)
def test_it_is_said_in_one_place(name: str, how: str) -> None:
    """The one that writes and those that restore have the same repository."""
    text = (DEPLOY / "postgres" / "bin" / name).read_text()
    assert how in text
    assert not {"repo1-path", "repo1-type", "repo1-cipher"} & set(text.replace("=", " ").split())


def test_it_listens_where_it_is_told(repository: Node) -> None:
    """On one address where it has two networks, else on all."""
    script = (
        f"{SOURCE} PGBACKREST_CONFIG=$HOME/conf; mkdir() {{ :; }}; write_config; cat $HOME/conf"
    )
    assert "tls-server-address=*" in repository.run(script).splitlines()
    told = repository.run(f"LISTEN_ADDRESS=172.30.1.50\n{script}").splitlines()
    assert "tls-server-address=172.30.1.50" in told
