"""Writes the dashboards: `python -m grafana.source [DIRECTORY]`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from grafana.source.build import DASHBOARDS, render

_HERE = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> None:
    """Write one file for each dashboard, named by its uid."""
    parser = argparse.ArgumentParser(
        prog="python -m grafana.source", description="Write the Grafana dashboards."
    )
    parser.add_argument("directory", metavar="DIRECTORY", nargs="?", type=Path, default=_HERE)
    directory: Path = parser.parse_args(arguments).directory
    for uid, build in DASHBOARDS.items():
        (directory / f"{uid}.json").write_text(render(build()), encoding="utf-8")


if __name__ == "__main__":
    main()
