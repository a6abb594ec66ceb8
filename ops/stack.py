"""The stack as an operator handles it: the one place that drives Docker Compose."""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ops import cluster, firewall, preflight, settings, snapshot
from ops.console import CommandFailedError, Progress, StackError, run_step, say
from ops.diagnosis import diagnose
from ops.host import Host
from ops.secret_files import SecretFiles
from ops.timing import DEADLINES, deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BUILD_LIMIT = 900.0
"""Seconds for building all images over a slow network."""

HEALTHY_LIMIT = 240.0
"""Seconds for all containers to become healthy: a first base backup and the migrations included."""

ANSWER_LIMIT = 60.0
"""Seconds for the service to answer through the published port once its containers are healthy."""

REFUSED_LIMIT = 5.0
"""Seconds for the published port to answer before its container is restarted: the engine's own
process for it may have died (docs/runbook.md)."""

REDUNDANT_LIMIT = 180.0
"""Seconds for the nodes to be in sync: a node that was damaged copies the primary's data anew."""

STOP_LIMIT = 240.0
"""Seconds for stopping everything: requests that are held end first, and a primary hands over."""

SWITCHOVER_LIMIT = 60.0
"""Seconds for a planned switchover."""

OLD_NETWORK = "holdfast_holdfast"

VOLUMES = {f"holdfast_{name}" for name in ("monitor", *cluster.NODES)}
DATA_IMAGE, DATA_USER = "holdfast-postgres", "471101"
"""What writes to the volumes, and as whom (deploy/postgres/Dockerfile)."""

POLL = 0.3
"""Seconds between two looks at something that is waited for."""

FAREWELL = """
Holdfast is up.

  service       http://localhost:{HTTP_PORT}/api/users     (docs: /docs)
  statistics    http://localhost:{STATS_PORT}/              (metrics: /metrics)
  PostgreSQL    localhost:{WRITE_PORT} write, localhost:{READ_PORT} read; database holdfast,
                role holdfast_app, password in deploy/compose/secrets/db_password

Three things to try:
  1. curl -i localhost:{HTTP_PORT}/api/users -H 'content-type: application/json' \\
         -d '{{"email": "grace@example.org", "name": "Grace"}}'
  2. docker kill $(make -s primary)      # then list and create users: a pause, no error
     docker start postgres1 postgres2    # the old primary comes back as a standby
  3. docker kill $(make -s vip)          # the proxy with the virtual IP: the other takes over
     docker start haproxy1 haproxy2

`make status` shows the cluster, `make down` stops it (data stays), `make clean` removes its data.
"""


