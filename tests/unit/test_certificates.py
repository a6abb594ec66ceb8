"""deploy/tls/make-certificates: what is renewed when, whatever it is killed in; who is believed."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

MAKE = Path(__file__).parents[2] / "deploy" / "tls" / "make-certificates"
DAY = 86400
LIFE, CA_LIFE = 90 * DAY, 3650 * DAY
NODES = ("pg-monitor", "postgres1", "postgres2", "postgres3", "backup")
EDGE = "vip-access"
WATCHER = "monitoring"
ALL = (*NODES, EDGE, WATCHER)
SETTINGS = ("CERTIFICATE_SECONDS", "CA_SECONDS", "EDGE_NAMES", "RENEW", "VIP")
"""What the script reads; whoever runs the tests may have some of it."""

START = 2_000_000_000
"""Unix time of the first certificates: the clock is the test's own."""

CLOCK = """#!/bin/sh
[ "$*" = +%s ] && { echo "$CLOCK"; exit; }
exec /bin/date "$@"
"""
OPENSSL = """#!/bin/sh
[ "$1" = verify ] || exec "$REAL" "$@"
shift
exec "$REAL" verify -attime "$CLOCK" "$@"
"""
DIES = """#!/bin/sh
# Before the step whose number is asked for the maker is killed.
step=$(($(cat "$STEPS") + 1))
echo $step >"$STEPS"
[ $step != "$BEFORE" ] || { kill -KILL $PPID; exit 1; }
exec /bin/mv "$@"
"""


