"""Mutation testing finds the fault that no test notices, and takes a noticed one for killed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from textwrap import dedent

import pytest

from mutants import equivalents, judge, project, sql, syntax
from mutants.__main__ import main
from mutants.covering import Map

ROOT = Path(__file__).parents[2]
CODE = '''
"""What may be done at an age."""

LIMITS = {"drive": 18}


def may_drive(age: int) -> bool:
    """Whether somebody is old enough."""
    return age >= 18


def nobody_asks(age: int) -> bool:
    """No test does."""
    return age > 65


def countdown(number: int) -> int:
    """End at zero."""
    while number > 0:
        number -= 1
    return number
'''
TESTS = """
from code_of import countdown, may_drive


def test_the_old_may():
    assert may_drive(40) is True


def test_the_young_may_not():
    assert may_drive(17) is False


def test_it_ends():
    assert countdown(3) == 0


def test_that_fails_anyway():
    assert may_drive(1) is True
"""


def planted(code: str) -> list[str]:
    """What is planted in some code, without its place."""
    return [mutant.what for mutant in syntax.mutants("code.py", dedent(code))]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A project of one file and its tests, committed."""
    root = tmp_path / "small"
    (root / "tests").mkdir(parents=True)
    (root / "src").mkdir()
    (root / "src" / "code_of.py").write_text(CODE.lstrip())
    (root / "tests" / "test_code.py").write_text(TESTS.lstrip())
    (root / "pytest.ini").write_text("[pytest]\npythonpath = src\n")
    git(root, "init", "--quiet", "--initial-branch", "main")
    git(root, "config", "user.email", "test@example.com")
    git(root, "config", "user.name", "test")
    commit(root)
    return root


def git(root: Path, *arguments: str) -> None:
    """Run git."""
    subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True)


def commit(root: Path) -> None:
    """Commit everything."""
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "as it is")


