"""`python -m ops.cli`, which the `holdfast` script at the root runs."""

from ops.cli.main import app

if __name__ == "__main__":
    app(prog_name="holdfast")
