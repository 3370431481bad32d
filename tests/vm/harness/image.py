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
from dataclasses import dataclass, replace
from pathlib import Path

from .cpio import Tree
from .interpreter import add_interpreter, compiled, identity, site_directory
from .kernel import CACHE, Kernel, find_kernel, module_files, require_tools
from .packages import add_packages, dependencies

GUEST_SCRIPTS = Path(__file__).with_name("guest")
_KEPT_IMAGES = 6
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
    disk: Path | None = None
    """A file system to run on instead of the initrd; it is never written to."""
    served: tuple[str, ...] = ()
    """Ports that the image's own services hold open once it is up."""
    agent_pid: str = "int(open('/run/agent.pid').read())"
    """What tells the agent's process id to the control shell."""
    kernel_arguments: str = ""
    prefix: str = ""
    """Where in the initrd files lie that are to be in the guest."""

    def plus(self, add: AddedFiles) -> Image:
        """Return this image with more guest files: absolute guest path -> host file or content.

        A file that starts with `#!` is executable in the guest.
        """
        tree = Tree()
        for path, source in add.items():
            content = source if isinstance(source, bytes) else source.read_bytes()
            tree.file(f"{self.prefix}{path}", content, 0o755 if content.startswith(b"#!") else 0o644)
        more = assembled(self.kernel, (*self.layers, _layer("files", digest([tree.pack()]), lambda: tree)))
        return replace(self, layers=more.layers, initrd=more.initrd)


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
    image = assembled(kernel, tuple(layers))
    return image.plus(add) if add else image


def _base_layer(kernel: Kernel) -> Path:
    def build() -> Tree:
        tree = Tree()
        add_busybox(tree)
        modules = module_files(kernel)
        for name, content in modules.items():
            tree.file(f"/lib/modules/{kernel.version}/{name}", content)
        order = "".join(f"/lib/modules/{kernel.version}/{name}\n" for name in modules)
        tree.file("/etc/modules", order.encode())
        add_interpreter(tree)
        return tree

    builders = [Path(__file__).with_name(name).read_bytes() for name in _builder_sources()]
    return _layer("base", digest([kernel.version, identity(), *builders]), build)


def _wheel_layer(wheel: Path, extras: Iterable[str]) -> Path:
    needed = dependencies(wheel, extras)
    versions = [f"{distribution.name} {distribution.version}" for distribution in needed]
    builders = [Path(__file__).with_name(name).read_bytes() for name in _builder_sources()]
    site = site_directory()

    def build() -> Tree:
        tree = Tree()
        add_packages(tree, wheel, needed, site)
        return tree

    return _layer("wheel", digest([identity(), wheel.read_bytes(), *versions, *builders]), build)


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
    return _layer("scripts", digest([tree.pack()]), lambda: tree)


def add_busybox(tree: Tree) -> None:
    """Add busybox with all its applets, and the directories that it expects."""
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


def cached(kind: str, name: str, build: Callable[[Path], None], *, keep: int) -> Path:
    """Return the file `name` of its kind, made by `build` unless it is there; `keep` of the kind are kept.

    It appears whole or not at all, also where two runs race.
    """
    path = CACHE / kind / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".making-") as scratch:
            build(Path(scratch, name))
            os.replace(Path(scratch, name), path)
        _forget_oldest(path, keep)
    return _used(path)


def _layer(kind: str, key: str, build: Callable[[], Tree]) -> Path:
    return cached("layers", f"{kind}-{key}.cpio", lambda path: _write(path, [build().pack()]), keep=_KEPT_IMAGES)


def assembled(kernel: Kernel, layers: tuple[Path, ...]) -> Image:
    """Return the image of these layers in one file."""

    def build(path: Path) -> None:
        _write(path, (layer.read_bytes() for layer in layers))

    name = f"{digest([layer.name for layer in layers])}.img"
    return Image(kernel, layers, cached("images", name, build, keep=_KEPT_IMAGES))


def _write(path: Path, parts: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        for part in parts:
            file.write(part)


def _forget_oldest(path: Path, keep: int) -> None:
    kind = path.name.partition("-")[0] if path.suffix == ".cpio" else ""
    same = sorted(path.parent.glob(f"{kind}*{path.suffix}"), key=lambda other: other.stat().st_mtime, reverse=True)
    for old in same[keep:]:
        old.unlink(missing_ok=True)


def _used(path: Path) -> Path:
    os.utime(path)  # what is pruned is what has not been used for longest
    return path


def digest(parts: Iterable[str | bytes]) -> str:
    """Return a name for what is made of `parts`."""
    hashed = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        hashed.update(len(content).to_bytes(8, "big") + content)
    return hashed.hexdigest()[:16]
