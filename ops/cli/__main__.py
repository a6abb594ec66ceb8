"""`python -m ops.cli`, which the `holdfast` script at the root runs."""

import sys

from ops.cli.main import app

if __name__ == "__main__":
    app.run(sys.argv[1:])
