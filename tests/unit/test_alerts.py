"""Every alert is whole: its numbers are settings, its words lead somewhere, its cases pass."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "monitoring"
TEMPLATES = sorted(FOLDER.glob("*.yml.template"))
RULES = [each for each in TEMPLATES if each.name.startswith("alerts")]
CASES = sorted((FOLDER / "tests").glob("*.yml"))


def _values(file: str) -> dict[str, str]:
    lines = (FOLDER / file).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


THRESHOLDS, SAFE = _values("thresholds"), _values("thresholds.safe")
SEVERITIES = {"page", "ticket", "info"}
ALWAYS = "Watchdog"
"""Fires while there is a monitoring at all, so no case of it is silent."""

PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")
"""Where there is none, its cases are the stack's alone (tests/stack/test_monitoring.py)."""


def rendered(template: Path) -> str:
    """Return the rules as the image has them: names of `thresholds` filled in, nothing else."""
    text = template.read_text()
    for name, value in THRESHOLDS.items():
        text = text.replace(f"${{{name}}}", value)
    return text


def alerts() -> dict[str, dict[str, Any]]:
    """Return every alert by its name."""
    groups = chain.from_iterable(yaml.safe_load(rendered(each))["groups"] for each in RULES)
    rules = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    return {rule["alert"]: rule for rule in rules}


ALERTS = alerts()


def anchor(heading: str) -> str:
    """Return what a link to a heading ends with."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def promtool(*words: str | Path) -> None:
    """Run promtool. Raises AssertionError with what it says when it is not content."""
    assert PROMTOOL
    command = [PROMTOOL, *words]
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the rules and their cases as they lie in the image."""
    folder = tmp_path_factory.mktemp("rules")
    for template in RULES:
        (folder / template.name.removesuffix(".template")).write_text(rendered(template))
    shutil.copytree(FOLDER / "tests", folder / "tests")
    return folder


def test_every_threshold_is_used_and_there() -> None:
    """No number is set in vain, and none is missing: envsubst would leave nothing in its place."""
    used = {name for each in RULES for name in re.findall(r"\$\{([^}]*)\}", each.read_text())}
    assert used == THRESHOLDS.keys()
    assert SAFE.keys() < THRESHOLDS.keys()


def test_every_wait_is_a_threshold() -> None:
    """How long a state must last is no number of a rule's own."""
    waits = [
        wait
        for each in RULES
        for wait in re.findall(r"^ +for: (.*)$", each.read_text(), re.MULTILINE)
    ]
    assert len(waits) > 30
    assert [wait for wait in waits if not re.fullmatch(r"\$\{\w+_FOR\}", wait)] == []


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_it_is_and_what_to_do(name: str) -> None:
    """How urgent it is, what happened, what clients notice, and a heading that there is."""
    alert = ALERTS[name]
    assert re.fullmatch(r"([A-Z][a-z0-9]*|[A-Z]+(?=[A-Z]|$)|\d[a-z])+", name)
    assert alert["labels"].keys() - {"member"} == {"severity"}
    assert alert["labels"]["severity"] in SEVERITIES
    told = alert["annotations"]
    assert told.keys() == {"summary", "clients", "runbook"}
    assert all(len(text) <= 140 and "\n" not in text for text in told.values())
    assert told["summary"].endswith(".")
    assert told["clients"].endswith(".")
    document, _, heading = told["runbook"].partition("#")
    assert document == "docs/runbook.md"
    headings = re.findall(r"^## (.+)$", (ROOT / document).read_text(), re.MULTILINE)
    assert heading in {anchor(each) for each in headings}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_a_case_that_fires_it_and_one_that_does_not(name: str) -> None:
    """Both in what promtool is given: a state, and a near miss of it."""
    checks = [
        check
        for file in CASES
        for case in yaml.safe_load(file.read_text())["tests"]
        for check in case.get("alert_rule_test", ())
        if check["alertname"] == name
    ]
    assert any(check["exp_alerts"] for check in checks)
    assert name == ALWAYS or any(not check["exp_alerts"] for check in checks)


def test_the_documentation_lists_every_alert() -> None:
    """Each stands in the table with its severity and its heading, and no other does."""
    text = (ROOT / "docs" / "monitoring.md").read_text()
    row = r"^\| `(\w+)` \| (\w+) \|.*\| \[[^\]]+\]\(runbook\.md#([^)]+)\) \|$"
    rows = re.findall(row, text, re.MULTILINE)
    listed = {name: (severity, heading) for name, severity, heading in rows}
    assert listed == {
        name: (each["labels"]["severity"], each["annotations"]["runbook"].partition("#")[2])
        for name, each in ALERTS.items()
    }


def matched(matchers: list[str]) -> set[str]:
    """Return the alerts that matchers of Alertmanager mean."""
    (matcher,) = matchers
    ((operator, pattern),) = re.findall(r'^alertname(=~?)"(.+)"$', matcher)
    names = pattern.split("|") if "(" not in pattern else [pattern]
    if operator == "=":
        assert pattern in ALERTS, pattern
        return {pattern}
    found = [{name for name in ALERTS if re.fullmatch(one, name)} for one in names]
    assert all(found), matcher
    return set().union(*found)


INHIBITIONS = yaml.safe_load((FOLDER / "inhibit.yml").read_text())["inhibit_rules"]


@pytest.mark.parametrize("rule", INHIBITIONS, ids=lambda rule: rule["source_matchers"][0])
def test_only_a_page_silences_a_page(rule: dict[str, list[str]]) -> None:
    """Somebody is called for whatever calls for somebody; and both sides have what must agree."""
    sources, targets = matched(rule["source_matchers"]), matched(rule["target_matchers"])
    assert not sources & targets
    if any(ALERTS[name]["labels"]["severity"] == "page" for name in targets):
        assert {ALERTS[name]["labels"]["severity"] for name in sources} == {"page"}
    if "member" in rule["equal"]:
        assert all("member" in ALERTS[name]["labels"] for name in sources | targets)


if PROMTOOL:

    def test_prometheus_understands_the_rules(image: Path) -> None:
        """As it reads them at its start."""
        promtool("check", "rules", *sorted(image.glob("*.yml")))

    @pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
    def test_the_rules_do_what_their_cases_say(image: Path, case: Path) -> None:
        """They fire when they should, with these words, and not when they should not."""
        promtool("test", "rules", image / "tests" / case.name)
