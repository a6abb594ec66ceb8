"""The stack as an operator handles it: the one place that drives Docker Compose."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ops import (
    alerts,
    cluster,
    farewell,
    firewall,
    legacy,
    machine,
    names,
    nodes,
    operate,
    ownership,
    preflight,
    removal,
    replication,
    rollout,
    s3,
    settings,
    slots,
    waiting,
)
from ops.backups import marks, replacement, repository, scratch
from ops.console import CommandFailedError, Progress, StackError, run_step, say
from ops.host import Host, moment
from ops.secret_files import ALERT_FILES, S3_FILES, SecretFiles
from ops.timing import deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BUILD_LIMIT = 900.0
"""Seconds for building all images over a slow network."""

STOP_LIMIT = 240.0
"""Seconds for stopping everything: requests that are held end first, and a primary hands over."""


MADE_OF = '{{index .Config.Labels "com.docker.compose.config-hash"}} {{.Image}} {{.Config.Image}}'
"""Asks a container what Compose made it of."""


class Stack:
    """The containers of deploy/compose/compose.yaml."""

    def __init__(self, root: Path) -> None:
        """`root` is the directory of the checkout."""
        self.root = root
        self.host = Host(root)
        self.compose_file = root / names.COMPOSE / "compose.yaml"
        self.secrets = SecretFiles(names.secrets(root))
        # Compose wants every variable of the file even where it does not use it, as in `down`.
        self.environment = {**settings.read(root), **os.environ, "CA_BUNDLE": _ca_bundle()}
        self.environment["CONTAINER_PREFIX"] = names.prefix()
        self.environment["SECRETS_DIR"] = str(self.secrets.folder)
        self._copies_only = self.secrets.folder.parent / "copies-only"
        self.environment["COPIES_ONLY"] = str(self._copies_only)
        self.environment["REPLICATION_FILE"] = str(replication.file(root))
        self._place()
        self.environment["CERTIFICATES_USER"] = self.secrets.certificates_user
        self.environment["COMPOSE_PROFILES"] = settings.compose_profiles(self.environment)
        self.environment |= settings.way_to_nodes(self.environment)

    # ------------------------------------------------------------------ verbs

    def up(self, fill: Callable[[Stack], object] = lambda _: None) -> None:
        """From whatever state the machine is in to a stack that answers.

        `fill` is called when everything can be made, and before anything starts.

        Raises StackError with what to do when a step fails; running it again goes on from there.
        """
        begun = time.monotonic()
        self.bring_up(fill)
        lacks = machine.lacks(machine.measure(), self.environment.get("PROFILE"))
        secrets, access = self.secrets.folder.relative_to(self.root), self.environment.get("ACCESS")
        say(farewell.text(secrets, access, lacks))
        say(f"It took {time.monotonic() - begun:.0f} s.")

    def bring_up(self, fill: Callable[[Stack], object] = lambda _: None) -> None:
        """Do what `up` does, without its last words."""
        self._prepare()
        fill(self)
        self._leave_unwanted()
        self._start()
        self.host.remove_superseded_images()
        waiting.await_answer()
        waiting.await_redundancy()
        nodes.settle(nodes.parts(self.environment))
        replication.await_followed(self._replication())

    def update(self) -> None:
        """Give all images the packages of now, and replace every container in turn; nothing fails.

        Raises StackError where the stack is not whole; what was replaced by then stays.
        """
        begun = time.monotonic()
        if not self.host.engine_answers():
            raise StackError(f"The stack is not running; `{names.command('make up')}`, then this.")
        ownership.require(self.root)
        if settings.has_poolers(settings.read(self.root)) != settings.has_poolers(self.environment):
            up = names.command("make up")
            raise StackError(f"POOLER is another than it was: `{up}` switches it; then this.")
        self.host.update_compose()
        self._prepare(moment())
        rollout.roll(self.replace)
        self.host.remove_superseded_images()
        say(f"Everything runs with the packages of now. It took {time.monotonic() - begun:.0f} s.")

    def replace(self, member: str) -> None:
        """Make a member's container anew if its image, or what it is told, is another now.

        With whom it depends on, and these as they are: of a container that was made without them
        (`--no-deps`) Compose believes at the next `up` that it is told something else, and makes it
        anew, all such at once.
        """
        container = names.container(member)
        if any(each.name == member for each in cluster.containers()):
            if self._is_as_told(member):
                return
            cluster.docker("stop", container, limit=STOP_LIMIT)
            cluster.docker("rm", container)
        title = f"Replacing {container}"
        self._compose(title, "up", "--detach", "--no-recreate", member, limit=STOP_LIMIT)

    def _is_as_told(self, member: str) -> bool:
        """Tell whether Compose would leave a member's container as it is."""
        wanted = subprocess.run(
            self._command("config", "--hash", member),
            env=self.environment, capture_output=True, text=True, check=False, timeout=STOP_LIMIT,
        )  # fmt: skip
        made = cluster.docker("inspect", "--format", MADE_OF, names.container(member)).split()
        image = cluster.docker("image", "inspect", "--format", "{{.Id}}", made[2]).strip()
        return made[:2] == [*wanted.stdout.split()[1:], image]

    def create(self, *members: str) -> None:
        """Make members' containers and volumes, and start nothing."""
        self._copies_only.touch()  # Docker mounts what is there
        options = ("--no-start", "--no-deps")
        self._compose("Creating containers", "up", *options, *members, limit=STOP_LIMIT)

    def _prepare(self, updated: str = "") -> None:
        """Do all that comes before containers; `updated`: images have packages of then, if said."""
        kept = settings.read(self.root)
        chosen = {**kept, **os.environ}
        settings.check()
        nodes.parts(chosen)
        s3.check(chosen, self.secrets)
        alerts.check(chosen, self.secrets)
        self._settle_settings()
        settings.confirm(settings.loosened(kept, self.environment))
        if self.secrets.exist:  # else there is no audit yet
            settings.confirm_retention(kept, self.environment)
        self.environment["BASE_IMAGE"] = self.host.prepare()
        ownership.require(self.root)
        if ownership.volumes():
            settings.require_major(kept, self.environment)
        chosen |= slots.choose(self.root)
        self._place()
        preflight.check()
        settings.keep(self.root, chosen)
        self.secrets.make()
        s3.keep(chosen, self.secrets)
        alerts.keep(os.environ, self.secrets)
        replication.tell(self.root, self._replication())
        ownership.claim(self.root)
        self.environment["UPDATED"] = updated or self.host.updated()
        self._compose("Building images", "build", limit=BUILD_LIMIT)
        self.make_certificates()
        self.environment["SECRETS_DIGEST"] = self.secrets.digest()
        self.environment["BACKUP_S3_DIGEST"] = self.secrets.digest(S3_FILES)
        self.environment["ALERTS_DIGEST"] = self.secrets.digest(ALERT_FILES)
        if settings.has_backups(self.environment):
            marks.before_migrating(self.root / "alembic" / "versions")
        legacy.leave(self._take_down)  # which releases the rule
        firewall.shut(self.host.scripts / "firewall.nft", str(settings.subnet("EDGE_SUBNET")))

    def down(self) -> None:
        """Stop and remove the containers; volumes and images stay."""
        if not self.host.engine_answers():
            say("No Docker engine answers, so nothing of the stack is running.")
            return
        ownership.require(self.root)
        self._take_down("Stopping the stack")
        up, clean = names.command("make up"), names.command("make clean")
        say(f"The data stays in its volumes: `{up}` brings it back, `{clean}` removes it.")
        self.host.stop_engine()

    def clean(self) -> None:
        """Stop the stack and remove its data and secrets, if that is meant; the images stay."""
        if self._wake_engine():
            self._remove()
            self.host.stop_engine()

    def distclean(self) -> None:
        """Clean, and remove the images that were built here, unless another stack needs them."""
        if self._wake_engine():
            self._remove()
            if others := ownership.others():
                say(f"The images stay: they are also those of the stack {', '.join(others)}.")
            else:
                self._compose("Removing its images", "down", "--rmi", "all", limit=STOP_LIMIT)
                self.host.remove_images()
            self.host.stop_engine()
            if not names.is_default():
                shutil.rmtree(names.home(self.root), ignore_errors=True)
        self.host.remove_state()

    def primary(self) -> None:
        """Print the container that accepts writes."""
        name = cluster.find_primary()
        if name is None:
            raise StackError(f"no node accepts writes right now; {self._shows_why()}")
        say(names.container(name))

    def vip(self) -> None:
        """Print the container that holds the virtual IP."""
        holder = cluster.find_vip_holder()
        if holder is None:
            raise StackError(f"no proxy holds the virtual IP right now; {self._shows_why()}")
        say(names.container(holder))

    def switchover(self) -> None:
        """Hand the primary's role to a standby, in an orderly way."""
        progress = Progress("Switchover")
        try:
            primary = operate.switchover()
        except StackError:
            progress.failed()
            raise
        progress.done(f"{names.container(primary)} is the primary")

    def logs(self, arguments: Sequence[str]) -> int:
        """Follow logs until interrupted; return Compose's exit code."""
        command = self._command("logs", "--follow", "--tail", "50", *arguments)
        return subprocess.run(command, env=self.environment, check=False).returncode

    def psql(self, arguments: Sequence[str]) -> int:
        """Run psql in psql-client, through the write port; return its exit code.

        Without Docker this is psql-client.
        """
        terminal = ["-it"] if os.isatty(0) else ["-i"]
        client = names.container(cluster.CLIENT)
        there = ["docker", "exec", *terminal, client] if shutil.which("docker") else []
        command = [*there, "psql", *arguments]
        return subprocess.run(command, check=False).returncode

    @staticmethod
    def _shows_why() -> str:
        return f"`{names.command('make status')}` shows why"

    # ------------------------------------------------------------------ steps of `up` and `down`

    def _place(self) -> None:
        """Tell Compose which ports and networks the stack has."""
        for name in settings.SUBNETS:
            self.environment[name.replace("SUBNET", "PREFIX")] = settings.prefix(name)
        self.environment["STACK"] = names.stack()
        for name in settings.ALL_PORTS:
            self.environment[name] = str(settings.port(name))

    def _replication(self) -> str:
        return self.environment.get("REPLICATION") or replication.SYNC

    def _settle_settings(self) -> None:
        """Tell Compose what follows from the profile."""
        profile = self.environment.get("PROFILE", "fast")
        chosen = self.environment.get("REQUEST_DEADLINE") or None
        self.environment["REQUEST_DEADLINE"] = deadline(profile, chosen)

    def make_certificates(self, *, renew: bool = False) -> None:
        """Make the CA and the certificates that are missing or near their end, or all of them."""
        folder = self.secrets.certificates
        command = [
            *("docker", "run", "--rm", "--network", "none", "--cap-drop", "ALL"),
            *("--user", self.secrets.certificates_user, "--volume", f"{folder}:/tls"),
            *("--workdir", "/tls", "--env", f"RENEW={'yes' if renew else 'no'}"),
            *("--env", "CERTIFICATE_SECONDS", "--env", "CA_SECONDS", "--env", "EDGE_NAMES"),
            *("--env", f"VIP={cluster.vip()}"),
            *("holdfast-postgres", "make-certificates"),
        ]
        log = self._log("certificates")
        run_step("Certificates", command, log, limit=60, environment=self.environment)

    def _leave_unwanted(self) -> None:
        """Remove what is not wanted any more, before it is waited for: it may be ill."""
        if not settings.has_backups(self.environment):
            repository.leave()
        if not settings.is_watched(self.environment):
            removal.leave(cluster.WATCHER, "Monitoring", names.volume(cluster.WATCHER))
        if not settings.has_three_nodes(self.environment):
            nodes.leave()

    def _start(self) -> None:
        """Start the containers and wait until each is healthy, showing each as it gets there."""
        rollout.switch_poolers(self.replace, on=settings.has_poolers(self.environment))
        scratch.remove(replacement.MEMBER)  # of a restore that was killed: it holds a node's volume
        self._copies_only.write_text("yes\n" if ownership.first_is_lost() else "")
        show = waiting.changes()
        try:
            self._compose(
                "Starting containers",
                "up", "--detach", "--remove-orphans",
                limit=waiting.HEALTHY_LIMIT,
                watch=show,
            )  # fmt: skip
        except CommandFailedError as error:
            raise waiting.unhealthy(error) from error
        waiting.await_health(show)

    def _remove(self) -> None:
        """Remove all that the stack is on the engine, and its secrets; ask before."""
        ownership.require(self.root)
        removal.confirm()
        # Copies of the data, which hold the repository's volume.
        for member in (scratch.MEMBER, scratch.CHECKED, replacement.MEMBER):
            scratch.remove(member)
        self._take_down("Stopping the stack, removing its data", "--volumes")
        ownership.release()
        self.secrets.remove()
        self._copies_only.unlink(missing_ok=True)
        replication.file(self.root).unlink(missing_ok=True)

    def _wake_engine(self) -> bool:
        there_is_one = self.host.wake_engine()
        if not there_is_one:
            say("Docker is not installed, so there is nothing to remove; secrets stay.")
        return there_is_one

    def _take_down(self, title: str, *extra: str) -> None:
        wanted = self.environment.get("COMPOSE_PROFILES", "")
        self.environment["COMPOSE_PROFILES"] = ",".join(
            settings.COMPOSE_PROFILES
        )  # whether there are
        self._compose(title, "down", "--remove-orphans", *extra, limit=STOP_LIMIT)
        firewall.release()
        self.environment["COMPOSE_PROFILES"] = wanted

    # ------------------------------------------------------------------ plumbing

    def _command(self, *arguments: str, project: str = "") -> list[str]:
        # All that Compose is told is in the environment: a file would be the first stack's.
        fixed = ["--env-file", os.devnull, "--project-name", project or names.stack()]
        files = ["--progress", "plain", "--file", str(self.compose_file)]
        if arguments[0] == "down" or s3.is_meant(self.environment):  # what is there goes
            files += ["--file", str(self.compose_file.with_name("s3.yaml"))]
        return ["docker", "compose", *files, *fixed, *arguments]

    def _compose(
        self,
        title: str,
        *arguments: str,
        limit: float,
        watch: Callable[[Progress], str] | None = None,
    ) -> None:
        log = self._log(arguments[0])
        # The images are all stacks' alike, their labels included: built under one name.
        project = names.DEFAULT if arguments[0] == "build" else ""
        command = self._command(*arguments, project=project)
        run_step(title, command, log, limit=limit, environment=self.environment, watch=watch)

    def _log(self, name: str) -> Path:
        path = self.host.logs / f"{name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        return path


def _ca_bundle() -> str:
    """Return the host's CA bundle, for pip inside the build, or an empty file."""
    named = [os.environ.get(name) for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")]
    candidates = [*named, "/etc/ssl/certs/ca-certificates.crt"]
    return next((path for path in candidates if path and Path(path).is_file()), "/dev/null")
