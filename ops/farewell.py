"""What `make up` says when the stack is up: where everything is, and what to try."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops import cluster, names, settings

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """
Holdfast is up{called}.

  service       http://{host}:{HTTP_PORT}/api/users     (docs: /docs)
  statistics    http://{host}:{STATS_PORT}/              (metrics: /metrics)
  PostgreSQL    {host}:{WRITE_PORT} write, {host}:{READ_PORT} read; database holdfast,
                role holdfast_app, password in {secrets}/db_password
  networks      {EDGE_SUBNET} (virtual IP {vip}), {DATABASE_SUBNET}

Three things to try:
  1. curl -i {host}:{HTTP_PORT}/api/users -H 'content-type: application/json' \\
         -d '{{"email": "grace@example.org", "name": "Grace"}}'
  2. docker kill $({make} -s primary)      # then list and create users: a pause, no error
     docker start {prefix}postgres1 {prefix}postgres2    # the old primary comes back as a standby
  3. docker kill $({make} -s vip)          # the proxy with the virtual IP: the other takes over
     docker start {prefix}haproxy1 {prefix}haproxy2

`{make} status` shows the cluster, `{make} down` stops it (data stays), `{make} clean` removes
its data.
"""


def text(secrets: Path) -> str:
    """Return it for this stack; `secrets` is the folder of its secrets."""
    told: dict[str, object] = {name: settings.port(name) for name in settings.PORTS}
    told |= {name: settings.subnet(name) for name in settings.SUBNETS}
    at = settings.published_on()
    return TEXT.format(
        **told,
        called="" if names.is_default() else f", as the stack {names.stack()}",
        host="localhost" if at == "127.0.0.1" else at,
        secrets=secrets,
        vip=cluster.vip(),
        make=names.command("make"),
        prefix=names.prefix(),
    )
