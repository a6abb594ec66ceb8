"""An export of secrets: all of it comes back, to the byte, and nothing else ever happens."""

from __future__ import annotations

import fcntl
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pyrage
import pytest

from ops import age, names, ownership, passphrase, secret_export, secret_import, settings, tokens
from ops.cli.main import app
from ops.cli.secrets import secrets as verbs
from ops.console import StackError
from ops.secret_files import ALERT_FILES, AUTHORITIES, CIPHER, READERS, SecretFiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PASSPHRASE = "five random words, or so"
KEPT = """# of ours
ACCESS=all
BACKUP=yes
HTTP_PORT=80
BIND_ADDRESS=10.1.2.3
EDGE_SUBNET=10.9.0.0/24
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have scrypt take milliseconds, and no answers from the environment."""
    monkeypatch.setattr(age, "WORK", 10)
    for name in ("YES", "NAME", passphrase.VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout that has been up."""
    return checkout(tmp_path / "root")


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A fresh clone."""
    (tmp_path / "empty" / names.COMPOSE).mkdir(parents=True)
    return tmp_path / "empty"


@pytest.fixture
def file(root: Path, tmp_path: Path) -> Path:
    """An export of it."""
    path = tmp_path / "elsewhere" / "stack.age"
    path.parent.mkdir()
    secret_export.write(secret_export.collect(root), path, PASSPHRASE)
    return path


def checkout(root: Path) -> Path:
    """Make what `make up` makes; names of the CAs' files stand for what is in them."""
    names.home(root).mkdir(parents=True)
    files = SecretFiles(names.secrets(root))
    files.make()
    for path in (files.folder / name for name in AUTHORITIES):
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"the {path.parent.name} {path.name}\n")
    (files.certificates / "postgres1").mkdir()
    (files.certificates / "postgres1" / "tls.pem").write_text("made anew with the CA")
    (files.folder / ownership.FILE).write_text("of this checkout")
    tokens.add(files.folder / tokens.PATH, "ci", ["write"])
    settings.file(root).write_text(KEPT)
    return root


def bytes_of(folder: Path) -> dict[str, bytes | None]:
    """Return what is in a folder, everywhere below it; None: a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def bring(file: Path, root: Path, word: str = PASSPHRASE) -> None:
    """Import."""
    secret_import.put(secret_export.read(file, word), root)


def test_every_byte_comes_back(root: Path, empty: Path, file: Path) -> None:
    """All that cannot be made again; and `make up` keeps it."""
    bring(file, empty)
    for made in (False, True):
        if made:
            SecretFiles(names.secrets(empty)).make()
        for name in secret_export.CONTENTS:
            there = names.secrets(empty) / name
            assert there.read_bytes() == (names.secrets(root) / name).read_bytes(), name


def test_what_is_of_the_checkout_stays_there(empty: Path, file: Path) -> None:
    """Whose a stack is on an engine, and certificates: both are made by `make up`."""
    bring(file, empty)
    folder = names.secrets(empty)
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert there == set(secret_export.CONTENTS)
    assert ownership.FILE not in there
    assert sorted(path.name for path in folder.parent.iterdir()) == [".env", "secrets"]


def test_nobody_else_reads_what_was_imported(empty: Path, file: Path) -> None:
    """Whatever the umask; a CA's certificate is for everybody who gets into the folder."""
    before = os.umask(0)
    try:
        bring(file, empty)
    finally:
        os.umask(before)
    folder = names.secrets(empty)
    public = {"ca.crt", "nodes", "edge"}
    for path in (folder, *folder.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        wanted = (0o755, 0o644) if path.name in public else (0o700, 0o600)
        assert mode == wanted[path.is_file()], path
    if os.geteuid() == 0:
        SecretFiles(folder).make()
        assert (folder / "db_password").stat().st_gid == READERS


def test_a_strict_umask_keeps_no_container_out(empty: Path, file: Path) -> None:
    """One of a user who is not root reads the CA's certificate as anybody."""
    before = os.umask(0o077)
    try:
        bring(file, empty)
    finally:
        os.umask(before)
    path = names.secrets(empty) / "tls" / "nodes" / "ca.crt"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755


def test_an_export_is_ours_alone_and_has_nothing_in_plain(root: Path, file: Path) -> None:
    """Also where it replaces one that others could read."""
    file.chmod(0o644)
    before = os.umask(0)
    try:
        secret_export.write(secret_export.collect(root), file, PASSPHRASE)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]
    written = file.read_bytes()
    for name in secret_export.CONTENTS:
        text = (names.secrets(root) / name).read_bytes().strip()
        assert not text or text not in written  # without S3 its files are empty
        assert name.encode() not in written


