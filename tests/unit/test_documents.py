"""The documentation names what there is: settings, metrics, problems, files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ops import farewell
from service import errors
from service.api.problems import FRAMEWORK, OTHERWISE, VALIDATION
from service.app import create_app
from service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    path.relative_to(ROOT)
    for where in ("*.md", "docs/**/*.md", "deploy/**/*.md", "benchmarks/*.md")
    for path in ROOT.glob(where)
]
SERVICE = (ROOT / "deploy" / "service" / "README.md").read_text()
SEMANTICS = (ROOT / "docs" / "semantics.md").read_text()
# Errors that no client is told as themselves: roots, and what a retry turns into another.
INSIDE = {errors.RequestError, errors.ConstraintViolated, errors.DatabaseFailure}


def named(text: str) -> set[str]:
    """Return every name in backquotes; `A`, `_B` after a name stands for a longer one."""
    return set(re.findall(r"`([^`\s]+?)(?:\{\w+\})?`", text))


def is_named(name: str, names: set[str]) -> bool:
    """Whether a name stands there, or its end does, after another of its family."""
    ends = [other for other in names if other.startswith("_") and name.endswith(other)]
    stems = [name.removesuffix(end) + "_" for end in ends]
    return name in names or any(other.startswith(stem) for stem in stems for other in names)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_listed(name: str) -> None:
    """Each variable stands in the table of settings."""
    assert is_named(name.upper(), named(SERVICE))


def test_every_metric_is_listed() -> None:
    """Each metric stands in the table of metrics, a counter with its ending."""
    collector = "http://nowhere:4318"  # with one there are metrics more
    settings = Settings(db_write_host="nowhere", otel_exporter_otlp_endpoint=collector)
    registry = create_app(settings).state.registry
    ours = [each for each in registry.collect() if each.name.startswith("holdfast_")]
    names = {f"{each.name}_total" if each.type == "counter" else each.name for each in ours}
    assert len(names) > 15
    assert {name for name in names if not is_named(name, named(SERVICE))} == set()


def test_every_problem_is_listed() -> None:
    """Each problem stands in the table of problems with its status, and no other does."""
    told = {
        (error.problem, error.status)
        for error in (getattr(errors, name) for name in errors.__all__)
        if error not in INSIDE
    }
    told |= {(name, status) for status, (name, _) in FRAMEWORK.items()}
    told |= {(OTHERWISE[0], 400), (VALIDATION[0], 422)}
    table = re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \|", SEMANTICS, flags=re.MULTILINE)
    assert {(name, int(status)) for name, status in table} == told


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_lead_somewhere(document: Path) -> None:
    """Each relative link is a file, and each anchor a heading."""
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", (ROOT / document).read_text()):
        path, _, anchor = target.partition("#")
        there = ROOT / document.parent / path if path else ROOT / document
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", there.read_text(), flags=re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}
            assert anchor in anchors, target


def test_no_two_texts_create_the_same_user() -> None:
    """Whoever follows one text after another is not told 409: each has addresses of its own.

    One that is sent again with its Idempotency-Key is one user.
    """
    told = {str(path): (ROOT / path).read_text() for path in DOCUMENTS}
    told["make up"] = farewell.text(Path("secrets"))
    created: dict[str, set[tuple[str, str]]] = {}
    for name, text in told.items():
        for command in re.findall(r"curl (?:.*\\\n)*.*", text):
            key = re.search(r"idempotency-key: \\?\"([^\"\\]+)", command)
            for address in re.findall(r"-d [\"']\{\\?\"email\\?\": \\?\"([^\"$\\]+)\\?\"", command):
                once = key[1] if key else f"{len(created.get(address, ()))}"
                created.setdefault(address, set()).add((name, once))
    assert len(created) >= 4
    assert {address: where for address, where in created.items() if len(where) > 1} == {}


@pytest.mark.parametrize(
    "decision", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda path: path.name
)
def test_a_decision_is_a_page(decision: Path) -> None:
    """Each has sixty lines at most, and its number is its own."""
    assert len(decision.read_text().splitlines()) <= 60
    number = decision.name[:4]
    assert len(list(decision.parent.glob(f"{number}-*"))) == 1
