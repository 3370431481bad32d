"""Debian's cloud kernel: which one, from where, and the modules a guest needs of it.

Nothing is installed: the package is downloaded and unpacked below the repository's `.cache/vm/`.
"""

from __future__ import annotations

import lzma
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .errors import HarnessError

CACHE = Path(__file__).resolve().parents[3] / ".cache" / "vm"
MODULES = (
    "virtio_pci",
    "virtio_console",
    "virtio_blk",
    "vsock_loopback",
    "button",  # button and evdev: without both, the ACPI power button of QMP's system_powerdown is not seen
    "evdev",
)
_META_PACKAGE = "linux-image-cloud-amd64"
_TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "busybox": "busybox-static",
    "setpriv": "util-linux",
    "ldd": "libc-bin",
}


@dataclass(frozen=True, slots=True)
class Kernel:
    """One unpacked kernel package."""

    version: str
    """The release as `uname -r` prints it in the guest."""
    image: Path
    """The bzImage for QEMU's -kernel."""
    modules: Path
    """The directory lib/modules/VERSION."""


def missing_packages() -> list[str]:
    """Return the Debian packages to install before a guest can be booted here; empty when all is there."""
    missing = [package for tool, package in _TOOLS.items() if shutil.which(tool) is None]
    busybox = shutil.which("busybox")
    if busybox is not None and _is_dynamic(Path(busybox)):
        missing.append("busybox-static")
    return missing


def require_tools() -> None:
    """Raise HarnessError with the one command that helps, unless a guest can be booted here."""
    if platform.machine() != "x86_64":
        raise HarnessError(f"the guests of tests/vm are x86-64 only, this machine is {platform.machine()}")
    if missing := missing_packages():
        raise HarnessError(f"booting guests needs: apt-get install -y --no-install-recommends {' '.join(missing)}")


def find_kernel() -> Kernel:
    """Return the newest cloud kernel of the configured Debian archive, downloading it (27 MB) only once.

    Without package lists a kernel of an earlier run is used. Raises HarnessError if there is none.
    """
    package = _newest_package()
    if package is None:
        cached = sorted(CACHE.glob("linux-image-*"), key=lambda path: path.stat().st_mtime)
        if not cached:
            raise HarnessError(f"apt knows no {_META_PACKAGE}: run apt-get update (Debian 12 or newer) and try again")
        return _kernel_in(cached[-1])
    root = CACHE / package
    if not root.exists():
        _download(package, root)
    return _kernel_in(root)


def module_files(kernel: Kernel, names: Iterable[str] = MODULES) -> dict[str, bytes]:
    """Return file name -> content of the modules `names` and all they depend on, in the order of insertion.

    The dependencies are those each module declares in its own .modinfo: the package ships no modules.dep
    (depmod writes it on installation).
    """
    available = {_module_name(path): path for path in kernel.modules.rglob("*.ko*")}
    ordered: dict[str, bytes] = {}

    def insert(name: str) -> None:
        path = available.get(name)
        if path is None:
            raise HarnessError(f"kernel {kernel.version} has no module {name}")
        content = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
        declared = re.search(rb"\0depends=([^\0]*)\0", content)
        for needed in filter(None, declared.group(1).decode().split(",") if declared else []):
            insert(_canonical(needed))
        ordered.setdefault(f"{name}.ko", content)

    for name in names:
        # what is built in on one kernel is a module on another; the guest needs it loaded either way
        if name in available or not _is_built_in(kernel, name):
            insert(name)
    return ordered


def _is_built_in(kernel: Kernel, name: str) -> bool:
    listing = kernel.modules / "modules.builtin"
    return listing.exists() and any(_module_name(Path(line)) == name for line in listing.read_text().split())


def _canonical(name: str) -> str:
    return name.replace("-", "_")


def _module_name(path: Path) -> str:
    return _canonical(path.name.partition(".ko")[0])


def _is_dynamic(program: Path) -> bool:
    return b"/ld-linux" in program.read_bytes()


def _newest_package() -> str | None:
    if shutil.which("apt-cache") is None:
        return None
    listed = subprocess.run(
        ["apt-cache", "depends", _META_PACKAGE],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    found = re.search(r"Depends: (linux-image-\S+)", listed.stdout)
    return found.group(1) if found else None


def _download(package: str, root: Path) -> None:
    """Unpack `package` at `root`; `root` appears complete or not at all, also when two runs race."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        fetched = subprocess.run(
            ["apt-get", "download", "-qq", package], cwd=scratch, capture_output=True, text=True, check=False
        )
        archives = list(Path(scratch).glob("*.deb"))
        if fetched.returncode or not archives:
            reason = fetched.stderr.strip().splitlines()[-1:] or ["no package came"]
            raise HarnessError(f"apt-get download {package} failed ({reason[0]}): run apt-get update and try again")
        unpacked = Path(scratch) / "root"
        subprocess.run(["dpkg", "-x", archives[0], unpacked], check=True)
        if not root.exists():
            unpacked.rename(root)


def _kernel_in(root: Path) -> Kernel:
    images = list((root / "boot").glob("vmlinuz-*"))
    if len(images) != 1:
        raise HarnessError(f"{root} holds no kernel: delete it and try again")
    version = images[0].name.removeprefix("vmlinuz-")
    modules = next(
        (path for path in (root / "lib/modules" / version, root / "usr/lib/modules" / version) if path.exists()), None
    )
    if modules is None:
        raise HarnessError(f"{root} holds no modules: delete it and try again")
    return Kernel(version, images[0], modules)
