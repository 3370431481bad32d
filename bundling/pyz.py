"""The agent in a single file, for guests that have Python and nothing else: ``python3 virtagentd.pyz``.

A zip archive that Python runs (zipapp), with the libraries for each of PYTHONS; see `bootstrap` for what it does first.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
import zipfile
from pathlib import Path

from bundling.site import fill_site, source_date

__all__ = ["build_pyz"]

SHEBANG = b"#!/usr/bin/env python3\n"
MAIN = "__main__.py"


def build_pyz(root: Path, out: Path) -> Path:
    """Build virtagentd.pyz of the checkout `root` into the directory `out`; equal sources give equal files.

    Raises:
        BundleError: the libraries cannot be had.
    """
    with tempfile.TemporaryDirectory(prefix="virtagent-pyz-") as scratch:
        site = Path(scratch)
        fill_site(root, site)
        files = {str(file.relative_to(site)): file.read_bytes() for file in site.rglob("*") if file.is_file()}
    made = Path(__file__).with_name("bootstrap.py").read_text()
    files[MAIN] = made.replace("@BUILD@", _digest(files)).encode()
    out.mkdir(parents=True, exist_ok=True)
    archive = out / "virtagentd.pyz"
    stamp = time.gmtime(source_date(root))[:6]
    with archive.open("wb") as file:
        file.write(SHEBANG)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
            for name in sorted(files):
                entry = zipfile.ZipInfo(name, stamp)
                entry.external_attr = 0o100644 << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                packed.writestr(entry, files[name])
    archive.chmod(0o755)
    return archive


def _digest(files: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
    return digest.hexdigest()[:16]