class Stack:
    """The containers of deploy/compose/compose.yaml."""

    def __init__(self, root: Path) -> None:
        """`root` is the directory of the checkout."""
        self.root = root
        self.host = Host(root)
        self.compose_file = root / "deploy" / "compose" / "compose.yaml"
        self.secrets = SecretFiles(self.compose_file.parent / "secrets")
        # Compose wants every variable of the file even where it does not use it, as in `down`.
        self.environment = {**settings.read(root), **os.environ, "CA_BUNDLE": _ca_bundle()}
        for network in ("EDGE", "DATABASE"):
            self.environment[f"{network}_PREFIX"] = settings.prefix(f"{network}_SUBNET")
        if self.environment.get("NODES") == "3":
            self.environment["COMPOSE_PROFILES"] = "three-nodes"

    # ------------------------------------------------------------------ verbs

    def up(self) -> None:
        """From whatever state the machine is in to a stack that answers.

        Raises StackError with what to do when a step fails; running it again goes on from there.
        """
        begun = time.monotonic()
        chosen = dict(self.environment)
        settings.check_numbers()
        self._settle_settings()
        settings.confirm(settings.loosened(settings.read(self.root), self.environment))
        self.environment["BASE_IMAGE"] = self.host.prepare()
        preflight.check()
        settings.keep(self.root, chosen)
        self.secrets.make()
        self._compose("Building images", "build", limit=BUILD_LIMIT)
        self.make_certificates()
        self.environment["SECRETS_DIGEST"] = self.secrets.digest()
        firewall.shut(self.host.scripts / "firewall.nft", str(settings.subnet("EDGE_SUBNET")))
        self._start()
        self.host.remove_superseded_images()
        self._await_answer()
        self._await_redundancy()
        say(FAREWELL.format(**{name: settings.port(name) for name in settings.PORTS}))
        say(f"It took {time.monotonic() - begun:.0f} s.")

    def down(self) -> None:
        """Stop and remove the containers; volumes and images stay."""
        if not self.host.engine_answers():
            say("No Docker engine answers, so nothing of the stack is running.")
        else:
            self._take_down("Stopping the stack")
            say("The data stays in its volumes: `make up` brings it back, `make clean` removes it.")
            self.host.stop_engine()

    def clean(self) -> None:
        """Stop the stack and remove its data and secrets; the images stay."""
        if self._wake_engine():
            self._take_down("Stopping the stack, removing its data", "--volumes")
            self.secrets.remove()
            self.host.stop_engine()

    def distclean(self) -> None:
        """Clean, and remove the images that were built here."""
        if self._wake_engine():
            self._take_down("Stopping the stack, removing its data", "--volumes")
            self._compose("Removing its images", "down", "--rmi", "all", limit=STOP_LIMIT)
            self.secrets.remove()
            self.host.remove_images()
            self.host.stop_engine()

    def status(self) -> None:
        """Print containers, cluster state, the virtual IP's holder and HAProxy's view."""
        for container in cluster.containers():
            say(f"  {container.name:<13}{container.condition}")
        say()
        say(cluster.cluster_state().rstrip() or "  the monitor does not answer")
        say(f"\n  virtual IP {cluster.vip()}: {cluster.find_vip_holder() or 'nobody'}\n")
        for row in cluster.backends():
            say(f"  {row['pxname']:<12}{row['svname']:<16}{row['status']}")

    def primary(self) -> None:
        """Print the container that accepts writes."""
        name = cluster.find_primary()
        if name is None:
            raise StackError("no node accepts writes right now; `make status` shows why")
        say(name)

    def vip(self) -> None:
        """Print the container that holds the virtual IP."""
        holder = cluster.find_vip_holder()
        if holder is None:
            raise StackError("no proxy holds the virtual IP right now; `make status` shows why")
        say(holder)

    def switchover(self) -> None:
        """Hand the primary's role to a standby, in an orderly way."""
        command = ["docker", "exec", "pg-monitor", "pg_autoctl", "perform", "switchover"]
        run_step("Switchover", command, self._log("switchover"), limit=SWITCHOVER_LIMIT)

    def logs(self, arguments: Sequence[str]) -> int:
        """Follow logs until interrupted; return Compose's exit code."""
        command = self._command("logs", "--follow", "--tail", "50", *arguments)
        return subprocess.run(command, env=self.environment, check=False).returncode

    def psql(self, arguments: Sequence[str]) -> int:
        """Run psql in psql-client, through the write port; return its exit code.

        Without Docker this is psql-client.
        """
        terminal = ["-it"] if os.isatty(0) else ["-i"]
        there = ["docker", "exec", *terminal, "psql-client"] if shutil.which("docker") else []
        command = [*there, "psql", *arguments]
        return subprocess.run(command, check=False).returncode

    # ------------------------------------------------------------------ steps of `up` and `down`

    def _settle_settings(self) -> None:
        choices = {
            "PROFILE": tuple(DEADLINES),
            "NODES": ("2", "3"),
            "ACCESS": settings.CLOSED["ACCESS"],
        }
        for name, allowed in choices.items():
            value = self.environment.get(name)
            if value is not None and value not in allowed:
                raise StackError(f"{name} is '{value}'; it must be {' or '.join(allowed)}")
        profile = self.environment.get("PROFILE", "fast")
        chosen = self.environment.get("REQUEST_DEADLINE") or None
        self.environment["REQUEST_DEADLINE"] = deadline(profile, chosen)

    def make_certificates(self, *, renew: bool = False) -> None:
        """Make the CA and the certificates that are missing or near their end, or all of them."""
        folder = self.secrets.certificates
        command = [
            *("docker", "run", "--rm", "--network", "none", "--cap-drop", "ALL"),
            *("--cap-add", "DAC_OVERRIDE"),  # some of what is there has been given away
            *("--user", f"{os.geteuid()}:{os.getegid()}", "--volume", f"{folder}:/tls"),
            *("--workdir", "/tls", "--env", f"RENEW={'yes' if renew else 'no'}"),
            *("--env", "CERTIFICATE_SECONDS", "--env", "EDGE_NAMES"),
            *("--env", f"VIP={cluster.vip()}"),
            *("holdfast-postgres", "make-certificates"),
        ]
        log = self._log("certificates")
        run_step("Certificates", command, log, limit=60, environment=self.environment)
        self.secrets.hand_over_certificates()

    def _start(self) -> None:
        """Start the containers and wait until each is healthy, showing each as it gets there."""
        self._leave_old_network()
        self._leave_old_users()
        seen: dict[str, str] = {}
        try:
            self._compose(
                "Starting containers",
                "up", "--detach", "--remove-orphans",
                limit=HEALTHY_LIMIT,
                watch=lambda progress: self._show_changes(progress, seen),
            )  # fmt: skip
        except CommandFailedError as error:
            raise _unhealthy(error) from error
        progress = Progress("Waiting for health")
        while note := self._show_changes(progress, seen):
            if progress.seconds > HEALTHY_LIMIT:
                progress.failed()
                raise _unhealthy(f"not healthy within {HEALTHY_LIMIT:.0f} s")
            progress.note(note)
            time.sleep(POLL)
        progress.done("all healthy")

    def _leave_old_network(self) -> None:
        """Versions before TLS had one network, with addresses that one of the two has now."""
        if OLD_NETWORK in cluster.docker("network", "ls", "--format", "{{.Name}}").split():
            self._take_down("Stopping the stack of a version that had one network")
            for container in cluster.docker(
                "ps", "--all", "--quiet", "--filter", f"network={OLD_NETWORK}"
            ).split():
                cluster.docker("rm", "--force", container)
            cluster.docker("network", "rm", OLD_NETWORK)

    def _leave_old_users(self) -> None:
        """Give volumes of versions before the stack had users of its own to the one it has now."""
        found = [
            name for name in cluster.docker("volume", "ls", "--quiet").split() if name in VOLUMES
        ]
        if not found:
            return
        mounts = [word for name in found for word in ("--volume", f"{name}:/volumes/{name}")]
        there = ("run", "--rm", "--network", "none", "--user", "0", *mounts, "--entrypoint")
        shown = cluster.docker(*there, "sh", DATA_IMAGE, "-c", "stat --format %u /volumes/*")
        if set(shown.split()) <= {"0", DATA_USER}:  # 0: nothing was written there yet
            return
        self._take_down("Stopping the stack of a version that shared a user with the host")
        cluster.docker(
            *there, "chown", DATA_IMAGE, "--recursive", f"{DATA_USER}:{DATA_USER}",
            *(f"/volumes/{name}" for name in found),
        )  # fmt: skip

    def _show_changes(self, progress: Progress, seen: dict[str, str]) -> str:
        """Print what has become ready; return what is waited for, or nothing."""
        waiting = []
        for container in cluster.containers():
            if seen.get(container.name) != container.condition:
                seen[container.name] = container.condition
                if container.ready:
                    progress.line(f"{container.name:<13}{container.condition}")
            if not container.ready:
                waiting.append(container.name)
        return ", ".join(waiting)

    def _await_answer(self) -> None:
        progress = Progress(f"Service through localhost:{cluster.edge_port()}")
        restarted = False
        while (answer := _health_through_edge()) != http.client.OK:
            if progress.seconds > REFUSED_LIMIT and not restarted and not cluster.edge_answers():
                restarted = True
                progress.line("nobody answers there though nginx is healthy: it is restarted")
                cluster.docker("restart", "vip-access")
            if progress.seconds > ANSWER_LIMIT:
                progress.failed()
                raise StackError(
                    f"/health on port {cluster.edge_port()} did not answer 200 within "
                    f"{ANSWER_LIMIT:.0f} s (last: {answer}). `make status` shows which part is "
                    "missing, `make logs` why."
                )
            progress.note(str(answer))
            time.sleep(POLL)
        progress.done("answers")

    def _await_redundancy(self) -> None:
        """Wait until any one node may be lost: containers are healthy before that, alone."""
        progress = Progress("A standby in sync")
        while not (now := snapshot.take()).redundant:
            if progress.seconds > REDUNDANT_LIMIT:
                progress.failed()
                problems = "\n".join(f"  {one.what}" for one in diagnose(now))
                raise StackError(
                    f"no primary with a standby in sync within {REDUNDANT_LIMIT:.0f} s:\n"
                    f"{problems}\n`./holdfast status` says more, docs/runbook.md what to do."
                )
            progress.note(", ".join(f"{node.name} {node.state}" for node in now.nodes))
            time.sleep(POLL)
        progress.done("any one node may be lost")

    def _wake_engine(self) -> bool:
        there_is_one = self.host.wake_engine()
        if not there_is_one:
            say("Docker is not installed, so there is nothing to remove.")
        return there_is_one

    def _take_down(self, title: str, *extra: str) -> None:
        wanted = self.environment.get("COMPOSE_PROFILES", "")
        self.environment["COMPOSE_PROFILES"] = "three-nodes"  # whether there are, or not
        self._compose(title, "down", "--remove-orphans", *extra, limit=STOP_LIMIT)
        firewall.release()
        self.environment["COMPOSE_PROFILES"] = wanted

    # ------------------------------------------------------------------ plumbing

    def _command(self, *arguments: str) -> list[str]:
        fixed = ["docker", "compose", "--progress", "plain", "--file", str(self.compose_file)]
        return [*fixed, *arguments]

    def _compose(
        self,
        title: str,
        *arguments: str,
        limit: float,
        watch: Callable[[Progress], str] | None = None,
    ) -> None:
        log = self._log(arguments[0])
        command = self._command(*arguments)
        run_step(title, command, log, limit=limit, environment=self.environment, watch=watch)

    def _log(self, name: str) -> Path:
        path = self.host.state / "logs" / f"{name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        return path


def _unhealthy(cause: object) -> StackError:
    """Say which containers are not healthy and how their logs end, the hopeless first."""
    bad = sorted(
        (container for container in cluster.containers() if not container.ready),
        key=lambda container: not container.hopeless,
    )
    text = [str(cause), f"not healthy: {', '.join(c.name for c in bad) or 'nothing was created'}"]
    for container in bad[:1] if bad and bad[0].hopeless else bad[:3]:
        text.append(f"--- last lines of {container.name} ({container.condition})")
        text += cluster.last_words(container.name)
    text.append("More: `make logs` and docs/runbook.md. `make up` goes on from here.")
    return StackError("\n".join(text))


def _health_through_edge() -> int | str:
    """Ask the service through the published port; return the status, or why there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", cluster.edge_port(), timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()


def _ca_bundle() -> str:
    """Return the host's CA bundle, for pip inside the build, or an empty file."""
    named = [os.environ.get(name) for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")]
    candidates = [*named, "/etc/ssl/certs/ca-certificates.crt"]
    return next((path for path in candidates if path and Path(path).is_file()), "/dev/null")
