"""Functions as commands: arguments, options, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest

from ops.cli.verbs import Argument, Option, UsageError, Verbs

CALLS: list[dict[str, Any]] = []
app = Verbs("tool", "A tool.")
group = Verbs("tool group", "More of it.")
app.functions["group"] = group


@app.verb()
def work(
    what: Annotated[list[str], Argument("Things.", "THING")],
    *,
    times: Annotated[int, Option("How often.", ("--times", "-n"), least=1, most=9)] = 2,
    rate: Annotated[float | None, Option("How fast.")] = None,
    place: Annotated[Path, Option("Where.", variable="TOOL_PLACE")] = Path("here"),
    keep: Annotated[bool, Option("Keep 100 % of it.", either=True)] = True,
    loud: Annotated[bool, Option("Say so.")] = False,
) -> None:
    """Work on things.

    For long.
    """
    if loud and not keep:
        raise UsageError("--loud needs --keep")
    CALLS.append(dict(locals()))


@app.verb("pass-on")
def through(arguments: Annotated[list[str], Argument("All of it.", rest=True)]) -> None:
    """Hand everything on."""
    CALLS.append({"arguments": arguments})


@group.verb()
def end(names: Annotated[list[str] | None, Argument("Whom; all if none.")] = None) -> None:
    """End it all."""
    if not names:
        raise KeyboardInterrupt
    CALLS.append({"names": names})


def run(*words: str) -> object:
    """The exit code of a command line."""
    CALLS.clear()
    with pytest.raises(SystemExit) as ended:
        app.run(words)
    return ended.value.code


def test_words_and_options_become_parameters() -> None:
    """Each in its type; what is not said is the default."""
    assert run("work", "a", "b", "-n", "3", "--rate", "1.5", "--no-keep") == 0
    given = {"times": 3, "rate": 1.5, "place": Path("here"), "keep": False, "loud": False}
    assert [{"what": ["a", "b"], **given}] == CALLS


def test_the_environment_has_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """In their type, too; what is said goes before them."""
    monkeypatch.setenv("TOOL_PLACE", "there")
    assert run("work", "a") == 0
    assert CALLS[0]["place"] == Path("there")
    assert run("work", "a", "--place", "elsewhere") == 0
    assert CALLS[0]["place"] == Path("elsewhere")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("work", "a", "--times", "0"), "0 is below 1"),
        (("work", "a", "--times", "10"), "10 is above 9"),
        (("work", "a", "--times", "x"), "invalid int value: 'x'"),
        (("work",), "required: THING"),
        (("work", "a", "--lout"), "unrecognized arguments: --lout"),
        (("work", "a", "--loud", "--no-keep"), "--loud needs --keep"),
        (("nothing",), "invalid choice"),
    ],
)
def test_bad_usage_is_explained(
    words: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and nothing is done."""
    assert run(*words) == 2
    assert complaint in capsys.readouterr().err
    assert CALLS == []


def test_everything_is_passed_on() -> None:
    """Flags first, and flags that this command has itself."""
    assert run("pass-on", "-p", "6433", "--", "-c", "SELECT 1") == 0
    assert CALLS == [{"arguments": ["-p", "6433", "--", "-c", "SELECT 1"]}]


def test_groups_have_commands_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    """Without one they explain themselves."""
    assert run("group", "end", "it") == 0
    assert CALLS == [{"names": ["it"]}]
    assert run("group") == 2
    assert "End it all." in capsys.readouterr().out


def test_an_interruption_has_its_code() -> None:
    """As everywhere."""
    assert run("group", "end") == 130


def test_help_has_all_there_is_to_know(capsys: pytest.CaptureFixture[str]) -> None:
    """Of the tool a line for each command; of a command its options with their defaults."""
    assert run("--help") == 0
    said = capsys.readouterr().out
    assert "Work on things." in said
    assert "For long." not in said
    assert run("work", "--help") == 0
    said = " ".join(capsys.readouterr().out.split())
    for part in ("For long.", "Keep 100 % of it.", "[default: 2]", "[environment: TOOL_PLACE]"):
        assert part in said


def test_options_are_said_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    """A beginning of one may be the beginning of another tomorrow."""
    with pytest.raises(SystemExit) as ended:
        app.run(["work", "a", "--lou"])
    assert ended.value.code == 2
    assert "--lou" in capsys.readouterr().err


def test_a_reader_that_has_gone_is_no_error() -> None:
    """As for any program whose output goes to `head`."""
    script = (
        "from ops.cli.verbs import Verbs\n"
        "app = Verbs('tool', 'A tool.')\n"
        "@app.verb()\n"
        "def much() -> None:\n"
        "    'Say much.'\n"
        "    for _ in range(100_000): print('much')\n"
        "app.run(['much'])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "much\n"
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (141, "")
