"""The table that a person reads: ratios first, at most 100 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.results import CONTROL, PLAIN, SUBJECT, Ratio, Results, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

TITLES = {
    "workloads": "Four workloads",
    "clients": "Many clients",
    "rows": "Many rows",
    "stack": "The stack, through its published port",
}
# Each column's head and width; figures are on the right.
COLUMNS = (
    *(("workload", -11), ("conns", 5), ("service", -8), ("to control", 16), ("to plain", 16)),
    *(("req/s", 8), ("p50 ms", 6), ("p99 ms", 7), ("CPU us", 6), ("bad", 8)),
)
LEGEND = """\
to control, to plain: requests/s, Holdfast's divided by the other's, median (range) of the rounds.
control: bare Starlette, asyncpg, orjson. plain: FastAPI with asyncpg, as most people write it.
CPU us: microseconds a request that the service's own process computed."""


def table(results: Results) -> str:
    """Return all that was measured, for people."""
    return "\n".join(_lines(results))


def _lines(results: Results) -> Iterator[str]:
    yield _line(*(head for head, _ in COLUMNS))
    for part, title in TITLES.items():
        rows = [row for row in results.rows if row.part == part]
        if not rows and part not in results.not_measured:
            continue
        yield ""
        yield title
        yield from (_row(results, row) for row in rows)
        yield from _figures(results, part)
        if part in results.not_measured:
            yield f"  not measured: {results.not_measured[part]}"
    yield ""
    yield LEGEND
    if any(row.marked for row in results.rows):
        yield "!: not every answer was a success, so the row compares with nothing."
    yield from results.notes


def _row(results: Results, row: Row) -> str:
    ours = row.service == SUBJECT
    to = [_ratio(results.to(row, other)) if ours else "" for other in (CONTROL, PLAIN)]
    return _line(
        row.workload,
        f"{row.connections:,}",
        row.service,
        *to,
        _number(row.median("rate"), 0),
        _latency(row.median("p50")),
        _latency(row.median("p99")),
        _number(row.median("cpu"), 0),
        f"{row.bad:,}{'!' if row.marked else ''}",
    )


def _figures(results: Results, part: str) -> Iterator[str]:
    found = results.figures.get(part, {})
    if "users" in found:
        yield (
            f"  {found['users']:,} users: the last page's p50 is "
            f"{found['last_to_first']['median']:.2f} times the first's "
            f"({found['last_to_first']['least']:.2f}-{found['last_to_first']['most']:.2f})"
        )
    if "quiet_cores" in found:
        yield (
            f"  quiet, {found['containers']} containers use {found['quiet_cores']:.2f} cores "
            f"({found['quiet_seconds']:.0f} s)"
        )


def _line(*cells: str) -> str:
    parts = (
        f"{cell:<{-width}}" if width < 0 else f"{cell:>{width}}"
        for cell, (_, width) in zip(cells, COLUMNS, strict=True)
    )
    return " ".join(parts).rstrip()


def _ratio(ratio: Ratio | None) -> str:
    return f"{ratio.median:.2f} ({ratio.least:.2f}-{ratio.most:.2f})" if ratio else ""


def _latency(value: float | None) -> str:
    return _number(value, 2 if value is None or value < 100 else 0)  # noqa: PLR2004


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
