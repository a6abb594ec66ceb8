"""Grafana's dashboards: the files are what the code makes, and ask for what there is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus, units

from dashboards.__main__ import FOLDER, files
from dashboards.overview import KEPT
from dashboards.pages import EMPTY_WHILE_WELL, PAGES, queries
from service.app import create_app
from service.settings import Settings

if TYPE_CHECKING:
    from dashboards.model import Dashboard, Panel

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
PANELS = [(page, panel) for page in PAGES for row in page.rows for panel in row.panels]
UNITS = {value for value in vars(units).values() if isinstance(value, str)}
WORDS = {"and", "or", "unless", "bool", "offset"}
PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")

by_panel = pytest.mark.parametrize(
    ("page", "panel"), PANELS, ids=[f"{page.uid}: {panel.title}" for page, panel in PANELS]
)


def made_by_us() -> set[str]:
    """Return the names of all metrics of the service, of our queries, rules, proxies, backups."""
    registry = create_app(Settings(db_write_host="nowhere")).state.registry
    names = {
        each.name + ending
        for each in registry.collect()
        for ending in {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(
            each.type, [""]
        )
    }
    for file in MONITORING.glob("queries.*.yml"):
        for space, query in yaml.safe_load(file.read_text()).items():
            columns = {column: of for metric in query["metrics"] for column, of in metric.items()}
            names |= {f"{space}_{name}" for name, of in columns.items() if of["usage"] != "LABEL"}
    for file in MONITORING.glob("alerts*.yml.template"):
        names |= set(re.findall(r"record: (\S+)", file.read_text()))
    for file in (ROOT / "deploy/haproxy/nodes.lua", ROOT / "deploy/postgres/bin/watched.sh"):
        names |= set(re.findall(r"\bholdfast_\w+", file.read_text()))
    return names


def made_by_others() -> set[str]:
    """Return the names that are committed, as the exporters' code is not here."""
    lines = (ROOT / "tests/unit/exporters.txt").read_text().splitlines()
    return {line for line in lines if not line.startswith("#")}


def named(expression: str) -> set[str]:
    """Return every metric of an expression."""
    rest = re.sub(r'"[^"]*"', "", expression)
    rest = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", rest)
    rest = re.sub(r"\b(by|without|on|ignoring|group_left|group_right) *\([^)]*\)", " ", rest)
    return set(re.findall(r"(?<![\w.])[a-zA-Z_][\w:]*\b(?! *\()", rest)) - WORDS


def test_what_names_a_metric_is_found() -> None:
    """Functions, labels, words and numbers are none."""
    asked = 'max by (a, b) (x_total{c="d"}[1h]) / on (e) rate(y:z[5m] offset 1h) or vector(1e3)'
    assert named(asked) == {"x_total", "y:z"}


def test_the_files_are_what_the_code_makes() -> None:
    """`make dashboards` would change nothing."""
    committed = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert committed == files()


@by_panel
def test_a_panel_says_what_it_shows(page: Dashboard, panel: Panel) -> None:
    """In a sentence, and in a unit that Grafana has."""
    assert re.fullmatch(r"[A-Z].{20,300}\.", panel.description)
    assert panel.unit in UNITS
    assert panel.queries
    assert len({query.legend for query in panel.queries}) == len(panel.queries)
    values = [value for value, _ in panel.steps if value is not None]
    assert values == sorted(set(values))
    assert len(values) == max(len(panel.steps) - 1, 0)
    assert bool(panel.words) == (panel.kind == "states")
    assert [other for of, other in PANELS if of is page and other.title == panel.title] == [panel]


@by_panel
def test_a_panel_asks_for_what_there_is(page: Dashboard, panel: Panel) -> None:
    """Each name is some exporter's, a rule's or the service's; instances are chosen where meant."""
    known = made_by_us() | made_by_others()
    for query in panel.queries:
        assert named(query.expression)
        assert named(query.expression) - known == set()
        assert "$instance" not in query.expression or page.instances


def test_the_list_of_others_has_nothing_of_ours() -> None:
    """Else a name that we drop would stay known."""
    assert not [name for name in made_by_others() if name.startswith("holdfast")]


def test_what_happened_is_asked_of_what_there_is() -> None:
    """Failovers, switchovers and moves of the address, on every dashboard."""
    known = made_by_us()
    for page in PAGES:
        assert len(page.events) >= 3
        for event in page.events:
            assert named(event.expression)
            assert named(event.expression) <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.uid)
