"""A checkout leaves another's stack alone, and says whose it is."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from ops import cluster, names, ownership, removal
from ops.console import StackError

if TYPE_CHECKING:
    from pathlib import Path


class Engine:
    """What a Docker engine has of volumes and containers, as these tests have it."""

    def __init__(self) -> None:
        self.volumes: dict[str, dict[str, str]] = {}
        self.containers: list[dict[str, str]] = []

    def __call__(self, *arguments: str) -> str:
        """Answer as `docker` does."""
        match arguments:
            case ("ps", *rest):
                return self._listed(self.containers, rest)
            case ("volume", "ls", *rest):
                rows = [{"Name": name, **labels} for name, labels in self.volumes.items()]
                return self._listed(rows, rest)
            case ("volume", "inspect", "--format", _, name):
                return json.dumps(self.volumes[name])
            case ("volume", "create", *words, name):
                self.volumes[name] = dict(word.split("=", 1) for word in words[1::2])
            case ("volume", "rm", name):
                del self.volumes[name]
            case ("run", *_):
                return "12582912\t/volumes\n"
            case _:
                raise AssertionError(arguments)
        return ""

    @staticmethod
    def _listed(rows: list[dict[str, str]], words: list[str]) -> str:
        wanted = [word.removeprefix("label=") for word in words if word.startswith("label=")]
        for each in wanted:
            key, _, value = each.partition("=")
            rows = [row for row in rows if key in row and value in {"", row[key]}]
        shown = next((word for word in words if word.startswith("{{")), '"Name"').split('"')[1]
        return "\n".join(row.get(shown, "") for row in rows)

    def bring_up(self, root: Path, name: str = "holdfast") -> None:
        """Have what `make up` makes, but for the mark."""
        for volume in ("monitor", "postgres1", "postgres2"):
            self.volumes[f"{name}_{volume}"] = {ownership.PROJECT: name}
        self.containers.append(
            {
                ownership.PROJECT: name,
                "com.docker.compose.container-number": "1",
                "com.docker.compose.project.working_dir": str(root / names.COMPOSE),
                "org.opencontainers.image.title": "holdfast",
            }
        )


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine with nothing on it."""
    engine = Engine()
    monkeypatch.setattr(cluster, "docker", engine)
    return engine


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A checkout with secrets."""
    return checkout(tmp_path / "mine")


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A clone in which nothing was ever run."""
    (tmp_path / "fresh" / names.COMPOSE).mkdir(parents=True)
    return tmp_path / "fresh"


def checkout(root: Path) -> Path:
    """Make a checkout that has been up."""
    secrets = names.secrets(root)
    secrets.mkdir(parents=True)
    (secrets / "db_password").write_text("of this checkout")
    return root


def up(engine: Engine, root: Path) -> None:
    """Do what `make up` does."""
    ownership.require(root)
    ownership.claim(root)
    engine.bring_up(root)


def test_a_free_engine_is_anybodys(engine: Engine, mine: Path, fresh: Path) -> None:
    """Nothing is there to be another's."""
    ownership.require(fresh)
    up(engine, mine)
    ownership.require(mine)
    up(engine, mine)


def test_a_fresh_clone_is_told_whose_it_is_and_what_to_do(
    engine: Engine, mine: Path, fresh: Path
) -> None:
    """Nothing is changed; not while the stack runs, and not while it is down."""
    up(engine, mine)
    for running in (True, False):
        if not running:
            engine.containers.clear()
        before = dict(engine.volumes)
        with pytest.raises(StackError) as caught:
            ownership.require(fresh)
        said = str(caught.value)
        assert f"another checkout's: {mine}. Nothing was changed" in said
        assert f"cd {mine}" in said
        assert "NAME=other make up" in said
        assert engine.volumes == before


def test_another_checkout_with_secrets_of_its_own_is_refused_as_well(
    engine: Engine, mine: Path, tmp_path: Path
) -> None:
    """It had a stack of that name once: these are others' data."""
    other = checkout(tmp_path / "other")
    up(engine, other)
    engine.volumes.clear()
    engine.containers.clear()
    up(engine, mine)
    with pytest.raises(StackError, match="another checkout's"):
        ownership.require(other)


