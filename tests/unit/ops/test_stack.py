"""What `up` decides before it touches anything."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from ops.__main__ import VERBS, main
from ops.console import StackError
from ops.host import Host, _end
from ops.stack import Stack, _ca_bundle

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
    [("PROFILE", "quick"), ("NODES", "1"), ("REQUEST_DEADLINE", "51"), ("REQUEST_DEADLINE", "x")],
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
    with subprocess.Popen(["sleep", "60"]) as process:
        reaper = threading.Thread(target=process.wait)
        reaper.start()
        _end(process.pid, "sleep", limit=10)
        reaper.join(10)
        assert process.returncode is not None


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
    assert not host.wake_engine()
    dockerd = tmp_path / "dockerd"
    dockerd.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(StackError, match="run as root"):
        host.wake_engine()
