"""Grafana's JSON of a dashboard, made with the types of the Grafana Foundation SDK."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeVar

from grafana_foundation_sdk.builders import common as options
from grafana_foundation_sdk.builders import dashboard as grafana
from grafana_foundation_sdk.builders import prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models

from dashboards.model import BLUE, FAST, GREY, Dashboard, Event, Panel, Query

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = common.DataSourceRef(type_val="prometheus", uid="${source}")
TAG = "holdfast"
NAMES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Made = TypeVar("Made", timeseries.Panel, stat.Panel, statetimeline.Panel)


def text(dashboard: Dashboard) -> str:
    """Return the file of a dashboard."""
    return json.dumps(built(dashboard), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def built(dashboard: Dashboard) -> models.Dashboard:
    """Return a dashboard in the library's types."""
    page = (
        grafana.Dashboard(f"Holdfast: {dashboard.title}")
        .uid(f"holdfast-{dashboard.uid}")
        .description(dashboard.description)
        .tags([TAG])
        .readonly()
        .timezone("browser")
        .time(dashboard.since, "now")
        .refresh(dashboard.refresh)
        .timepicker(grafana.TimePicker().refresh_intervals(["5s", "10s", "30s", "1m", "5m"]))
        # One pointer over all panels: what happened elsewhere at that moment?
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(
            grafana.DashboardLink("Holdfast")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .keep_time(True)
        )
        .with_variable(grafana.DatasourceVariable("source").label("Prometheus").type("prometheus"))
    )
    if dashboard.instances:
        page.with_variable(_instance(dashboard.instances))
    for event in dashboard.events:
        page.annotation(_annotation(event))
    identity = iter(range(1, 1000))
    for row in dashboard.rows:
        page.with_row(grafana.Row(row.title).id(next(identity)))
        for panel in row.panels:
            page.with_panel(_panel(panel).id(next(identity)))
    return page.build()


def _instance(job: str) -> grafana.QueryVariable:
    everything = models.VariableOption(selected=True, text="All", value="$__all")
    return (
        grafana.QueryVariable("instance")
        .label("Instance")
        .datasource(SOURCE)
        .query(f'label_values(up{{job="{job}"}}, instance)')
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .current(everything)
    )


class _Titled(models.AnnotationQuery):
    """Says what it is where it is marked: Grafana reads this, and the library's type lacks it."""

    def to_json(self) -> dict[str, object]:
        return super().to_json() | {"titleFormat": self.name}


class _Annotation(grafana.AnnotationQuery):
    def __init__(self) -> None:
        self._internal = _Titled()


def _annotation(event: Event) -> grafana.AnnotationQuery:
    return (
        _Annotation()
        .name(event.title)
        .datasource(SOURCE)
        .enable(True)
        .icon_color(event.colour)
        .expr(event.expression)
    )


def _panel(panel: Panel) -> timeseries.Panel | stat.Panel | statetimeline.Panel:
    if panel.kind == "number":
        return _number(_common(stat.Panel(), panel))
    if panel.kind == "states":
        return _states(_common(statetimeline.Panel(), panel))
    return _lines(_common(timeseries.Panel(), panel), panel)


def _common(made: Made, panel: Panel) -> Made:
    made = (
        made.title(panel.title)
        .description(panel.description)
        .datasource(SOURCE)
        .unit(panel.unit)
        .span(panel.span)
        .height(panel.height)
        .targets(list(_targets(panel)))
    )
    if panel.most is not None:
        made.max(panel.most)
    if panel.decimals is not None:
        made.decimals(panel.decimals)
    steps = panel.steps or ((None, BLUE if panel.kind == "number" else GREY),)
    colours = [models.Threshold(value=value, color=colour) for value, colour in steps]
    made.thresholds(grafana.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(colours))
    if panel.words:
        called = {
            str(value): models.ValueMappingResult(text=word, color=colour, index=place)
            for place, (value, word, colour) in enumerate(panel.words)
        }
        made.mappings([models.ValueMap(options=called)])
    return made


def _targets(panel: Panel) -> Iterator[prometheus.Dataquery]:
    for name, query in zip(NAMES, panel.queries, strict=False):
        target = (
            prometheus.Dataquery().ref_id(name).expr(query.expression).legend_format(query.legend)
        )
        yield target.instant() if panel.kind == "number" else _over_time(target, query)


def _over_time(target: prometheus.Dataquery, query: Query) -> prometheus.Dataquery:
    # $__rate_interval is four of these: what is asked every 5 s shows a pause of seconds.
    quick = any(f'job="{each}"' in query.expression for each in ("app", "haproxy", "proxy"))
    slow = any(f'job="{each}"' in query.expression for each in ("postgres", "monitor", "edge"))
    return target.range().interval(FAST) if quick and not slow else target.range()


def _number(made: stat.Panel) -> stat.Panel:
    return (
        made.graph_mode(common.BigValueGraphMode.NONE)
        .color_mode(common.BigValueColorMode.BACKGROUND)
        .reduce_options(options.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def _states(made: statetimeline.Panel) -> statetimeline.Panel:
    return (
        made.show_value(common.VisibilityMode.AUTO)
        .fill_opacity(80)
        .line_width(0)
        # The colours of the words.
        .color_scheme(grafana.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .merge_values(True)
        .legend(options.VizLegendOptions().show_legend(show_legend=False))
    )


def _lines(made: timeseries.Panel, panel: Panel) -> timeseries.Panel:
    legend = options.VizLegendOptions().show_legend(show_legend=True)
    made = (
        made.legend(
            legend.display_mode(common.LegendDisplayMode.LIST).placement(
                common.LegendPlacement.BOTTOM
            )
        )
        .tooltip(options.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
        .min(0)
        .line_width(1)
        .show_points(common.VisibilityMode.NEVER)
    )
    if panel.kind == "stacked":
        made.fill_opacity(30).stacking(
            options.StackingConfig().mode(common.StackingMode.NORMAL).group("A")
        )
    if panel.kind == "steps":
        made.line_interpolation(common.LineInterpolation.STEP_AFTER)
    if panel.steps:
        dashed = options.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        made.thresholds_style(dashed)
    return made
