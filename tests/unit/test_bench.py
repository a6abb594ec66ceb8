"""What `make bench` makes of what wrk says: samples, medians, ratios, a table and a document."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from benchmarks import generator, machine, space, stack
from benchmarks.__main__ import PARTS, main, parse
from benchmarks.generator import MeasureError, Sample
from benchmarks.report import TITLES, table
from benchmarks.results import CONTROL, PLAIN, SUBJECT, Ratio, Results, ratio
from benchmarks.services import TICKS, cpu_seconds
from benchmarks.workloads import rotated

if TYPE_CHECKING:
    from pathlib import Path

# As wrk 4.1.0 printed it.
RECORDED = """\
Running 60m test @ http://127.0.0.1:18999/nothing
  1 threads and 4 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.72ms  447.34us   4.39ms   74.02%
    Req/Sec     2.29k    37.06     2.34k    75.00%
  911 requests in 399.45ms, 463.16KB read
  Non-2xx or 3xx responses: 911
Requests/sec:   2280.66
Transfer/sec:      1.13MB
"""
RESULT = (
    'RESULT {"requests": 911, "microseconds": 399446, "p50": 1656, "p99": 3166, '
    '"connect": 0, "read": 0, "write": 0, "timeout": 0, "status": 911}\n'
)


def sample(rate: float, *, bad: int = 0, p50: float = 2.0, cpu: float | None = 100.0) -> Sample:
    """A window of two seconds with so many good answers a second."""
    return Sample(int(rate * 2) + bad, bad, 2.0, p50, p50 * 3, cpu)


def measured() -> Results:
    """Three rounds of one workload, a level of clients, many rows and a stack."""
    results = Results()
    for service, rates in {SUBJECT: (900, 1000, 800), CONTROL: (1000, 1000, 500),
                           PLAIN: (600, 500, 400)}.items():  # fmt: skip
        row = results.row("workloads", "read", 16, service)
        row.samples.extend(sample(rate) for rate in rates)
    results.row("clients", "write", 1000, SUBJECT).samples.append(sample(90_000, bad=3))
    results.row("clients", "write", 1000, CONTROL).samples.append(sample(123_456, p50=1234.567))
    results.row("rows", "last page", 1, SUBJECT).samples.append(sample(1000))
    results.figures["rows"] = {"users": 10_000_000, "last_to_first": Ratio(1, 0.9, 1.2).document()}
    results.row("stack", "read", 64, "stack").samples.append(sample(700, cpu=None))
    results.figures["stack"] = {"containers": 11, "quiet_cores": 0.5, "quiet_seconds": 10.02}
    return results


# ------------------------------------------------------------ wrk


def test_a_result_is_read_from_what_wrk_prints() -> None:
    """Requests, time and latencies in their units; a refusal is bad, and no good answer."""
    read = generator.parse(RECORDED + RESULT)
    assert read == Sample(requests=911, bad=911, seconds=0.399446, p50=1.656, p99=3.166)
    assert read.rate == 0


@pytest.mark.parametrize("kind", ["connect", "read", "write", "timeout", "status"])
def test_each_kind_of_failure_is_bad(kind: str) -> None:
    """Of sockets and of answers alike."""
    said = json.loads(RESULT.replace("911}", "0}").removeprefix("RESULT ")) | {kind: 11}
    read = generator.parse(f"RESULT {json.dumps(said)}\n")
    assert read.bad == 11
    assert read.rate == pytest.approx(900 / 0.399446)


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (RECORDED, "wrk printed no result: Running"),
        ("", "nothing at all"),
        ("unable to connect to 127.0.0.1:1 Connection refused", "Connection refused"),
        (RESULT.replace("399446", "0"), "measured no time"),
    ],
)
def test_what_is_no_result_is_told(output: str, why: str) -> None:
    """An error of wrk's is not taken for a service that answers nothing."""
    with pytest.raises(MeasureError, match=why):
        generator.parse(output)


# ------------------------------------------------------------ medians and ratios


def test_ratios_are_of_rounds() -> None:
    """The median of each round's ratio, not the ratio of medians: a slow round is slow for both."""
    found = measured().to(measured().rows[0], CONTROL)
    assert found == Ratio(median=1.0, least=0.9, most=1.6)


