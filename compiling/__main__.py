"""``python -m compiling``: extension modules for a wheel, or a compiled copy of the checkout."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from setuptools.errors import BaseError, CompileError, LinkError

from compiling.extensions import build_extensions
from compiling.modules import NoSuchModule
from compiling.tree import compiled_tree

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Do what the command line says; any failure ends with a line that says why, and a status that is not 0."""
    parser = argparse.ArgumentParser(prog="python -m compiling", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    extensions = commands.add_parser("extensions", help="compile the listed modules")
    extensions.add_argument("work", type=Path, help="directory for what is made; extensions.json in it says where")
    tree = commands.add_parser("tree", help="make or update a compiled copy of this checkout")
    tree.add_argument("copy", type=Path, help="the copy's directory")
    options = parser.parse_args()
    try:
        if options.command == "tree":
            compiled_tree(ROOT, options.copy.absolute())
            return
        work = options.work.absolute()
        made = {place: str(path) for place, path in build_extensions(ROOT, work).items()}
        (work / "extensions.json").write_text(json.dumps(made))
    except NoSuchModule as error:
        parser.exit(1, f"{error}\n")
    except (BaseError, CompileError, LinkError) as error:
        command = str(error).split(",", 1)[0]
        parser.exit(1, f"no C compiler, or it fails ({command} ...): apt-get install -y gcc python3-dev\n")


if __name__ == "__main__":
    main()
