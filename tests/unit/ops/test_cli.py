"""The `holdfast` command needs python3 alone, and explains itself before it installs anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ops.cli import packages
from ops.cli.main import WITHOUT_DOCKER, app
from ops.cli.verbs import Verbs
from ops.console import StackError
from ops.drills.faults import FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
LIMIT = 30.0


def commands(verbs: Verbs = app, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command, and every group of them."""
    for name, function in verbs.functions.items():
        yield (*before, name)
        if isinstance(function, Verbs):
            yield from commands(function, (*before, name))


def bare(
    *arguments: str, path: str = os.defpath, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the launcher with an interpreter that has no packages, and no Docker by default."""
    interpreter = Path(sys.executable).parent
    environment = {"PATH": f"{interpreter}:{path}", "PYTHONNOUSERSITE": "1", **variables}
    return subprocess.run(
        [str(ROOT / "holdfast"), *arguments],
        env=environment, cwd="/", capture_output=True, text=True, check=False, timeout=LIMIT,
    )  # fmt: skip


@pytest.fixture
def no_packages(tmp_path: Path) -> dict[str, str]:
    """Variables of an interpreter that has only the standard library."""
    python = tmp_path / "bare-python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    return {"PYTHON": str(python)}


def test_all_commands_explain_themselves_without_packages(no_packages: dict[str, str]) -> None:
    """None of them is installed for that, and none of them asks for Docker."""
    for words in ((), *commands()):
        done = bare(*words, "--help", path="/usr/bin:/bin", **no_packages)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"usage: {' '.join(('holdfast', *words))}")
    assert not (ROOT / ".holdfast" / "client").exists()


def test_the_help_of_drill_names_every_drill(no_packages: dict[str, str]) -> None:
    """With a line each, as `drill list` does."""
    for asked in ("--help", "list"):
        said = bare("drill", asked, path=_with_docker(no_packages), **no_packages).stdout
        for name, fault in FAULTS.items():
            assert any(
                line.split()[:1] == [name] and fault.summary in line for line in said.splitlines()
            ), name


@pytest.mark.parametrize("name", ["load", "drill"])
def test_help_says_where_a_token_goes(name: str, no_packages: dict[str, str]) -> None:
    """And how to make one."""
    said = bare(name, "--help", **no_packages).stdout
    assert "HOLDFAST_TOKEN=$(./holdfast access add" in said


def _with_docker(variables: dict[str, str]) -> str:
    """A PATH with a `docker` that is not there to be called."""
    docker = Path(variables["PYTHON"]).parent / "docker"
    docker.write_text("#!/bin/sh\nexit 1\n")
    docker.chmod(0o755)
    return f"{docker.parent}:/usr/bin:/bin"


def test_without_docker_commands_say_where_to_run_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """All but those that only speak HTTP or SQL."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in app.functions:
        if name not in WITHOUT_DOCKER:
            with pytest.raises(SystemExit) as ended:
                app.run([name])
            assert ended.value.code == 1
            assert "there is no docker here" in capsys.readouterr().err


def test_an_old_python_is_told_so(tmp_path: Path) -> None:
    """In a sentence with what to do, and no traceback."""
    program = (
        "import sys; sys.version_info = (3, 9, 2); sys.argv = ['holdfast']\n"
        f"sys.path.insert(0, {str(ROOT)!r})\nimport ops"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Holdfast needs Python 3.11 or later; this is 3.9.")
    assert "PYTHON=python3.12" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_python_at_all_is_told_so() -> None:
    """By the launcher itself."""
    done = bare("status", PYTHON="python-that-is-not-there")
    assert done.returncode == 1
    assert "install Python 3.11 or later" in done.stderr


def test_packages_that_cannot_be_had_are_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the log, and not for ever: an environment that is not complete is not run again."""
    pinned = tmp_path / "client.txt"
    pinned.write_text("not-there==1.0 --hash=sha256:00\n")
    monkeypatch.setattr(packages, "ROOT", tmp_path)
    monkeypatch.setattr(packages, "PINNED", pinned)
    monkeypatch.setattr(packages, "WANTED", ("a_package_that_is_not_there",))
    with pytest.raises(StackError, match="packages for drills, loads and exports failed"):
        packages.need(["load"])
    assert not (tmp_path / ".holdfast" / "client" / "ready").exists()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "ready").touch()
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    with pytest.raises(StackError, match="remove it"):
        packages.need(["load"])


def test_status_of_make_is_the_commands() -> None:
    """One command, whatever it is called; `make` does not fail because something is wrong."""
    text = (ROOT / "Makefile").read_text()
    assert "\n\t@./holdfast status || [ $$? -eq 3 ]\n" in text
