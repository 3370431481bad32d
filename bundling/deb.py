"""The Debian package: the agent with its libraries in a directory of its own, the unit, and its configuration.

Made by dpkg-deb from a tree, not by debhelper: the libraries come from wheels, as Debian 12 has none as new. Scripts
in packaging/debian do what dh_installsystemd and dh_python3 would have them do.
"""

from __future__ import annotations

import email.utils
import gzip
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from bundling.site import PYTHONS, BundleError, fill_site, source_date
from virtagent import __version__

__all__ = ["build_deb"]

SITE = "usr/lib/virtagent"

PROGRAM = f"""#!/usr/bin/python3 -I
import sys

sys.path.insert(0, "/{SITE}")

from virtagent.cli.daemon import main

sys.exit(main())
"""

FILES = {
    "virtagentd.service": "usr/lib/systemd/system",
    "virtagentd@.service": "usr/lib/systemd/system",
    "60-virtagent.rules": "usr/lib/udev/rules.d",
    "agent.toml": "etc/virtagent",
    "virtagent-session.desktop": "etc/xdg/autostart",
    "virtagentd-observe.conf": "usr/share/doc/virtagent/examples",
    "debian/copyright": "usr/share/doc/virtagent",
    "debian/overrides/virtagent": "usr/share/lintian/overrides",
}
"""What of packaging/ goes where."""

CHANGELOG = """virtagent ({version}) unstable; urgency=medium

  * CHANGELOG.md tells what is new.

 -- The virtagent developers <virtagent@virtagent.invalid>  {date}
"""

SCRIPTS = ("postinst", "prerm", "postrm")


def build_deb(root: Path, out: Path) -> Path:
    """Build the package of the checkout `root` into the directory `out`; equal sources give equal packages.

    Raises:
        BundleError: dpkg-deb is not here or fails, or the libraries cannot be had.
    """
    if shutil.which("dpkg-deb") is None:
        raise BundleError("a Debian package needs dpkg-deb: apt-get install -y dpkg")
    date = source_date(root)
    architecture = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    name = architecture.stdout.strip()
    with tempfile.TemporaryDirectory(prefix="virtagent-deb-") as scratch:
        tree = Path(scratch) / "tree"
        fill_site(root, tree / SITE)
        _add_files(root, tree, date)
        _add_control(root, tree, name)
        _set_times(tree, date)
        out.mkdir(parents=True, exist_ok=True)
        package = out / f"virtagent_{__version__}_{name}.deb"
        command = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(tree), str(package)]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(date)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise BundleError(f"dpkg-deb: {done.stderr.strip()}")
    return package


def _add_files(root: Path, tree: Path, date: int) -> None:
    for source, directory in FILES.items():
        place = tree / directory / Path(source).name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / "packaging" / source, place)
    program = tree / "usr/bin/virtagentd"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(PROGRAM)
    program.chmod(0o755)
    (tree / "etc/virtagent/services").mkdir()
    documents = tree / "usr/share/doc/virtagent"
    for name in ("install.md", "agent.md"):
        shutil.copyfile(root / "docs" / name, documents / name)
    for name, text in (
        ("CHANGELOG.md.gz", (root / "CHANGELOG.md").read_text()),
        ("changelog.gz", CHANGELOG.format(version=__version__, date=email.utils.formatdate(date))),
    ):
        (documents / name).write_bytes(gzip.compress(text.encode(), mtime=0))
    manual = tree / "usr/share/man/man8/virtagentd.8.gz"
    manual.parent.mkdir(parents=True)
    manual.write_bytes(gzip.compress((root / "packaging/virtagentd.8").read_bytes(), mtime=0))


def _add_control(root: Path, tree: Path, architecture: str) -> None:
    control = tree / "DEBIAN"
    control.mkdir()
    source = root / "packaging" / "debian"
    size = sum(file.stat().st_size for file in tree.rglob("*") if file.is_file())
    major, minor = PYTHONS[-1].split(".")
    values = {
        "VERSION": __version__,
        "ARCHITECTURE": architecture,
        "SIZE": str(-(-size // 1024)),
        "BEYOND": f"{major}.{int(minor) + 1}~",
    }
    text = (source / "control.in").read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    (control / "control").write_text(text)
    shutil.copyfile(source / "conffiles", control / "conffiles")
    packed = sorted(file for file in tree.rglob("*") if file.is_file() and control not in file.parents)
    sums = [(hashlib.md5(file.read_bytes()).hexdigest(), file.relative_to(tree)) for file in packed]  # noqa: S324
    (control / "md5sums").write_text("".join(f"{digest}  {name}\n" for digest, name in sums))
    for name in SCRIPTS:
        shutil.copyfile(source / name, control / name)
        (control / name).chmod(0o755)


def _set_times(tree: Path, date: int) -> None:
    for place in (tree, *tree.rglob("*")):
        if place.is_dir():
            place.chmod(0o755)
        elif not os.access(place, os.X_OK):
            place.chmod(0o644)
        os.utime(place, (date, date), follow_symlinks=False)