def test_there_is_no_ratio_to_nothing() -> None:
    """Neither without rounds, nor to a service that answered nothing in one."""
    assert ratio([], []) is None
    assert ratio([1.0], []) is None
    assert ratio([1.0, 1.0], [1.0, 0.0]) is None
    assert ratio([3.0, 1.0], [1.0]) == Ratio(3.0, 3.0, 3.0)  # measuring ended in a round


def test_a_rows_figures_are_medians() -> None:
    """Of all rounds; none where a round has none."""
    row = measured().rows[0]
    assert (row.median("rate"), row.median("p50"), row.median("cpu")) == (900, 2.0, 100.0)
    row.samples.append(sample(1, cpu=None))
    assert row.median("cpu") is None
    assert row.requests == 2 * (900 + 1000 + 800 + 1)


def test_a_bad_answer_marks_a_row() -> None:
    """One is enough, and so are no answers at all."""
    marked = [(row.part, row.service) for row in measured().rows if row.marked]
    assert marked == [("clients", SUBJECT)]
    assert Results().row("clients", "read", 10, SUBJECT).marked


def test_the_order_rotates() -> None:
    """Each is first in turn, and last."""
    rounds = [rotated("abc", number) for number in range(4)]
    assert ["".join(order) for order in rounds] == ["abc", "bca", "cab", "abc"]


# ------------------------------------------------------------ what is shown


def test_the_document_begins_with_the_ratios() -> None:
    """Then the machine, then every row, with what people compute from."""
    document = json.loads(json.dumps(measured().document({"machine": {"cores": 2}})))
    assert list(document) == [
        *("format", "ratios", "machine", "rows", "figures", "not_measured", "notes")
    ]
    assert document["ratios"]["workloads"] == {
        "read 16": {
            "to_control": {"median": 1.0, "least": 0.9, "most": 1.6},
            "to_plain": {"median": 2.0, "least": 1.5, "most": 2.0},
        }
    }
    assert set(document["ratios"]["clients"]) == {"write 1000"}
    assert document["rows"][0] == {
        "part": "workloads", "workload": "read", "connections": 16, "service": SUBJECT,
        "requests": 5400, "bad": 0, "per_second": 900.0, "p50_ms": 2.0, "p99_ms": 6.0,
        "cpu_us": 100.0, "per_second_by_round": [900.0, 1000.0, 800.0],
    }  # fmt: skip
    assert len(document["rows"]) == 7
    assert document["figures"]["rows"]["last_to_first"]["median"] == 1.0


def test_the_table_fits_into_100_columns() -> None:
    """With ratios before figures, marks, and what was not measured with its reason."""
    results = measured()
    results.not_measured["stack"] = "no stack is running; `make up` first"
    lines = table(results).splitlines()
    assert max(map(len, lines)) <= 100
    assert "1.00 (0.90-1.60) 2.00 (1.50-2.00)      900   2.00    6.00    100" in lines[3]
    assert next(line for line in lines if "1,000 holdfast" in line).endswith(" 3!")
    assert "  quiet, 11 containers use 0.50 cores (10 s)" in lines
    assert "  10,000,000 users: the last page's p50 is 1.00 times the first's (0.90-1.20)" in lines
    assert "  not measured: no stack is running; `make up` first" in lines
    assert any(line.startswith("!: not every answer") for line in lines)


def test_what_was_not_asked_for_is_not_in_the_table() -> None:
    """A title stands only over what was measured, or could not be."""
    assert set(TITLES) == set(PARTS)
    shown = table(Results())
    assert not any(title in shown for title in TITLES.values())


# ------------------------------------------------------------ the machine


def test_a_process_has_used_what_its_threads_have(tmp_path: Path) -> None:
    """User and system time of /proc/PID/stat, whatever the program is called."""
    (tmp_path / "7").mkdir()
    fields = ["7", "(a) b)", "S", *map(str, range(4, 14)), str(3 * TICKS), str(TICKS), "0", "0"]
    (tmp_path / "7" / "stat").write_text(" ".join(fields))
    assert cpu_seconds(7, tmp_path) == 4


