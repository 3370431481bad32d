"""The agent and its libraries as one directory to import from, for each Python that guests have.

Compiled libraries carry the Python's version in their names, so that those of several lie side by side. Their versions
are those of the environment that builds: what was tested is what is shipped.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

__all__ = ["EXTRA", "PYTHONS", "BundleError", "fill_site", "source_date"]

PYTHONS = ("3.11", "3.12", "3.13")
"""The Pythons of guests; the oldest is Debian 12's."""

EXTRA = "guest"
"""The extra that brings what the agent's services need."""

GLIBCS = (36, 34, 28, 17, 12, 5)
"""Minor versions of glibc 2 that wheels are tagged with; the newest is Debian 12's."""

LEFT_OUT = (".pyi", ".pyx", ".pxd", ".c", ".h", ".cpp")
"""Sources of what is compiled already."""

DEFAULT_DATE = 1_735_689_600
"""2025-01-01, for a build outside of a checkout."""


class BundleError(Exception):
    """Why nothing was built, in one line."""


def source_date(root: Path) -> int:
    """The time stamp of all that is built: ``SOURCE_DATE_EPOCH``, or that of the last commit; in seconds."""
    if told := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(told)
    asked = ["git", "-C", str(root), "log", "-1", "--format=%ct"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip() else DEFAULT_DATE


def fill_site(root: Path, site: Path, pythons: Iterable[str] = PYTHONS) -> None:
    """Put the package of the checkout `root`, and what it needs, into the directory `site`.

    Raises:
        BundleError: the wheel does not build, or a library has no wheel for one of the Pythons.
    """
    with tempfile.TemporaryDirectory(prefix="virtagent-bundle-") as scratch:
        wheels = Path(scratch)
        own = _build(root, wheels / "own")
        pins = wheels / "pins.txt"
        pins.write_text("".join(f"{line}\n" for line in _pins()))
        for python in pythons:
            _fetch(own, python, wheels / python, pins)
        fetched = sorted({each.name: each for python in pythons for each in (wheels / python).glob("*.whl")}.items())
        for _, wheel in fetched:
            _unpack(wheel, site)
    _strip(site)
    if not (site / "virtagent" / "cli" / "daemon.py").exists():
        raise BundleError("the wheel lacks virtagent/cli/daemon.py: see [tool.hatch.build] in pyproject.toml")


def _build(root: Path, out: Path) -> Path:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(out.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise BundleError(f"the wheel does not build: {_last_line(done.stderr or done.stdout)}")
    return wheels[0]


def _pins() -> Iterator[str]:
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name and name != "virtagent":
            yield f"{name}=={distribution.version}"


def _fetch(own: Path, python: str, out: Path, pins: Path) -> None:
    machine = platform.machine()
    tags = [f"manylinux_2_{glibc}_{machine}" for glibc in GLIBCS]
    tags += [f"manylinux2014_{machine}", f"manylinux2010_{machine}", f"linux_{machine}"]
    command = [sys.executable, "-m", "pip", "download", "-q", "--dest", str(out), "--only-binary=:all:"]
    command += ["--python-version", python, "--constraint", str(pins)]
    for tag in tags:
        command += ["--platform", tag]
    done = subprocess.run([*command, f"{own}[{EXTRA}]"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BundleError(f"pip has no wheels for Python {python}: {_last_line(done.stderr)}")


def _strip(site: Path) -> None:
    """Take the symbols out of native code, which is half of it, as Debian does; where binutils are here."""
    if (strip := shutil.which("strip")) is None:
        return
    for library in site.rglob("*.so"):
        done = subprocess.run([strip, "--strip-unneeded", str(library)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise BundleError(f"strip: {_last_line(done.stderr)}")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it does not say why"])[-1]


def _unpack(wheel: Path, site: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        for entry in opened.infolist():
            name = entry.filename
            if entry.is_dir() or name.endswith(LEFT_OUT):
                continue
            if ".data/" in name:
                raise BundleError(f"{wheel.name} has {name}, which belongs elsewhere than into a directory of modules")
            place = site / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(opened.read(entry))
            place.chmod(0o644)
