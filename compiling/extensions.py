"""Extension modules of the listed modules: one group, so that calls between them are calls in C."""

from __future__ import annotations

import os
from pathlib import Path

# Before mypyc, which else finds no setuptools on Python 3.12 and later.
import setuptools
from mypyc.build import mypycify

from compiling.modules import listed_modules

__all__ = ["build_extensions"]

GROUP = "virtagent.compiled"
"""The name of the shared library without its suffix ``__mypyc``: it belongs inside the package."""


def build_extensions(root: Path, work: Path) -> dict[str, Path]:
    """Compile the listed modules. C files that did not change are not compiled again.

    Args:
        root: where the sources are; becomes the current directory, as mypy names modules from there.
        work: a directory for C files, objects and extension modules, kept for the next time.

    Returns:
        The extension modules, by their places relative to a directory of ``sys.path``.

    Raises:
        NoSuchModule: a listed module does not exist.
        SystemExit: mypy finds an error, or mypyc something it cannot compile; it has printed what.
        setuptools.errors.BaseError, CompileError, LinkError: the C compiler fails, or there is none.
    """
    work = work.absolute()
    os.chdir(root)
    extensions = mypycify(
        ["--config-file", "compiling/mypy.ini", *listed_modules(root)],
        opt_level="3",
        debug_level="1",
        group_name=GROUP,
        target_dir=str(work / "c"),
    )
    for extension in extensions:
        extension.depends.append(__file__)
    library = work / "lib"
    command = setuptools.Distribution({"name": "virtagent", "ext_modules": extensions}).get_command_obj("build_ext")
    command.build_lib = str(library)
    command.build_temp = str(work / "objects")
    command.ensure_finalized()
    command.run()
    return {str(Path(made).relative_to(library)): Path(made) for made in command.get_outputs()}
