"""What the figures were measured on: they mean nothing without it."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import generator
from ops import machine
from ops.names import ROOT

FILES_WANTED = 65_536
WIDTH = 100
BUSY = 0.5
"""Processes that want to run, for each core, before anything is measured."""


def describe() -> dict[str, Any]:
    """Return the machine, the moment and the commit."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": {
            "cores": machine.processors(),
            "cpu": cpu_model(Path("/proc/cpuinfo").read_text()),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "load_before": round(os.getloadavg()[0], 2),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "wrk": generator.version(),
        },
    }


def headline(about: dict[str, Any]) -> str:
    """Return where and when it was, in a line of 100 columns at most."""
    here = about["machine"]
    parts = [
        f"{about['date'][:10]}, {about['commit']}",
        f"{here['cores']:g} cores",
        f"Python {here['python']}",
        f"PostgreSQL {about.get('postgresql', 'of the stack')}",
        here["cpu"],
    ]
    return "; ".join(parts)[:WIDTH]


def busy(here: dict[str, Any]) -> list[str]:
    """Return a note if other programs had work for the cores when it began."""
    if here["load_before"] < here["cores"] * BUSY:
        return []
    load = f"load {here['load_before']:g} on {here['cores']:g} cores"
    return [f"The machine was busy before it began: {load}. Ratios may be off."]


def cpu_model(text: str) -> str:
    """Find the processor's name in /proc/cpuinfo; not every architecture says one."""
    names = [line.partition(":")[2] for line in text.splitlines() if line.startswith("model name")]
    return names[0].strip() if names else platform.machine()


def commit() -> str:
    """Return the commit, with a + if files differ from it; `unknown` outside of a checkout."""
    try:
        name = _git("rev-parse", "--short=12", "HEAD")
        return name + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def raise_file_limit() -> int:
    """Let this process and those it starts open as many files as they may; return how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return wanted if soft == resource.RLIM_INFINITY else soft


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
