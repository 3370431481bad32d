"""The CPython that runs the harness, as files for the guest: host and guest run one and the same interpreter.

It keeps its host paths, so that its run-time search paths and prefix still hold. The standard library goes in as
sourceless .pyc: reading sources would cost the guest seconds under emulation.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path

from .cpio import Tree

_LEFT_OUT = {
    *("test", "tests", "idlelib", "idle_test", "tkinter", "ensurepip", "lib2to3", "turtledemo", "pydoc_data"),
    *("site-packages", "dist-packages", "__pycache__"),
}
_LEFT_OUT_EXTENSIONS = re.compile(r"_tkinter|_test|_ctypes_test|_xx|xx")


def base_executable() -> Path:
    """Return the interpreter behind the virtual environment that runs this."""
    executable: str = getattr(sys, "_base_executable", sys.executable)
    return Path(executable).resolve()


def identity() -> str:
    """Return what tells this interpreter from another one, for cache keys."""
    status = base_executable().stat()
    return f"{sys.version} {base_executable()} {status.st_size} {status.st_mtime_ns}"


def site_directory() -> str:
    """Return the guest directory from which the interpreter imports installed packages."""
    asked = "import site; print(site.getsitepackages()[0])"
    return subprocess.run(
        [base_executable(), "-I", "-c", asked], capture_output=True, text=True, check=True
    ).stdout.strip()


def add_interpreter(tree: Tree) -> None:
    """Add the interpreter, its standard library and their shared libraries; /usr/bin/python3 runs it."""
    executable = base_executable()
    natives = [executable]
    tree.file(str(executable), stripped(executable), 0o755)
    for name in ("python3", "python"):
        tree.link(f"/usr/bin/{name}", str(executable))
    library = Path(sysconfig.get_path("stdlib"))
    for path in _library_files(library):
        if path.suffix == ".py":
            tree.file(f"{path}c", compiled(path.read_bytes(), str(path)))
        elif path.suffix == ".so" and not _LEFT_OUT_EXTENSIONS.match(path.name):
            tree.file(str(path), stripped(path), 0o755)
            natives.append(path)
    add_shared_libraries(tree, natives)


def add_shared_libraries(tree: Tree, natives: Iterable[Path]) -> None:
    """Add every shared library that the dynamic linker would load for `natives`, at its host path."""
    listed = subprocess.run(["ldd", *natives], capture_output=True, text=True, check=False).stdout
    for found in set(re.findall(r"(?:=> |^\t)(/\S+) \(0x", listed, re.MULTILINE)):
        if found not in tree:
            tree.file(found, stripped(Path(found).resolve()), 0o755)


def compiled(source: bytes, guest_path: str) -> bytes:
    """Return the .pyc of `source` for a sourceless import (PEP 552 header, never checked against a source)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = compile(source, guest_path, "exec", dont_inherit=True, optimize=0)
    return importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(code)


def stripped(path: Path) -> bytes:
    """Return the ELF file `path` without symbols if binutils' strip is here, as it is otherwise.

    A libpython with debug information is 5 times as large, and the guest pays for it in memory.
    """
    strip = shutil.which("strip")
    if strip is None:
        return path.read_bytes()
    descriptor, scratch = tempfile.mkstemp()
    os.close(descriptor)
    try:
        done = subprocess.run([strip, "--strip-unneeded", "-o", scratch, path], capture_output=True, check=False)
        return Path(scratch).read_bytes() if done.returncode == 0 else path.read_bytes()
    finally:
        os.unlink(scratch)


def _library_files(library: Path) -> Iterable[Path]:
    for directory, names, files in os.walk(library):
        names[:] = sorted(name for name in names if name not in _LEFT_OUT and not name.startswith("config-"))
        yield from (Path(directory, name) for name in sorted(files))
