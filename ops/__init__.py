"""What an operator and a developer run: the real stack, and the embedded one behind `make dev`.

Imports nothing of the service, which is started as its users would start it.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - whoever has an older one is told, not traced back
    sys.exit(
        "Holdfast needs Python 3.11 or later; this is {}.{}. Name another one: "
        "PYTHON=python3.12 make up, PYTHON=python3.12 ./holdfast".format(*sys.version_info[:2])
    )