def test_the_library_reads_a_file_back(page: Dashboard) -> None:
    """Into its types, queries included; what it writes then is the file, but for one word."""
    register_default_plugins()
    content = json.loads((FOLDER / f"{page.uid}.json").read_text())
    read = models.Dashboard.from_json(content)
    panels = [each for each in read.panels or [] if isinstance(each, models.Panel)]
    assert len(panels) == sum(len(row.panels) for row in page.rows)
    for panel in panels:
        assert panel.targets
        assert all(isinstance(target, prometheus.Dataquery) for target in panel.targets)
    for annotation in content["annotations"]["list"]:
        assert annotation.pop("titleFormat") == annotation["name"]
    assert json.loads(json.dumps(read, cls=JSONEncoder)) == content


def test_identities_are_unique() -> None:
    """Of dashboards, and of the panels of each; panels do not overlap."""
    assert len({page.uid for page in PAGES}) == len({page.title for page in PAGES}) == 5
    for content in map(json.loads, files().values()):
        numbers = [panel["id"] for panel in content["panels"]]
        assert len(set(numbers)) == len(numbers)
        places = [
            (x, y)
            for at in (panel["gridPos"] for panel in content["panels"])
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        ]
        assert len(set(places)) == len(places)
        assert max(x for x, _ in places) < 24


def test_queries_have_nothing_of_grafanas() -> None:
    """Prometheus takes them as they are."""
    asked = list(queries())
    assert len(asked) > 100
    for each in asked:
        assert set(re.findall(r"\$\w*", each.expression)) <= {"$1"}


def test_what_is_empty_while_all_is_well_is_there() -> None:
    """Nothing is on the list that no dashboard has."""
    assert EMPTY_WHILE_WELL.keys() <= {(each.dashboard, each.title) for each in queries()}


def test_the_budget_is_of_as_long_as_data_are_kept() -> None:
    """A longer window would show less than it says."""
    assert (
        f"--storage.tsdb.retention.time={KEPT} " in (MONITORING / "s6/prometheus/run").read_text()
    )


def test_instances_are_of_jobs_that_there_are() -> None:
    """What can be chosen is a job's."""
    jobs = re.findall(r"job_name: (\w+)", (MONITORING / "prometheus.yml.template").read_text())
    assert {page.instances for page in PAGES if page.instances} <= set(jobs)


if PROMTOOL:  # elsewhere a test of the stack asks its Prometheus

    def test_queries_are_promql(tmp_path: Path) -> None:
        """As rules, which promtool reads."""
        rules = [
            {"record": f"query:{place}", "expr": each.expression}
            for place, each in enumerate(queries())
        ]
        file = tmp_path / "rules.yml"
        file.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
        run = subprocess.run(
            [PROMTOOL, "check", "rules", file],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert run.returncode == 0, run.stdout + run.stderr


# ---------------------------------------------------------------- where Grafana finds them
COMPOSE = ROOT / "deploy" / "compose" / "grafana.yaml"
GRAFANA: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]["grafana"]


def test_grafana_is_confined() -> None:
    """As every part of the stack; on loopback, its password in a file."""
    assert GRAFANA["read_only"] is True
    assert GRAFANA["cap_drop"] == ["ALL"]
    assert GRAFANA["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in GRAFANA["ports"])
    secrets = {name: to for name, to in GRAFANA["environment"].items() if "PASSWORD" in name}
    assert secrets == {"GF_SECURITY_ADMIN_PASSWORD__FILE": "/run/secrets/stats_password"}
    assert "@" not in GRAFANA["image"]


def test_grafana_finds_the_dashboards_and_prometheus() -> None:
    """What is mounted is there, and read-only; the certificate is verified."""
    mounted = dict(each.removesuffix(":ro").split(":") for each in GRAFANA["volumes"])
    assert all(each.endswith(":ro") for each in GRAFANA["volumes"])
    assert all((COMPOSE.parent / path).exists() for path in mounted)
    assert (
        mounted["../monitoring/grafana/dashboards"]
        == _loaded("provider")["providers"][0]["options"]["path"]
    )
    source = _loaded("datasource")["datasources"][0]
    assert source["url"] == "https://monitoring:9090"
    assert source["jsonData"]["tlsAuthWithCACert"] is True
    assert source["secureJsonData"] == {
        "basicAuthPassword": "$__file{/run/secrets/stats_password}",
        "tlsCACert": "$__file{/run/secrets/tls_edge/ca.crt}",
    }


def _loaded(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((MONITORING / "grafana" / f"{name}.yml").read_text())
    return loaded