class Maker:
    """Runs the script in a folder, at a time of ours."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "tls"
        self.programs = folder / "bin"
        self.folder.mkdir()
        self.programs.mkdir()
        self.clock = START
        self.steps = folder / "steps"
        for name, text in (("date", CLOCK), ("openssl", OPENSSL), ("mv", DIES)):
            program = self.programs / name
            program.write_text(text)
            program.chmod(0o755)

    def run(self, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run it once."""
        self.steps.write_text("0")
        environment = {
            **{name: value for name, value in os.environ.items() if name not in SETTINGS},
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "REAL": shutil.which("openssl") or "",
            "CLOCK": str(self.clock),
            "STEPS": str(self.steps),
            "BEFORE": "-",
            **variables,
        }
        return subprocess.run(
            [MAKE], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip

    def made(self, **variables: str) -> set[str]:
        """Run it; return what was made anew."""
        done = self.run(**variables)
        assert done.returncode == 0, done.stderr
        return set(done.stdout.splitlines())

    def ends(self) -> dict[str, int]:
        """Return when each ends, as the script has written it down."""
        lines = (line.split() for line in (self.folder / "ends").read_text().splitlines())
        return {name: int(end) for name, _, end in lines}

    def fits(self, member: str) -> bool:
        """Tell whether OpenSSL takes the file for a key and its certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.folder / member / "tls.pem")
        except ssl.SSLError:
            return False
        return True

    def verifies(self, ca: Path, member: str) -> bool:
        """Tell whether a CA's certificate verifies a member's, at our time."""
        command = ["openssl", "verify", "-attime", str(self.clock), "-CAfile", str(ca)]
        done = subprocess.run(
            [*command, self.folder / member / "tls.pem"], capture_output=True, timeout=30,
            check=False,
        )  # fmt: skip
        return done.returncode == 0


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    """A script that has not run yet."""
    return Maker(tmp_path)


def test_made_once(maker: Maker) -> None:
    """All of them the first time, nothing the second; the names are those of the stack."""
    assert maker.made() == {"the CA of nodes", "the CA of edge", *ALL}
    for member in ALL:
        assert maker.fits(member)
    assert maker.made() == set()


def test_ends_are_apart_for_ever(maker: Maker) -> None:
    """No two end within a day, at first and after years of renewals; each lasts four fifths."""
    maker.made()
    assert min(maker.ends().values()) > START + LIFE * 0.8 - 1
    for _ in range(7):
        ends = sorted(maker.ends().values())
        assert min(b - a for a, b in pairwise(ends)) > DAY
        maker.clock = ends[0] - LIFE // 3 + 1
        assert len(maker.made()) == 1


def test_renewed_at_a_third(maker: Maker) -> None:
    """A moment before a third of the life is left nothing happens; a moment after, one is made."""
    maker.made()
    ends = {name: end for name, end in maker.ends().items() if not name.startswith("ca-")}
    first = min(ends, key=lambda name: ends[name])
    maker.clock = ends[first] - LIFE // 3
    assert maker.made() == set()
    maker.clock += 1
    assert maker.made() == {first}
    assert maker.ends()[first] > maker.clock + LIFE * 0.8 - 1


def test_a_machine_that_was_off_for_long(maker: Maker) -> None:
    """Everything has ended: all is made anew, apart again."""
    maker.made()
    maker.clock += 20 * 365 * DAY
    assert maker.made() == {"the CA of nodes", "the CA of edge", *ALL}
    assert len(set(maker.ends().values())) == len(maker.ends())
    assert maker.made() == set()


def test_the_setting_counts(maker: Maker) -> None:
    """One that outlives the setting, or has other names, is made anew; so is all when asked."""
    maker.made()
    assert maker.made(CERTIFICATE_SECONDS="3600") == {*ALL}
    # Made for an hour, so a third of that counts, whatever others last.
    assert maker.made() == set()
    assert maker.made(EDGE_NAMES="DNS:api.example.org") == {EDGE}
    assert maker.made(EDGE_NAMES="DNS:api.example.org", RENEW="yes") == {*ALL}


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"CERTIFICATE_SECONDS": "a day"}, "CERTIFICATE_SECONDS is 'a day'"),
        ({"CERTIFICATE_SECONDS": "29"}, "CERTIFICATE_SECONDS is '29'"),
        ({"CA_SECONDS": "7776001"}, "CA_SECONDS is '7776001'"),
    ],
)
def test_a_bad_setting_is_named(maker: Maker, variables: dict[str, str], name: str) -> None:
    """And nothing is made."""
    done = maker.run(**variables)
    assert done.returncode == 2
    assert name in done.stderr
    assert list(maker.folder.iterdir()) == []


def test_a_ca_is_renewed_with_its_key_and_name(maker: Maker) -> None:
    """What it signed before is verified with the new one, and what it signs now with the old."""
    maker.made()
    ca = maker.folder / "nodes" / "ca.crt"
    old = maker.folder.parent / "old.crt"
    shutil.copyfile(ca, old)
    begin = maker.ends()["ca-nodes"]
    maker.clock = begin - CA_LIFE // 4
    assert "the CA of nodes" in maker.made()
    assert old.read_bytes() != ca.read_bytes()
    assert maker.verifies(old, "postgres1")
    assert maker.verifies(ca, "postgres1")
    assert (maker.folder / "postgres1" / "ca.crt").read_bytes() == ca.read_bytes()
    # Also where none of its members is due.
    ca.write_bytes(old.read_bytes())
    assert maker.made() == {"the CA of nodes"}
    assert maker.verifies(ca, "postgres1")


def test_killed_at_any_step(maker: Maker) -> None:
    """Each file that is there fits at any moment, and the next run makes good what was left."""
    maker.made()
    total = 0
    while True:
        maker.clock += LIFE  # all are due
        done = maker.run(BEFORE=str(total := total + 1))
        for member in ALL:
            assert maker.fits(member), f"{member} after step {total}"
        if done.returncode == 0:
            break
        maker.made()
        for member in NODES:
            assert maker.verifies(maker.folder / member / "ca.crt", member)
    assert total > len(ALL)


def test_killed_at_any_step_of_the_first_run(tmp_path: Path) -> None:
    """Where nothing was before, too: keys of CAs fit their certificates in the end."""
    for step in range(1, 8):
        folder = tmp_path / str(step)
        folder.mkdir()
        maker = Maker(folder)
        done = maker.run(BEFORE=str(step))
        maker.made()
        assert all(maker.verifies(maker.folder / "nodes" / "ca.crt", each) for each in NODES)
        assert maker.verifies(maker.folder / "edge" / "ca.crt", EDGE)
        assert done.returncode != 0, "it was not killed"


def test_keys_are_for_the_group_alone(maker: Maker) -> None:
    """And those of the CAs for their owner alone."""
    maker.made()
    for path in (maker.folder / "keys").iterdir():
        assert path.stat().st_mode & 0o077 == 0
    assert (maker.folder / "keys").stat().st_mode & 0o077 == 0
    assert (maker.folder / "postgres1" / "tls.pem").stat().st_mode & 0o777 == 0o640


def test_what_versions_before_left_is_removed(maker: Maker) -> None:
    """Their one CA with its key, and the pairs that it signed."""
    (maker.folder / "postgres1").mkdir()
    for name in ("ca.key", "ca.crt", "postgres1/tls.key", "postgres1/tls.crt", "postgres1/names"):
        (maker.folder / name).touch()
    maker.made()
    assert not (maker.folder / "ca.key").exists()
    there = {path.name for path in (maker.folder / "postgres1").iterdir()}
    assert there == {"ca.crt", "tls.pem"}


def handshake(maker: Maker, member: str, ca: str, name: str) -> str | None:
    """Let a client that verifies name and chain meet a member; return why it refuses, or None."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(maker.folder / member / "tls.pem")
    client = ssl.create_default_context(cafile=str(maker.folder / ca / "ca.crt"))
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # as from Python 3.13 on
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(10):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return str(error)
    return None


@pytest.mark.parametrize("name", ["localhost", EDGE, "127.0.0.1"])
def test_edge_and_nodes_cannot_pose_as_each_other(maker: Maker, name: str) -> None:
    """They share these names: what tells them apart is the CA."""
    maker.clock = int(subprocess.check_output(["/bin/date", "+%s"]))
    maker.made()
    assert handshake(maker, "postgres1", "nodes", name) is None
    assert handshake(maker, EDGE, "edge", name) is None
    assert "unable to get local issuer" in (handshake(maker, EDGE, "nodes", name) or "")
    assert "unable to get local issuer" in (handshake(maker, "postgres1", "edge", name) or "")
    assert "not valid for" in (handshake(maker, "pg-monitor", "nodes", name) or "")


def test_the_edge_logs_in_nowhere(maker: Maker) -> None:
    """Its certificate is no client's: nodes verify each other's."""
    maker.made()
    file = maker.folder / EDGE / "tls.pem"
    text = subprocess.check_output(
        ["openssl", "x509", "-in", file, "-noout", "-purpose"], text=True
    )
    assert "SSL client : No" in text