def test_a_checkout_that_has_moved_keeps_its_stack(engine: Engine, mine: Path) -> None:
    """It is told by its secrets, not by its place, which the next `make up` writes anew."""
    up(engine, mine)
    moved = mine.rename(mine.parent / "moved")
    up(engine, moved)
    (names.secrets(moved) / ownership.FILE).unlink()
    ownership.require(moved)  # by its place, once that is known


def test_secrets_that_were_lost_are_no_reason_to_be_refused(engine: Engine, mine: Path) -> None:
    """The checkout is where it was: `make up` makes new ones, and the data stay."""
    up(engine, mine)
    shutil.rmtree(names.secrets(mine))
    ownership.require(mine)


def test_a_stack_without_a_mark_is_told_by_its_containers(
    engine: Engine, mine: Path, fresh: Path
) -> None:
    """One of an earlier version, or one that lost its mark by `docker volume prune`."""
    engine.bring_up(mine)
    ownership.require(mine)
    with pytest.raises(StackError, match=f"another checkout's: {mine}. "):
        ownership.require(fresh)


def test_who_moved_the_secrets_of_an_earlier_version_has_its_stack(
    engine: Engine, mine: Path, fresh: Path
) -> None:
    """It left no mark, and its containers name the place it was made in."""
    engine.bring_up(mine)
    with pytest.raises(StackError, match=f"Move\\n{names.COMPOSE}/secrets and"):
        ownership.require(fresh)
    names.secrets(fresh).parent.mkdir(parents=True, exist_ok=True)
    names.secrets(mine).rename(names.secrets(fresh))
    ownership.require(fresh)


def test_volumes_without_mark_or_containers_are_not_a_fresh_clones(
    engine: Engine, mine: Path, fresh: Path
) -> None:
    """Who has secrets made them, as far as can be told; who has none did not."""
    engine.bring_up(mine)
    engine.containers.clear()
    ownership.require(mine)
    with pytest.raises(StackError, match="not known where"):
        ownership.require(fresh)


def test_a_stack_whose_checkout_is_gone_can_be_adopted(
    engine: Engine, mine: Path, fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If that is said; from then on it is this checkout's."""
    up(engine, mine)
    shutil.rmtree(mine)
    with pytest.raises(StackError, match="is gone, or is no longer needed, ADOPT=1"):
        ownership.require(fresh)
    monkeypatch.setenv("ADOPT", "1")
    ownership.require(fresh)
    names.secrets(fresh).mkdir()
    ownership.claim(fresh)
    monkeypatch.delenv("ADOPT")
    ownership.require(fresh)


def test_each_stack_has_an_owner(
    engine: Engine, mine: Path, fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fresh clone may have one beside the first; each knows of the other."""
    up(engine, mine)
    monkeypatch.setenv("NAME", "second")
    ownership.require(fresh)
    names.secrets(fresh).mkdir(parents=True)
    ownership.claim(fresh)
    engine.bring_up(fresh, "second")
    assert ownership.others() == ["holdfast"]
    assert ownership.volumes() == ["second_monitor", "second_postgres1", "second_postgres2"]
    with pytest.raises(StackError, match=r"The stack second .* is another checkout's"):
        ownership.require(mine)
    ownership.release()
    assert "holdfast_owner" in engine.volumes
    assert "second_owner" not in engine.volumes


def test_data_is_removed_when_that_was_said(
    engine: Engine, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What, and how much, is in the question; without a terminal there is none."""
    removal.confirm()
    up(engine, mine)
    with pytest.raises(StackError, match=r"data of the stack holdfast.*3 volumes, 12 MB.*YES=1"):
        removal.confirm()
    monkeypatch.setenv("YES", "1")
    removal.confirm()


@pytest.mark.parametrize(("answer", "goes_on"), [("y", True), ("n", False), ("", False)])
def test_on_a_terminal_it_is_asked(
    answer: str,
    goes_on: bool,
    engine: Engine,
    mine: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only a yes is one."""
    up(engine, mine)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: answer)
    if goes_on:
        removal.confirm()
    else:
        with pytest.raises(StackError):
            removal.confirm()