def test_it_can_be_opened_without_holdfast(root: Path, file: Path, tmp_path: Path) -> None:
    """By age and tar; docs/backup.md says how."""
    there = tmp_path / "by-hand"
    there.mkdir()
    plain = pyrage.passphrase.decrypt(file.read_bytes(), PASSPHRASE)
    subprocess.run(["tar", "-xC", there], input=plain, check=True, timeout=20)
    for name in secret_export.CONTENTS:
        assert (there / "secrets" / name).read_bytes() == (names.secrets(root) / name).read_bytes()
    assert (there / ".env").read_text() == KEPT


def test_settings_come_along_but_for_those_of_the_machine(empty: Path, file: Path) -> None:
    """Another one may have no such address, and other stacks on these ports and subnets."""
    bring(file, empty)
    assert settings.read(empty) == {"ACCESS": "all", "BACKUP": "yes"}
    assert secret_export.read(file, PASSPHRASE).settings_there == {
        "HTTP_PORT": "80", "BIND_ADDRESS": "10.1.2.3", "EDGE_SUBNET": "10.9.0.0/24",
    }  # fmt: skip


def test_settings_that_are_kept_here_stay(empty: Path, file: Path) -> None:
    """So do other lines of the file, and who may read it."""
    settings.file(empty).write_text("# mine\nACCESS=writes\nHTTP_PORT=8088\n")
    settings.file(empty).chmod(0o640)
    bring(file, empty)
    text = settings.file(empty).read_text()
    assert text == "# mine\nACCESS=writes\nHTTP_PORT=8088\nBACKUP=yes\n"
    assert stat.S_IMODE(settings.file(empty).stat().st_mode) == 0o640


@pytest.mark.parametrize("of_the_machine", [False, True])
def test_a_stack_without_settings_has_none_afterwards(
    root: Path, empty: Path, tmp_path: Path, *, of_the_machine: bool
) -> None:
    """No empty file either, where there were those of the machine alone."""
    if of_the_machine:
        settings.file(root).write_text("HTTP_PORT=80\n")
    else:
        settings.file(root).unlink()
    secret_export.write(secret_export.collect(root), tmp_path / "x", PASSPHRASE)
    bring(tmp_path / "x", empty)
    assert not settings.file(empty).exists()
    assert names.secrets(empty).is_dir()


def test_another_stack_has_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NAME says which is meant, on both sides."""
    monkeypatch.setenv("NAME", "second")
    root, other = checkout(tmp_path / "root"), tmp_path / "other"
    secret_export.write(secret_export.collect(root), tmp_path / "x", PASSPHRASE)
    bring(tmp_path / "x", other)
    there = other / names.COMPOSE / "stacks" / "second" / "secrets" / CIPHER
    assert there.read_bytes() == (names.secrets(root) / CIPHER).read_bytes()


# ---------------------------------------------------------------------- what is refused


def archive(*members: tuple[str, bytes], link: str = "") -> bytes:
    """Return a tar archive of these, and of a link to somewhere."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as made:
        for name, found in members:
            member = tarfile.TarInfo(name)
            member.size = len(found)
            made.addfile(member, io.BytesIO(found))
        if link:
            member = tarfile.TarInfo(link)
            member.type, member.linkname = tarfile.SYMTYPE, "/etc"
            made.addfile(member)
    return packed.getvalue()


def sealed(packed: bytes) -> bytes:
    """Return an export's outside around anything."""
    return age.encrypt(packed, PASSPHRASE)


def whole(number: int = secret_export.FORMAT, other: str = "") -> list[tuple[str, bytes]]:
    """Return members of an export, and another one."""
    about = json.dumps({"format": number, "stack": "holdfast", "made": "now"}).encode()
    names_there = [f"secrets/{name}" for name in secret_export.CONTENTS]
    members = {secret_export.ABOUT: about, **dict.fromkeys(names_there, b"x")}
    return [*members.items(), *([(other, b"x")] if other else [])]


LATER = secret_export.FORMAT + 1

