"""What `make up` says when the stack is up: where everything is, what to try, what it lacks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ops import cluster, names, settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TEXT = """
Holdfast is up{called}.

  service       http://{host}:{HTTP_PORT}/api/users     (docs: /docs)
  statistics    http://{host}:{STATS_PORT}/              (metrics: /metrics)
  PostgreSQL    {host}:{WRITE_PORT} write, {host}:{READ_PORT} read; database holdfast,
                role holdfast_app, password in {secrets}/db_password
  networks      {EDGE_SUBNET} (virtual IP {vip}), {DATABASE_SUBNET}

Three things to try:
  1. {token}curl -i {host}:{HTTP_PORT}/api/users -H 'content-type: application/json' \\
{header}         -d '{{"email": "barbara@example.org", "name": "Barbara"}}'
  2. docker kill $({make} -s primary)      # then list and create users: a pause, no error
     docker start {prefix}postgres1 {prefix}postgres2    # the old primary comes back as a standby
  3. docker kill $({make} -s vip)          # the proxy with the virtual IP: the other takes over
     docker start {prefix}haproxy1 {prefix}haproxy2
{access}{watched}
`{make} status` shows the cluster, `{make} down` stops it (data stays), `{make} clean` removes
its data.
"""


MADE = """TOKEN=$({holdfast} access add me --scope read --scope write)
     """
HEADER = """         -H "authorization: Bearer $TOKEN" \\
"""
ASKED = {
    "writes": "The service asks for a token on writes (ACCESS=writes)",
    "all": "The service asks for a token on everything under /api (ACCESS=all)",
}
WATCHED = """
Watched by Prometheus https://localhost:{PROMETHEUS_PORT}/alerts and Alertmanager https://localhost:{ALERTMANAGER_PORT}/
as holdfast, with the password in {secrets}/stats_password (docs/monitoring.md).
"""
UNWATCHED = """
Nobody is told when something is wrong: `MONITORING=yes {make} up` adds that (docs/monitoring.md).
"""
LOADS = "`{holdfast} load` and `drill` take one from HOLDFAST_TOKEN"


def text(secrets: Path, access: str | None = None, lacks: Sequence[str] = ()) -> str:
    """Return it for this stack; `secrets` is the folder of its secrets.

    `access`: as ACCESS; `lacks`: sentences on the machine (ops.machine).
    """
    told: dict[str, object] = {name: settings.port(name) for name in settings.ALL_PORTS}
    told |= {name: settings.subnet(name) for name in settings.SUBNETS}
    at = settings.published_on()
    said = TEXT.format(
        **told,
        **_of_access(access),
        watched=_of_monitoring().format(**told, secrets=secrets, make=names.command("make")),
        called="" if names.is_default() else f", as the stack {names.stack()}",
        host="localhost" if at == "127.0.0.1" else at,
        secrets=secrets,
        vip=cluster.vip(),
        make=names.command("make"),
        prefix=names.prefix(),
    )
    return "\n".join([said, *(f"  ! {line}" for line in lacks)])


def _of_monitoring() -> str:
    return WATCHED if settings.is_watched(os.environ) else UNWATCHED


def _of_access(access: str | None) -> dict[str, str]:
    """Return what is said of tokens: nothing where none are asked for."""
    asked = ASKED.get(access or "")
    if asked is None:
        return {"token": "", "header": "", "access": ""}
    holdfast = names.command("./holdfast")
    return {
        "token": MADE.format(holdfast=holdfast),
        "header": HEADER,
        "access": f"\n{asked}.\n{LOADS.format(holdfast=holdfast)}.\n",
    }