@pytest.mark.parametrize(
    ("lines", "file", "text"),
    [
        ("4:memory:/m\n3:cpu,cpuacct:/docker/a\n0::/docker/a", "cpuacct/docker/a/cpuacct.usage",
         "1500000000\n"),
        ("0::/system.slice/docker-a.scope", "system.slice/docker-a.scope/cpu.stat",
         "usage_usec 1500000\nuser_usec 1\n"),
        ("3:cpu,cpuacct:/elsewhere\n0::/u", "u/cpu.stat", "nr 1\nusage_usec 1500000\n"),
    ],
    ids=["version 1", "version 2", "both"],
)  # fmt: skip
def test_a_containers_processor_time(tmp_path: Path, lines: str, file: str, text: str) -> None:
    """By either version of cgroups, in seconds."""
    (tmp_path / "proc" / "7").mkdir(parents=True)
    (tmp_path / "proc" / "7" / "cgroup").write_text(lines)
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(text)
    assert stack.usage(7, tmp_path / "proc", tmp_path) == 1.5


def test_an_engine_elsewhere_is_told(tmp_path: Path) -> None:
    """Its processes are not here, or their cgroups are not."""
    with pytest.raises(MeasureError, match="process 7 is not on this machine"):
        stack.usage(7, tmp_path, tmp_path)
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cgroup").write_text("0::/../docker-a.scope")
    with pytest.raises(MeasureError, match="no cgroup of process 7"):
        stack.usage(7, tmp_path, tmp_path)


def test_the_processor_has_a_name() -> None:
    """The first one's; the architecture's where there is none."""
    assert machine.cpu_model("processor : 0\nmodel name\t: A: 2 GHz\nmodel name\t: B") == "A: 2 GHz"
    assert machine.cpu_model("processor : 0") == machine.platform.machine()


def test_a_busy_machine_is_told() -> None:
    """It has a note if there was work for half of its cores before."""
    assert machine.busy({"cores": 2.0, "load_before": 0.9}) == []
    assert "load 1 on 2 cores" in machine.busy({"cores": 2.0, "load_before": 1.0})[0]


def test_the_headline_names_the_machine() -> None:
    """The moment, the commit, and what has an influence; a long name of a processor is cut."""
    here = {"cores": 2.0, "python": "3.11.7", "cpu": "a processor " * 20}
    about = {"date": "2026-11-27T19", "commit": "abc", "postgresql": "17.10", "machine": here}
    assert len(machine.headline(about)) == 100
    for part in ("2026-11-27, abc", "2 cores", "Python 3.11.7", "PostgreSQL 17.10", "a processor"):
        assert part in machine.headline(about)


def test_room_is_asked_for_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is too little, the part is not begun, and it is said how much it wants."""
    room = space.needed(10_000_000)
    assert 6e9 < room < 7e9
    monkeypatch.setattr(space, "free", lambda _: room)
    assert space.place(10_000_000, tmp_path) == (tmp_path, "")
    monkeypatch.setattr(space, "free", lambda _: room - 1)
    where, lack = space.place(10_000_000, tmp_path)
    assert where == tmp_path
    assert "10,000,000 users need 6.6 GB" in lack
    assert "--directory" in lack


# ------------------------------------------------------------ the command line


def test_the_long_form_has_more_of_everything() -> None:
    """What is said on the command line is kept in either."""
    short, long = parse([]), parse(["--long"])
    assert (short.users, long.users) == (200_000, 10_000_000)
    assert long.rounds > short.rounds
    assert long.seconds > short.seconds
    assert parse(["--long", "--users", "100"]).users == 100
    assert parse(["--only", "rows,stack"]).only == {"rows", "stack"}


@pytest.mark.parametrize(
    "arguments",
    ["--only rest", "--rounds 0", "--seconds 0", "--users 99", "--clients ten", "--clients 0"],
)
def test_a_wrong_argument_is_told(arguments: str) -> None:
    """Before anything starts, with exit code 2."""
    with pytest.raises(SystemExit, match="2"):
        parse(arguments.split())


def test_the_short_form_fits_into_three_minutes() -> None:
    """Windows alone, with warm-ups; what starts and stops takes half a minute beside them."""
    short = parse([])
    services, four, levels = 3, 4, len(short.clients) * 2
    windows = four * services * (short.rounds * short.seconds + 0.5)
    windows += levels * 2 * short.clients_rounds * short.seconds
    windows += 2 * 2 * short.clients_rounds * short.seconds  # 1,000 connections: twice as long
    windows += 2 * (short.rounds * short.seconds + 0.5)
    windows += short.quiet + 4 * short.seconds
    assert windows < 150


def test_without_wrk_nothing_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and how to get it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([]) == 2
    assert capsys.readouterr().err == f"{generator.MISSING}\n"
