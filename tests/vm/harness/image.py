"""The guest's initramfs: busybox, modules, CPython, the wheel under test and the guest's own start scripts.

Three cpio archives in one file: the base (kernel, busybox, interpreter: ten seconds, changes with those), the wheel
with its dependencies (a second), and the scripts and files of one test (nothing). Each is cached by what it is made of.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .cpio import Tree
from .interpreter import add_interpreter, compiled, identity, site_directory
from .kernel import CACHE, Kernel, find_kernel, module_files, require_tools
from .packages import add_packages, dependencies

GUEST_SCRIPTS = Path(__file__).with_name("guest")
_KEPT_IMAGES = 4
_SCRIPTS = {
    "init": "/init",
    "rc.boot": "/etc/rc.boot",
    "rc.ports": "/etc/rc.ports",
    "rc.agent": "/etc/rc.agent",
    "runlevel": "/usr/bin/runlevel",
    "shutdown": "/usr/bin/shutdown",
}
_ETC = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost guest\n",
    "hostname": "guest\n",
    "os-release": 'NAME="virtagent test guest"\nID=virtagent-test\nVERSION_ID=1\nPRETTY_NAME="virtagent test guest"\n',
}
AddedFiles = Mapping[str, Path | bytes]


@dataclass(frozen=True, slots=True)
class Image:
    """What QEMU boots."""

    kernel: Kernel
    layers: tuple[Path, ...]
    initrd: Path

    def plus(self, add: AddedFiles) -> Image:
        """Return this image with more guest files: absolute guest path -> host file or content.

        A file that starts with `#!` is executable in the guest.
        """
        tree = Tree()
        for path, source in add.items():
            content = source if isinstance(source, bytes) else source.read_bytes()
            tree.file(path, content, 0o755 if content.startswith(b"#!") else 0o644)
        return _assembled(self.kernel, (*self.layers, _layer("files", _digest([tree.pack()]), lambda: tree)))


def build_image(wheel: Path | None, *, extras: Iterable[str] = (), add: AddedFiles | None = None) -> Image:
    """Build, or take from the cache, the guest image that has `wheel` installed (None: no package at all).

    `extras` are extras of the wheel to satisfy as well, `add` is as for `Image.plus`. Raises HarnessError with one
    line that says what to install when something is missing.
    """
    require_tools()
    kernel = find_kernel()
    layers = [_base_layer(kernel), _scripts_layer()]
    if wheel is not None:
        layers.insert(1, _wheel_layer(wheel, extras))
    image = _assembled(kernel, tuple(layers))
    return image.plus(add) if add else image


def _base_layer(kernel: Kernel) -> Path:
    def build() -> Tree:
        tree = Tree()
        _add_busybox(tree)
        modules = module_files(kernel)
        for name, content in modules.items():
            tree.file(f"/lib/modules/{kernel.version}/{name}", content)
        order = "".join(f"/lib/modules/{kernel.version}/{name}\n" for name in modules)
        tree.file("/etc/modules", order.encode())
        add_interpreter(tree)
        return tree

    builders = [Path(__file__).with_name(name).read_bytes() for name in _builder_sources()]
    return _layer("base", _digest([kernel.version, identity(), *builders]), build)


def _wheel_layer(wheel: Path, extras: Iterable[str]) -> Path:
    needed = dependencies(wheel, extras)
    versions = [f"{distribution.name} {distribution.version}" for distribution in needed]
    builders = [Path(__file__).with_name(name).read_bytes() for name in _builder_sources()]
    site = site_directory()

    def build() -> Tree:
        tree = Tree()
        add_packages(tree, wheel, needed, site)
        return tree

    return _layer("wheel", _digest([identity(), wheel.read_bytes(), *versions, *builders]), build)


def _scripts_layer() -> Path:
    tree = Tree()
    for path in sorted(GUEST_SCRIPTS.iterdir()):
        if path.suffix == ".py":
            guest_path = f"/harness/{path.name}"
            tree.file(f"{guest_path}c", compiled(path.read_bytes(), guest_path))
        elif path.name in _SCRIPTS:
            tree.file(_SCRIPTS[path.name], path.read_bytes(), 0o755)
    for name, text in _ETC.items():
        tree.file(f"/etc/{name}", text.encode())
    # where busybox acpid looks for what to do when the ACPI power button is pressed
    tree.file("/etc/acpi/PWRF/00000080", b"#!/bin/sh\nexec /usr/bin/poweroff\n", 0o755)
    return _layer("scripts", _digest([tree.pack()]), lambda: tree)


def _add_busybox(tree: Tree) -> None:
    busybox = Path(shutil.which("busybox") or "/bin/busybox")
    for name in ("bin", "sbin", "usr/sbin"):
        tree.link(name, "/usr/bin")
    tree.file("/usr/bin/busybox", busybox.read_bytes(), 0o755)
    for applet in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if applet != "busybox":
            tree.link(f"/usr/bin/{applet}", "busybox")
    for name in ("dev", "proc", "sys", "run", "tmp", "root", "var", "etc"):
        tree.directory(name)
    tree.link("/var/run", "/run")
    tree.character_device("/dev/console", 5, 1)


def _builder_sources() -> tuple[str, ...]:
    return ("cpio.py", "kernel.py", "interpreter.py", "packages.py", "image.py")


def _layer(kind: str, key: str, build: Callable[[], Tree]) -> Path:
    path = CACHE / "layers" / f"{kind}-{key}.cpio"
    if not path.exists():
        _write(path, [build().pack()])
    return _used(path)


def _assembled(kernel: Kernel, layers: tuple[Path, ...]) -> Image:
    path = CACHE / "images" / f"{_digest([layer.name for layer in layers])}.img"
    if not path.exists():
        _write(path, (layer.read_bytes() for layer in layers))
    return Image(kernel, layers, _used(path))


def _write(path: Path, parts: Iterable[bytes]) -> None:
    """Write `path` so that a run in parallel sees it whole or not at all, and forget the oldest of its kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as scratch:
        for part in parts:
            scratch.write(part)
    os.replace(scratch.name, path)
    kind = path.name.partition("-")[0] if "-" in path.name else ""
    same = sorted(path.parent.glob(f"{kind}*"), key=lambda other: other.stat().st_mtime, reverse=True)
    for old in same[_KEPT_IMAGES:]:
        old.unlink(missing_ok=True)


def _used(path: Path) -> Path:
    os.utime(path)  # what is pruned is what has not been used for longest
    return path


def _digest(parts: Iterable[str | bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()[:16]
