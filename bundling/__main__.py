"""``python -m bundling``: the Debian package, or the single-file agent."""

from __future__ import annotations

import argparse
from pathlib import Path

from bundling.deb import build_deb
from bundling.pyz import build_pyz
from bundling.site import BundleError

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Do what the command line says; a failure ends with a line that says why, and status 1."""
    parser = argparse.ArgumentParser(prog="python -m bundling", description=__doc__)
    parser.add_argument("kind", choices=("deb", "pyz"), help="what to build")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="directory for it [dist]")
    options = parser.parse_args()
    build = {"deb": build_deb, "pyz": build_pyz}[options.kind]
    try:
        made = build(ROOT, options.out.absolute())
    except BundleError as error:
        parser.exit(1, f"{error}\n")
    size = made.stat().st_size
    print(f"{made} ({size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
