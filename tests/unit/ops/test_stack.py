"""What `up` decides before it touches anything."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ops import firewall, legacy, nodes, ownership, preflight, removal, settings, waiting
from ops.__main__ import VERBS, main
from ops.console import StackError
from ops.host import Host, _end
from ops.stack import Stack, _ca_bundle
from tests.processes import running

ROOT = Path(__file__).parents[3]


def test_every_verb_is_a_method() -> None:
    """The command line offers nothing that the stack cannot do."""
    for verb in VERBS:
        assert callable(getattr(Stack, verb))


def test_the_makefile_has_every_verb() -> None:
    """What the command line can do, `make` can do."""
    text = (ROOT / "Makefile").read_text()
    for verb in VERBS:
        assert f"\n{verb}:" in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PROFILE", "quick"),
        ("NODES", "1"),
        ("REQUEST_DEADLINE", "51"),
        ("REQUEST_DEADLINE", "x"),
        ("CERTIFICATE_SECONDS", "29"),
    ],
)
def test_a_bad_variable_stops_up_with_its_name(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is installed or started, and with what it may be."""
    monkeypatch.setenv(name, value)
    assert main(["up"]) == 1
    error = capsys.readouterr().err
    assert f"{name} is '{value}'" in error
    assert "must be" in error


@pytest.mark.parametrize(("profile", "expected"), [("fast", "15"), ("safe", "45")])
def test_the_profile_sets_how_long_requests_are_held(
    profile: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A longer failover comes with more patience, unless the operator says otherwise."""
    monkeypatch.delenv("REQUEST_DEADLINE", raising=False)
    monkeypatch.setenv("PROFILE", profile)
    stack = Stack(ROOT)
    stack._settle_settings()
    assert stack.environment["REQUEST_DEADLINE"] == expected
    monkeypatch.setenv("REQUEST_DEADLINE", "33")
    stack = Stack(ROOT)
    stack._settle_settings()
    assert stack.environment["REQUEST_DEADLINE"] == "33"


@pytest.mark.parametrize("missing", ["Docker Engine", "Docker Compose"])
def test_bootstrap_no_installs_nothing_and_says_what_is_missing(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BOOTSTRAP=no: an error that names the package, and no script is run."""
    monkeypatch.setenv("BOOTSTRAP", "no")
    host = Host(tmp_path)
    with pytest.raises(StackError, match=rf"{missing} is missing and BOOTSTRAP=no.*apt-get"):
        host._install(missing, "no-such-script.sh", "docker.io")


def test_installing_needs_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without rights is told what to do."""
    monkeypatch.setattr("ops.host.os.geteuid", lambda: 1000)
    monkeypatch.delenv("BOOTSTRAP", raising=False)
    with pytest.raises(StackError, match="sudo make up"):
        Host(tmp_path)._install("Docker Engine", "no-such-script.sh", "docker.io")


def test_a_process_id_that_now_is_someone_elses_is_left_alone() -> None:
    """The recorded engine is gone and its id was given out again: nothing is ended."""
    _end(os.getpid(), "dockerd", limit=1)


def test_an_engine_is_ended_by_its_id() -> None:
    """The process with the recorded id and name is gone when the call returns."""
    with running("sleep") as process:
        reaper = threading.Thread(target=process.wait)
        reaper.start()
        _end(process.pid, "sleep", limit=10)
        reaper.join(10)
        assert process.returncode is not None


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Stack, Stack]:
    """The first stack of a checkout, for which ACCESS is kept, and the second."""
    (tmp_path / "deploy" / "compose").mkdir(parents=True)
    (tmp_path / "deploy" / "compose" / ".env").write_text("ACCESS=writes\nHTTP_PORT=9000\n")
    for name in ("ACCESS", *settings.PORTS, *settings.SUBNETS):
        monkeypatch.delenv(name, raising=False)
    first = Stack(tmp_path)
    monkeypatch.setenv("NAME", "second")
    monkeypatch.setenv("EDGE_SUBNET", "172.30.2.0/24")
    return first, Stack(tmp_path)


def test_compose_is_told_which_stack(two: tuple[Stack, Stack]) -> None:
    """By its project, its containers' prefix, its secrets, its network; all in the environment."""
    first, second = two
    assert first.environment["ACCESS"] == "writes"
    assert "ACCESS" not in second.environment
    told = ("CONTAINER_PREFIX", "SECRETS_DIR", "EDGE_PREFIX")
    assert [second.environment[name] for name in told] == [
        "second-", str(second.root / "deploy/compose/stacks/second/secrets"), "172.30.2",
    ]  # fmt: skip
    assert first.environment["CONTAINER_PREFIX"] == ""
    command = second._command("up")
    assert command[command.index("--project-name") + 1] == "second"
    assert command[command.index("--env-file") + 1] == os.devnull


@pytest.mark.parametrize(
    ("said", "verb", "there"),
    [
        ({"BACKUP": "yes", "BACKUP_S3_BUCKET": "backups"}, "up", True),
        ({"BACKUP": "yes", "BACKUP_S3_BUCKET": ""}, "up", False),
        ({"BACKUP": "no", "BACKUP_S3_BUCKET": "backups"}, "up", False),
        ({}, "down", True),
    ],
)
def test_there_is_a_way_out_only_to_s3(
    said: dict[str, str], verb: str, two: tuple[Stack, Stack], *, there: bool
) -> None:
    """Its network is removed with all others, also when S3 is no longer what is meant."""
    stack, _ = two
    stack.environment |= said
    files = [each for each in stack._command(verb) if each.endswith(".yaml")]
    assert [Path(each).name for each in files] == ["compose.yaml", *(["s3.yaml"] if there else [])]


def test_what_follows_is_not_kept(
    two: tuple[Stack, Stack], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make up` keeps what it was told, so that a default can change with a version."""
    first, _ = two
    monkeypatch.delenv("NAME")
    monkeypatch.delenv("EDGE_SUBNET")
    monkeypatch.setenv("ACCESS", "writes")  # as `python3 -m ops` does, from what is kept
    monkeypatch.setenv("HTTP_PORT", "9000")
    monkeypatch.setattr(first.host, "prepare", lambda: "base")
    monkeypatch.setattr(ownership, "require", lambda _: None)
    monkeypatch.setattr(ownership, "volumes", list)
    monkeypatch.setattr(preflight, "check", lambda: None)
    monkeypatch.setattr(first.secrets, "make", _far_enough)
    with pytest.raises(StackError, match="far enough"):
        first.up()
    assert settings.read(first.root) == {"ACCESS": "writes", "HTTP_PORT": "9000"}


@pytest.mark.parametrize(
    ("volumes", "end"), [(["holdfast_postgres2"], "data are of PostgreSQL 17"), ([], "far enough")]
)
def test_data_of_one_major_meet_no_image_of_another(
    two: tuple[Stack, Stack], monkeypatch: pytest.MonkeyPatch, volumes: list[str], end: str
) -> None:
    """Before an image is built or anything is kept; without data the first `make up` chooses."""
    first, _ = two
    monkeypatch.delenv("NAME")
    monkeypatch.setitem(first.environment, "PG_MAJOR", "18")
    monkeypatch.setenv("PG_MAJOR", "18")
    monkeypatch.setattr(first.host, "prepare", lambda: "base")
    monkeypatch.setattr(ownership, "require", lambda _: None)
    monkeypatch.setattr(ownership, "volumes", lambda: volumes)
    monkeypatch.setattr(preflight, "check", lambda: None)
    monkeypatch.setattr(first.secrets, "make", _far_enough)
    with pytest.raises(StackError, match=end):
        first.up()
    kept = settings.read(first.root).get("PG_MAJOR")
    assert kept == (None if volumes else "18")


def test_neighbours_are_kept_out_while_a_stack_is_brought_to_a_new_version(
    two: tuple[Stack, Stack], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopping an old one releases the rule: it is set after that, and before anything starts."""
    first, _ = two
    monkeypatch.delenv("NAME")
    order: list[str] = []
    monkeypatch.setattr(first.host, "prepare", lambda: "base")
    for module, name in ((ownership, "require"), (ownership, "claim"), (preflight, "check")):
        monkeypatch.setattr(module, name, lambda *_: None)
    monkeypatch.setattr(ownership, "volumes", list)
    monkeypatch.setattr(first, "make_certificates", lambda: None)
    monkeypatch.setattr(first.secrets, "digest", lambda *_: "digest")
    monkeypatch.setattr(first, "_compose", lambda title, *_, **__: order.append(title))
    monkeypatch.setattr(legacy, "leave", lambda take_down: take_down("Stopping an old one"))
    monkeypatch.setattr(firewall, "release", lambda: order.append("released"))
    monkeypatch.setattr(firewall, "shut", lambda *_: order.append("shut"))

    monkeypatch.setitem(first.environment, "MONITORING", "no")
    monkeypatch.setattr(removal, "leave", lambda member, *_: order.append(f"without {member}"))
    monkeypatch.setattr(nodes, "leave", lambda: order.append("without a third node"))
    monkeypatch.setattr(first, "_start", _far_enough)
    with pytest.raises(StackError, match="far enough"):
        first.up()
    # What is ill and not wanted any more is not waited for.
    without = ["without monitoring", "without a third node"]
    assert order == ["Building images", "Stopping an old one", "released", "shut", *without]


def test_an_update_switches_no_poolers(
    two: tuple[Stack, Stack], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It replaces proxies before nodes: they would send clients to where nobody listens yet."""
    first, _ = two
    monkeypatch.setattr(first.host, "engine_answers", lambda: True)
    monkeypatch.setattr(ownership, "require", lambda *_: None)
    monkeypatch.setitem(first.environment, "POOLER", "yes")
    with pytest.raises(StackError, match="switches it"):
        first.update()


@pytest.mark.parametrize(
    ("there", "lost"),
    [
        ([], False),
        (["holdfast_postgres1", "holdfast_postgres2", "holdfast_monitor"], False),
        (["holdfast_monitor"], False),
        (["holdfast_postgres2", "holdfast_monitor"], True),
        (["holdfast_postgres3"], True),
    ],
)
def test_no_cluster_is_made_beside_data_of_one(
    two: tuple[Stack, Stack], monkeypatch: pytest.MonkeyPatch, there: list[str], lost: bool
) -> None:
    """A first node that lost its volume copies the others, also where the monitor knows none.

    It is told by a file that is mounted: its container is made as it always is.
    """
    first, _ = two
    monkeypatch.delenv("NAME")
    told: list[tuple[str, ...]] = []
    monkeypatch.setattr(ownership, "volumes", lambda: there)
    monkeypatch.setattr(first, "_compose", lambda _, *words, **__: told.append(words))
    monkeypatch.setattr(waiting, "await_health", lambda _: None)
    before = dict(first.environment)
    first._start()
    assert told == [("up", "--detach", "--remove-orphans")]
    assert (Path(first.environment["COPIES_ONLY"]).read_text() != "") == lost
    assert first.environment == before


def _far_enough() -> None:
    raise StackError("far enough")


def test_data_is_not_removed_unasked(
    two: tuple[Stack, Stack], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the engine nor the secrets are touched before there is a yes."""
    first, _ = two
    monkeypatch.delenv("NAME")
    monkeypatch.setattr(first.host, "wake_engine", lambda: True)
    monkeypatch.setattr(ownership, "require", lambda _: None)
    monkeypatch.setattr(ownership, "volumes", lambda: ["holdfast_postgres1"])
    monkeypatch.setattr(ownership, "release", lambda: done.append("released"))
    monkeypatch.setattr(first, "_take_down", lambda *_: done.append("down"))
    done: list[str] = []
    first.secrets.folder.mkdir()
    secret = first.secrets.folder / "db_password"
    secret.write_text("still needed")
    for verb in (first.clean, first.distclean):
        with pytest.raises(StackError, match="removes the data of the stack holdfast"):
            verb()
    assert (done, secret.exists()) == ([], True)
    monkeypatch.setenv("YES", "1")
    first.clean()
    assert (done, secret.exists()) == (["down", "released"], False)


def test_secrets_outlive_an_engine_that_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The volumes are still there then, and their passwords nowhere else."""
    monkeypatch.setenv("NAME", "second")
    second = Stack(tmp_path)
    second.secrets.folder.mkdir(parents=True)
    secret = second.secrets.folder / "db_password"
    secret.write_text("still needed")
    monkeypatch.setattr(second.host, "wake_engine", lambda: False)
    second.distclean()
    assert secret.exists()


def test_what_was_left_here_is_removed_but_for_an_engine_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record of an engine is needed until it is stopped; another stack's logs go alone."""
    for folder in ("drills", "logs", "stacks/second/logs"):
        (tmp_path / ".holdfast" / folder).mkdir(parents=True)
    (tmp_path / ".holdfast" / "engine").write_text("process 1\n")
    monkeypatch.setenv("NAME", "second")
    Host(tmp_path).remove_state()
    left = sorted(str(each.relative_to(tmp_path)) for each in tmp_path.glob(".holdfast/**/*"))
    assert left == [".holdfast/" + name for name in ("drills", "engine", "logs", "stacks")]
    monkeypatch.delenv("NAME")
    Host(tmp_path).remove_state()
    assert [each.name for each in tmp_path.glob(".holdfast/*")] == ["engine"]
    (tmp_path / ".holdfast" / "engine").unlink()
    Host(tmp_path).remove_state()
    assert list(tmp_path.glob(".holdfast")) == []


def test_the_ca_bundle_is_the_one_that_pip_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PIP_CERT first; a name that leads nowhere is passed over."""
    bundle = tmp_path / "ca.pem"
    bundle.write_text("certificates")
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "gone.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    assert _ca_bundle() == str(bundle)


def test_what_is_removed_needs_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data of a stack that is down is removed by an engine that is started for it."""
    host = Host(tmp_path)
    monkeypatch.setattr(host, "engine_answers", lambda: False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("ops.host.SBIN", "")
    assert not host.wake_engine()
    dockerd = tmp_path / "dockerd"
    dockerd.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(StackError, match="run as root"):
        host.wake_engine()