def test_survivors_are_told_from_the_killed(
    small: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what no test runs, and one that never ends; the project is as it was."""
    monkeypatch.setattr(judge, "START", 5.0)
    some = r"\(age >|18 -> 17|-= 1 ->"
    assert main(["src", "--tests", "tests", "--match", some], small) == 1
    told = capsys.readouterr().out
    assert "cannot judge, as it fails without a fault: tests/test_code.py::test_that_fails" in told
    lines = told.splitlines()
    found = {line[12:].partition("  by ")[0]: line[:12].strip() for line in lines}
    place = "src/code_of.py:{}: {}".format
    assert found[place(8, "age >= 18 -> (age > 18)")] == "SURVIVED"
    assert found[place(8, "18 -> 17")] == "killed"
    assert found[place(13, "age > 65 -> (age >= 65)")] == "NOT COVERED"
    assert found[place(19, "number -= 1 -> (removed)")] == "killed"
    assert "    +     return (age > 18)" in lines
    assert (small / "src" / "code_of.py").read_text() == CODE.lstrip()
    assert not any("test_that_fails" in line for line in lines if line.startswith("killed"))


def test_what_a_change_touched(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its lines only, committed or not, judged by what is known of the lines that were there."""
    arguments = ["src", "--tests", "tests", "--since", "auto", "--match"]
    good, _, _ = TESTS.lstrip().partition("def test_that_fails")
    (small / "tests" / "test_code.py").write_text(good)
    main(["src", "--tests", "tests", "--count", "1"], small)
    git(small, "checkout", "--quiet", "-b", "work")
    changed = CODE.lstrip().replace("age >= 18", "age >= LIMITS['drive']")
    (small / "src" / "code_of.py").write_text("import math\n" + changed)
    capsys.readouterr()
    assert main([*arguments, r"\(age >"], small) == 1
    told = capsys.readouterr().out
    assert "running" not in told
    assert "SURVIVED    src/code_of.py:9: age >= LIMITS['drive'] -> (age > LIMITS['drive'])" in told
    assert "age > 65" not in told
    commit(small)
    assert main([*arguments, "return None"], small) == 0
    (small / "src" / "more.py").write_text("def f() -> None:\n    g()\n")
    assert project.touched(small, project.base(small))["src/more.py"] == {1, 2}


def test_known_equivalents_are_left_out(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are known by their line's text, so they outlive a change above."""
    (small / "mutants").mkdir()
    (small / equivalents.FILE).write_text(
        '[[equivalent]]\nfile = "src/code_of.py"\nline = "return age >= 18"\n'
        'changes = ["age >= 18 -> (age > 18)"]\nreason = "nobody is 18"\n'
    )
    (small / "src" / "code_of.py").write_text("import math\n" + CODE.lstrip())
    arguments = ["src", "--tests", "tests", "--match", r"-> \(age > 18"]
    assert main(arguments, small) == 0
    assert "0 mutants, seed 1; 1 known as equivalent" in capsys.readouterr().out


def test_a_seed_draws_the_same_again(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So that a run can be repeated; the time bound lets none begin."""

    def drawn(seed: str) -> list[str]:
        main(["src", "--tests", "tests", "--count", "2", "--seed", seed], small)
        told = capsys.readouterr().out.splitlines()
        return [line for line in told if "code_of.py:" in line]

    assert drawn("5") == drawn("5") != drawn("6")
    assert main(["src", "--tests", "tests", "--seconds", "-1"], small) == 0
    assert "0 of" in capsys.readouterr().out


def test_a_changed_test_is_looked_at_again(small: Path) -> None:
    """One that is gone judges no more; nor does one that was not asked for."""
    known = Map()
    known.refresh(small, ["tests"])
    assert len(known.took) == 3
    assert known.files == {}, "what failed may pass the next time"
    (small / "tests" / "test_code.py").write_text(TESTS.replace("test_it_ends", "test_it_stops"))
    known.refresh(small, ["tests"])
    name = "tests/test_code.py::test_it_stops"
    assert name in known.lines["src/code_of.py"]["19"]
    (fault,) = [
        each for each in syntax.mutants("src/code_of.py", CODE.lstrip()) if "-= 1 ->" in each.what
    ]
    assert known.tests(fault) == known.tests(fault, ("tests/test_code",)) == {name}
    assert known.tests(fault, ("tests/unit",)) == set()
    (small / "tests" / "test_code.py").unlink()
    known.refresh(small, ["tests"])
    assert known.took == {}
    assert known.lines["src/code_of.py"]["19"] == []


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("def f(a, b): return a < b", "a < b -> (a <= b)"),
        ("def f(a, b): return a in {1, b}", "a in {1, b} -> (a in {b})"),
        ("def f(a, b): return a or b", "a or b -> (b)"),
        ("def f(a, b): return a or b", "a or b -> (a and b)"),
        ("def f(a): return not a", "not a -> (a)"),
        ("def f(a): return a", "return a -> return None"),
        ("def f(): return 2", "2 -> 1"),
        ("def f(x=True): pass", "True -> False"),
        ("def f(g): g()", "g() -> (removed)"),
        ("async def f(g): await g()", "await g() -> (removed)"),
        ("async def f(g): await shield(g())", "shield(g()) -> g()"),
        ("def f(g): g(timeout=5)", "g(timeout=5) -> g()"),
        ("def f(self): self.a = 1", "self.a = 1 -> (removed)"),
        ("def f(a):\n if a: g()", "a -> True"),
        ("def f(a): return [b for b in a if b]", "b -> True"),
        ("def f():\n try: g()\n except OSError: pass", "pass -> raise"),
        ("def f():\n try: g()\n except (A, B): pass", "(A, B) -> (B,)"),
        ("def f():\n with suppress(A): pass", "suppress(A) -> suppress()"),
        ("def f():\n with lock: pass", 'lock -> __import__("contextlib").nullcontext()'),
        ("@retried(on=A)\ndef f(): pass", "@retried(on=A) -> (removed)"),
        ("def f(): raise A(1)", "raise A(1) -> (removed)"),
        ("def f(a): return max(a)", "max(a) -> min(a)"),
    ],
)
def test_python_faults(code: str, change: str) -> None:
    """What is planted by the kind of the code."""
    assert change in planted(code)


def test_the_same_fault_twice_on_a_line_has_two_names() -> None:
    """So that one of them can be known as equivalent."""
    changes = planted("def f(): return a(2) < b(2)")
    assert changes.count("2 -> 1") == changes.count("2 -> 1 (number 2)") == 1


@pytest.mark.parametrize(
    "code",
    [
        "LIMIT = 5",
        'def f(): """Doc, and SELECT nothing."""',
        "def f(a: int | str = None) -> A | B: ...",
        "if TYPE_CHECKING:\n    import a",
        "@dataclass(frozen=True)\nclass A: pass",
        "def f(a): assert a > 1",
    ],
)
def test_what_says_little_is_left_out(code: str) -> None:
    """Annotations, sizes, what is for type checkers."""
    assert [each for each in planted(code) if not each.startswith("...")] == []


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("SELECT a FROM t WHERE b = 1 AND c > 2 FOR UPDATE SKIP LOCKED", text)
        for text in (
            "SELECT a FROM t WHERE c > 2 FOR UPDATE SKIP LOCKED",
            "SELECT a FROM t WHERE b = 1 FOR UPDATE SKIP LOCKED",
            "SELECT a FROM t FOR UPDATE SKIP LOCKED",
            "SELECT a FROM t WHERE b = 1 AND c >= 2 FOR UPDATE SKIP LOCKED",
            "SELECT a FROM t WHERE b = 1 AND c > 2 FOR UPDATE",
            "SELECT a FROM t WHERE b = 1 AND c > 2",
        )
    ]
    + [
        ("UPDATE t SET a = f(1, 2), b = 3 WHERE c", "UPDATE t SET b = 3 WHERE c"),
        ("UPDATE t SET a = f(1, 2), b = 3 WHERE c", "UPDATE t SET a = f(1, 2) WHERE c"),
        ("SELECT a FROM (SELECT b FROM t LIMIT 1) x", "SELECT a FROM (SELECT b FROM t ) x"),
        ("SELECT a FROM t ORDER BY a DESC LIMIT 3", "SELECT a FROM t LIMIT 3"),
        ("SELECT a FROM t ORDER BY a DESC LIMIT 3", "SELECT a FROM t ORDER BY a ASC LIMIT 3"),
        ("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", "INSERT INTO t VALUES (1) "),
        ("SET LOCAL x = 0; COMMIT", " COMMIT"),
    ],
)
def test_sql_faults(text: str, changed: str) -> None:
    """Locks, conditions, order and single assignments go, one at a time."""
    found = [text[:start] + new + text[end:] for start, end, new in sql.changes(text)]
    assert " ".join(changed.split()) in [" ".join(each.split()) for each in found]


@pytest.mark.parametrize("path", ["service", "ops"])
def test_every_mutant_is_another_program(path: str) -> None:
    """Each differs and compiles: one that does not is killed by anything. One in seven is tried."""
    for name in project.sources(ROOT, [path]):
        for mutant in syntax.mutants(name, (ROOT / name).read_text())[::7]:
            compile(mutant.changed, name, "exec", dont_inherit=True)
            assert mutant.changed != mutant.source


def test_each_known_equivalent_is_a_mutant_still() -> None:
    """An entry whose line was changed is to be looked at again, or removed."""
    known = equivalents.load(ROOT)
    names = {
        mutant.name
        for path in {file for file, _, _ in known}
        for mutant in syntax.mutants(path, (ROOT / path).read_text())
    }
    assert set(known) - names == set()
    assert all(known.values())
