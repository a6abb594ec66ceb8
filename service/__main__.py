"""`python -m service`: serve until SIGTERM, then leave in order (service/server.py).

With WORKERS=1 this process serves; with more it supervises those that do (service/workers). Exit
codes: 0 after a stop that was asked for, 2 for a bad setting.
"""

import sys
from functools import partial

from service.server import logged, serve
from service.settings import SettingsError, load_settings
from service.workers.supervisor import Supervisor

BAD_SETTING = 2


def main() -> int:
    """Run the service, and return its exit code."""
    try:
        settings = load_settings()
        if settings.workers > 1:
            return Supervisor(settings).run()
        logged(settings, partial(serve, settings))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return BAD_SETTING
    return 0


if __name__ == "__main__":
    sys.exit(main())
