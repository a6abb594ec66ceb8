"""`holdfast load`: what it can be asked for. What it does needs packages: ops.cli.watched."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 - the command line reads the annotations at run time
from typing import Annotated

from ops import cluster
from ops.cli import packages
from ops.cli.output import Json, reported
from ops.cli.verbs import Option
from ops.load.plan import Plan


def load(
    *,
    writes: Annotated[float, Option("Writes per second.")] = 20.0,
    reads: Annotated[float, Option("Reads per second.")] = 80.0,
    seconds: Annotated[float | None, Option("Seconds to go on; until Ctrl-C if not given.")] = None,
    url: Annotated[
        str | None, Option("The service; this stack's if not given.", variable="HOLDFAST_URL")
    ] = None,
    changes: Annotated[float, Option("Share of writes that change a user.")] = 0.5,
    processes: Annotated[int, Option("Processes that send.")] = 1,
    keyed: Annotated[
        bool, Option("Choose an Idempotency-Key per write.", ("--keys",), either=True)
    ] = True,
    tokens: Annotated[bool, Option("Send Consistency-Tokens with reads.", either=True)] = True,
    retries: Annotated[bool, Option("Retry safe requests.", either=True)] = False,
    html: Annotated[
        Path | None, Option("Write a page, best below .holdfast/, which git ignores.")
    ] = None,
    calibration: Annotated[
        bool, Option("Measure the generator itself instead.", ("--calibrate",))
    ] = False,
    as_json: Json = False,
) -> None:
    """Send an open-loop load to the service, and report what its clients saw.

    Where the service asks for a token (ACCESS=writes, ACCESS=all), put one into HOLDFAST_TOKEN:
    HOLDFAST_TOKEN=$(./holdfast access add load --scope read --scope write) ./holdfast load
    """
    with reported(as_json=as_json):
        packages.need(sys.argv[1:])
        from ops.cli import watched  # noqa: PLC0415 - its packages are there only now

        if calibration:
            watched.calibrated(processes, as_json=as_json)
            return
        plan = Plan(
            base_url=url or cluster.service_url(),
            writes_per_second=writes,
            reads_per_second=reads,
            seconds=seconds,
            changes=changes,
            processes=processes,
            keyed=keyed,
            tokens=tokens,
            retries=retries,
        )
        watched.loaded(plan, html, as_json=as_json)
