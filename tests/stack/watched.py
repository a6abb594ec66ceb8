"""MONITORING=yes, as an operator asks it, and where its webhooks arrive."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from typing import TYPE_CHECKING, Any

import httpx

from ops import cluster
from tests.stack.support import ROOT, SECRETS, make, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROMETHEUS, ALERTMANAGER = "https://localhost:9090", "https://localhost:9093"
HOST = "172.30.0.1"
"""This host, from the network `edge`."""

SCRAPED_LIMIT = 60.0
"""Seconds for every target to have been asked since a start; each is within 10."""

TOLD_LIMIT = 150.0
"""Seconds for what is told within a minute, scrapes, rules and grouping included."""

OVER_LIMIT = 180.0
"""Seconds for what is over to be said to be over; Alertmanager sends once a minute."""

RELOAD = "s6-svc -h /run/s6/prometheus"
OWN = ROOT / "deploy" / "monitoring" / "thresholds.own"


class Receiver:
    """Where Alertmanager's webhooks arrive."""

    def __init__(self) -> None:
        self.told: dict[str, list[dict[str, Any]]] = {"/hook": [], "/alive": []}
        self.answer = 204
        told, receiver = self.told, self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if receiver.answer < 300:
                    told[self.path].append(json.loads(body))
                self.send_response(receiver.answer)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer((HOST, 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def url(self, path: str) -> str:
        """Return where a path of it is."""
        return f"http://{HOST}:{self.server.server_port}{path}"

    def alerts(self, status: str) -> set[str]:
        """Return the names of all that was told with this status."""
        messages = list(self.told["/hook"])
        told = chain.from_iterable(message["alerts"] for message in messages)
        return {each["labels"]["alertname"] for each in told if each["status"] == status}

    def close(self) -> None:
        """Listen no more."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


class Watched:
    """Prometheus and Alertmanager, as an operator asks them."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        verified = ssl.create_default_context(cafile=SECRETS / "tls" / "edge" / "ca.crt")
        password = (SECRETS / "stats_password").read_text()
        self.client = httpx.Client(verify=verified, auth=("holdfast", password), timeout=20)

    def ask(self, path: str, **parameters: str) -> Any:  # noqa: ANN401 - JSON
        """Return the data of an answer of Prometheus."""
        answer = self.client.get(f"{PROMETHEUS}/api/v1/{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of a query."""
        result: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return result

    def down(self) -> list[str]:
        """Return the targets that could not be asked, and why."""
        return [
            f"{each['labels']['job']} {each['labels']['instance']}: {each['lastError']}"
            for each in self.ask("targets", state="active")["activeTargets"]
            if each["health"] != "up"
        ]

    def firing(self) -> dict[str, str]:
        """Return the alerts that Alertmanager has, and their severities."""
        answer = self.client.get(f"{ALERTMANAGER}/api/v2/alerts")
        labels = [each["labels"] for each in answer.json()]
        return {each["alertname"]: each["severity"] for each in labels}

    def serious(self) -> set[str]:
        """Return those that somebody has to do something about."""
        return {name for name, severity in self.firing().items() if severity != "info"}

    def await_alerts(self, *names: str, limit: float = TOLD_LIMIT) -> None:
        """Wait until all of these are at Alertmanager."""
        wait_until(f"{names} at Alertmanager", limit, lambda: set(names) <= set(self.firing()))

    def await_none(self) -> None:
        """Wait until nobody has to do anything."""
        wait_until("no alert", OVER_LIMIT, lambda: not self.serious())


@contextmanager
def monitoring(thresholds: Mapping[str, str], **settings: str) -> Iterator[Watched]:
    """Bring the stack up with MONITORING=yes, a receiver here, and thresholds of one's own.

    Without all of them again afterwards.
    """
    receiver = Receiver()
    said = {"ALERT_WEBHOOK": receiver.url("/hook"), "ALERT_HEARTBEAT": receiver.url("/alive")}
    try:
        OWN.write_text(_lines(thresholds))
        make("up", MONITORING="yes", **said, **settings)
        watched = Watched(receiver)
        wait_until("all targets", SCRAPED_LIMIT, lambda: not watched.down())
        yield watched
        watched.client.close()
    finally:
        OWN.unlink(missing_ok=True)
        make("up", MONITORING="no", **dict.fromkeys([*said, *settings], ""))
        receiver.close()


def try_thresholds(thresholds: Mapping[str, str]) -> None:
    """Have these thresholds at once (deploy/monitoring/README.md): alerts that fire go on."""
    render = "cat >/tmp/own && THRESHOLDS=/tmp/own render rules /tmp/monitoring"
    subprocess.run(
        ["docker", "exec", "--interactive", cluster.WATCHER, "sh", "-c", f"{render} && {RELOAD}"],
        input=_lines(thresholds), text=True, check=True, timeout=60,
    )  # fmt: skip


def _lines(thresholds: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in thresholds.items())
