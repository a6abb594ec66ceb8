"""The operator's verbs: `python3 -m ops VERB`. The Makefile calls this; it needs no package."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ops import settings
from ops.console import StackError, say
from ops.stack import Stack

VERBS = {
    "up": "bring the whole stack up from whatever state the machine is in",
    "update": "security updates: fresh images, every container replaced in turn, nothing fails",
    "down": "stop the stack; its data stays",
    "clean": "stop the stack and remove its data and secrets",
    "distclean": "clean, and remove the images as well",
    "primary": "print the container that is the primary now",
    "vip": "print the container that holds the virtual IP now",
    "switchover": "hand the primary's role to the standby, in an orderly way",
    "logs": "follow the logs of all containers, or of those named",
    "psql": "a psql session through the write port; arguments go to psql",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; return the exit code (0 done, 1 failed, 2 bad usage)."""
    listing = "\n".join(f"  {verb:<12}{text}" for verb, text in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="python3 -m ops",
        description=f"verbs:\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("verb", choices=VERBS, metavar="VERB")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    chosen = parser.parse_args(arguments)
    root = Path(__file__).resolve().parent.parent
    try:
        settings.adopt(root)
        stack = Stack(root)
        if chosen.verb in {"logs", "psql"}:
            return int(getattr(stack, chosen.verb)(chosen.arguments))
        getattr(stack, chosen.verb)()
    except StackError as error:
        sys.stderr.write(f"\n{error}\n")
        return 1
    except KeyboardInterrupt:
        say("\ninterrupted; run the same command again to go on from here")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
