"""`make dashboards`: writes deploy/monitoring/grafana/dashboards/*.json anew."""

from __future__ import annotations

from dashboards.build import text
from dashboards.model import ROOT
from dashboards.pages import PAGES

FOLDER = ROOT / "deploy" / "monitoring" / "grafana" / "dashboards"


def files() -> dict[str, str]:
    """Return what each file is called and what is in it."""
    return {f"{page.uid}.json": text(page) for page in PAGES}


def main() -> None:
    """Write the files, and remove those that no dashboard is in any more."""
    made = files()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.json"):
        if old.name not in made:
            old.unlink()
    for name, content in made.items():
        (FOLDER / name).write_text(content)


if __name__ == "__main__":
    main()