WRONG: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "no file that age"),
    "a text": (lambda _: b"no export\n" * 100, "no file that age"),
    "cut in its head": (lambda good: good[:60], "no file that age"),
    "cut": (lambda good: good[:-1], "damaged, or not all of it"),
    "longer": (lambda good: good + b"\n", "damaged, or not all of it"),
    "damaged at its end": (lambda good: good[:-1] + bytes([good[-1] ^ 1]), "damaged"),
    "damaged in its salt": (
        lambda good: good[:32] + bytes([good[32] ^ 1]) + good[33:],
        "was not opened",
    ),
    "no archive": (lambda _: sealed(b"no archive" * 1000), "no export of Holdfast"),
    "an empty archive": (lambda _: sealed(archive()), "no export of Holdfast"),
    "another's": (lambda _: sealed(archive(("a", b"b"))), "no export of Holdfast"),
    "a later format": (
        lambda _: sealed(archive(*whole(secret_export.FORMAT + 1))),
        "no export of Holdfast",
    ),
    "one secret less": (lambda _: sealed(archive(*whole()[:-1])), "no export of Holdfast"),
    "a path upwards": (
        lambda _: sealed(archive(*whole(other="../../escaped"))),
        "no export of Holdfast",
    ),
    "an absolute path": (
        lambda _: sealed(archive(*whole(other="/tmp/escaped"))),  # noqa: S108
        "no export of Holdfast",
    ),
    "a link": (lambda _: sealed(archive(*whole(), link="secrets/tls")), "no export of Holdfast"),
    "a name twice": (
        lambda _: sealed(archive(*whole(), ("secrets/db_password", b"y"))),
        "no export of Holdfast",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_sound_export_changes_nothing(
    what: str, empty: Path, file: Path, tmp_path: Path
) -> None:
    """And says what it is."""
    change, words = WRONG[what]
    file.write_bytes(change(file.read_bytes()))
    before = bytes_of(tmp_path)
    with pytest.raises(StackError, match=words):
        bring(file, empty)
    assert bytes_of(tmp_path) == before


def test_the_archive_of_these_tests_is_one(empty: Path, file: Path) -> None:
    """Else what is refused above would be for another reason."""
    file.write_bytes(sealed(archive(*whole())))
    bring(file, empty)
    assert (names.secrets(empty) / CIPHER).read_bytes() == b"x"


def test_another_passphrase_changes_nothing(empty: Path, file: Path, tmp_path: Path) -> None:
    """It says that it may be that."""
    before = bytes_of(tmp_path)
    with pytest.raises(StackError, match="nothing is changed: the passphrase is another"):
        bring(file, empty, PASSPHRASE.upper())
    assert bytes_of(tmp_path) == before


def test_a_huge_file_is_not_read(empty: Path, tmp_path: Path) -> None:
    """Nor one that is none."""
    with (tmp_path / "huge").open("wb") as output:
        output.truncate(secret_export.BIGGEST + 1)
    for name, words in (("huge", "bigger than 16 MiB"), ("none", "there is no file")):
        with pytest.raises(StackError, match=words):
            bring(tmp_path / name, empty)


@pytest.mark.parametrize("there", ["db_password", "stack_id", "anything"])
def test_secrets_that_are_here_stay(there: str, empty: Path, file: Path) -> None:
    """A stack may need them: one of them is enough. It says how to go on."""
    names.secrets(empty).mkdir()
    (names.secrets(empty) / there).write_text("in use")
    before = bytes_of(empty)
    with pytest.raises(StackError, match=r"has secrets already.*`make clean`, then import"):
        bring(file, empty)
    assert bytes_of(empty) == before


def test_after_clean_there_is_room(root: Path, file: Path) -> None:
    """It leaves the folder."""
    wanted = (names.secrets(root) / CIPHER).read_bytes()
    SecretFiles(names.secrets(root)).remove()
    bring(file, root)
    assert (names.secrets(root) / CIPHER).read_bytes() == wanted


@pytest.mark.parametrize("kept", [None, "ACCESS=writes\n"])
def test_an_import_whose_last_step_fails_has_done_nothing(
    kept: str | None, empty: Path, file: Path
) -> None:
    """Here a link that leads nowhere, which no folder can replace, is where secrets would be."""
    names.secrets(empty).symlink_to("nowhere")
    if kept:
        settings.file(empty).write_text(kept)
    before = bytes_of(empty)
    with pytest.raises(NotADirectoryError):
        bring(file, empty)
    assert bytes_of(empty) == before


def test_an_import_that_cannot_write_settings_has_done_nothing(empty: Path, file: Path) -> None:
    """Secrets come after them: no stack is made that is more open than it was."""
    blocked = settings.file(empty).with_name(".env.import")
    blocked.mkdir()
    with pytest.raises(OSError, match=r"\.env\.import"):
        bring(file, empty)
    assert not names.secrets(empty).exists()
    assert not settings.file(empty).exists()


def test_a_killed_import_is_done_again(root: Path, empty: Path, file: Path) -> None:
    """What it left is no part of what there is then."""
    left = names.secrets(empty).with_name("secrets.import")
    (left / "tls").mkdir(parents=True)
    (left / "half").write_text("of something else")
    settings.file(empty).write_text("ACCESS=all\n")
    bring(file, empty)
    assert not left.exists()
    assert set(bytes_of(names.secrets(empty))) <= set(bytes_of(names.secrets(root)))
    assert settings.read(empty) == {"ACCESS": "all", "BACKUP": "yes"}


def test_two_imports_do_not_mix(empty: Path, file: Path) -> None:
    """The second is refused while the first is at work."""
    folder = os.open(names.home(empty), os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        with pytest.raises(StackError, match="another import is at work"):
            bring(file, empty)
    finally:
        os.close(folder)
    bring(file, empty)


def test_git_ignores_what_an_import_writes() -> None:
    """Also what a killed one leaves."""
    root = names.ROOT
    paths = [f"{names.COMPOSE}/{each}/db_password" for each in ("secrets", "secrets.import")]
    paths += [f"{names.COMPOSE}/stacks/second/secrets.import/x", f"{names.COMPOSE}/.env.import"]
    lines = (root / ".gitignore").read_text().split()
    for path in paths:
        assert any(f"/{path}".startswith(line) for line in lines), path


# ---------------------------------------------------------------------- where it is written


@pytest.mark.parametrize("other", ["a text", "by another passphrase", "of another stack"])
def test_only_an_export_of_this_stack_is_replaced(
    other: str, root: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anything else after a yes."""
    if other == "a text":
        file.write_text("somebody needs this")
    elif other == "by another passphrase":
        secret_export.write(secret_export.collect(root), file.with_name("x"), PASSPHRASE + "?")
        file.with_name("x").replace(file)
    else:
        monkeypatch.setenv("NAME", "second")
        checkout(root / "again")
        shutil.copytree(root / "again" / names.COMPOSE / "stacks", root / names.COMPOSE / "stacks")
    before = file.read_bytes()
    with pytest.raises(StackError, match=r"is no export of the stack .*YES=1"):
        secret_export.write(secret_export.collect(root), file, PASSPHRASE)
    assert file.read_bytes() == before
    monkeypatch.setenv("YES", "1")
    secret_export.write(secret_export.collect(root), file, PASSPHRASE)
    assert secret_export.read(file, PASSPHRASE).stack == names.stack()


def test_an_export_that_fails_leaves_the_one_before(
    root: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no file beside it."""
    before = file.read_bytes()
    kept = file.with_name("kept")

    def encrypt_while_the_target_turns_into_a_folder(*_: object) -> bytes:
        file.rename(kept)
        file.mkdir()
        return b"sealed"

    monkeypatch.setattr(age, "encrypt", encrypt_while_the_target_turns_into_a_folder)
    with pytest.raises(IsADirectoryError):
        secret_export.write(secret_export.collect(root), file, PASSPHRASE)
    assert kept.read_bytes() == before
    assert sorted(file.parent.iterdir()) == [kept, file]


def test_a_link_to_a_file_stays_one(root: Path, file: Path) -> None:
    """Somebody's disk is mounted there."""
    link = file.with_name("link")
    link.symlink_to(file)
    before = file.read_bytes()
    secret_export.write(secret_export.collect(root), link, PASSPHRASE)
    assert link.is_symlink()
    assert file.read_bytes() != before


def test_where_no_file_can_be_it_says_so(root: Path, tmp_path: Path) -> None:
    """Before anything is encrypted."""
    export = secret_export.collect(root)
    for path, words in ((tmp_path, "no plain file"), (tmp_path / "a" / "b", "there is no folder")):
        with pytest.raises(StackError, match=words):
            secret_export.write(export, path, PASSPHRASE)


def test_half_a_stack_is_not_exported(root: Path, empty: Path) -> None:
    """It would be found out when it is needed. `make up` makes what is missing."""
    with pytest.raises(StackError, match=r"there are no secrets in .*`make up`"):
        secret_export.collect(empty)
    (names.secrets(root) / AUTHORITIES[0]).unlink()
    with pytest.raises(StackError, match=r"nodes\.key is missing.*`make up`"):
        secret_export.collect(root)


def test_a_link_that_a_container_made_is_not_followed(root: Path, tmp_path: Path) -> None:
    """The one that makes certificates writes in that folder, and whoever exports may be root."""
    (tmp_path / "ca.crt").write_text("not the stack's")
    folder = names.secrets(root) / "tls" / "nodes"
    shutil.rmtree(folder)
    folder.symlink_to(tmp_path)
    with pytest.raises(StackError, match="no plain file"):
        secret_export.collect(root)


# ---------------------------------------------------------------------- the verbs


def run(*words: str, code: int = 0) -> None:
    """Run a verb of `holdfast secrets`."""
    with pytest.raises(SystemExit) as ended:
        verbs.run(words)
    assert ended.value.code == code


def test_the_verbs_say_what_there_is_and_what_to_do(
    root: Path,
    empty: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing of it is secret."""
    monkeypatch.setenv(passphrase.VARIABLE, PASSPHRASE)
    monkeypatch.setattr("ops.cli.secrets.ROOT", root)
    run("export", str(tmp_path / "stack.age"))
    monkeypatch.setattr("ops.cli.secrets.ROOT", empty)
    run("import", str(tmp_path / "stack.age"))
    out, err = capsys.readouterr()
    assert "make it again after `secrets rotate`" in out
    assert "Settings, as far as none were kept here" in out
    assert "HTTP_PORT=80 BIND_ADDRESS=10.1.2.3" in out
    assert "`make up` makes a stack with them" in out
    for name in secret_export.CONTENTS:
        text = (names.secrets(root) / name).read_text().strip()
        assert not text or text not in out + err
    assert PASSPHRASE not in out + err
    monkeypatch.delenv(passphrase.VARIABLE)
    run("import", str(tmp_path / "there is none"), code=1)  # before anything is asked for
    assert "has secrets already" in capsys.readouterr().err


def test_an_export_of_another_stack_is_asked_about(
    root: Path,
    empty: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two stacks would have one stack's tokens and CAs."""
    monkeypatch.setenv(passphrase.VARIABLE, PASSPHRASE)
    monkeypatch.setattr("ops.cli.secrets.ROOT", root)
    run("export", str(tmp_path / "stack.age"))
    monkeypatch.setattr("ops.cli.secrets.ROOT", empty)
    monkeypatch.setenv("NAME", "second")
    run("import", str(tmp_path / "stack.age"), code=1)
    assert "`NAME=holdfast` before the command" in capsys.readouterr().err
    assert not names.secrets(empty).exists()
    monkeypatch.setenv("YES", "1")
    run("import", str(tmp_path / "stack.age"))
    assert names.secrets(empty).is_dir()


@pytest.mark.parametrize("verb", ["export", "import"])
def test_no_docker_is_needed(
    verb: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An empty machine has none before its first `make up`."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(passphrase.VARIABLE, PASSPHRASE)
    monkeypatch.setattr("ops.cli.secrets.ROOT", tmp_path)
    with pytest.raises(SystemExit):
        app.run(["secrets", verb, str(tmp_path / "none")])
    said = capsys.readouterr().err
    assert "there is no docker here" not in said
    assert "there is no file" in said or "there are no secrets" in said
    with pytest.raises(SystemExit):
        app.run(["secrets", "rotate"])
    assert "there is no docker here" in capsys.readouterr().err


def test_an_export_of_before_alerts_is_read(empty: Path, file: Path) -> None:
    """Nobody is told then, as before."""
    members = [each for each in whole(1) if "/alert_" not in each[0]]
    file.write_bytes(sealed(archive(*members)))
    bring(file, empty)
    folder = names.secrets(empty)
    assert (folder / "db_password").read_text() == "x"
    assert [(folder / name).read_bytes() for name in ALERT_FILES] == [b""] * len(ALERT_FILES)
