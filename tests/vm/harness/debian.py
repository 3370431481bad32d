"""A whole Debian 12 for guests: systemd, udev, dbus and logind on a disk, with the .deb under test installed by dpkg.

Three steps, each cached by what it is made of: the tree that mmdebstrap makes (half a minute, anew every week), the
disk with kernel modules, the harness's control shell and the package (some seconds), and an initrd that mounts the disk
and copies onto it what `Image.plus` added.
"""

from __future__ import annotations

import datetime
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .cpio import Tree
from .errors import HarnessError
from .image import GUEST_SCRIPTS, Image, add_busybox, assembled, cached, digest
from .kernel import CACHE, Kernel, find_kernel, module_files, require_tools

SUITE = "bookworm"
PACKAGES = (
    *("systemd-sysv", "udev", "dbus", "libpam-systemd", "kmod", "procps", "iproute2", "e2fsprogs", "fdisk"),
    *("python3", "init-system-helpers"),
)
"""What is installed beside Debian's essential packages and apt."""

DISK_SIZE = "700M"
"""Of the file system; the file is sparse."""

BOOT_MODULES = ("virtio_pci", "virtio_blk", "ext4")
"""What mounts the disk; everything else is loaded by udev."""

MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer"),
    *("e2scrub_reap.service", "getty@tty1.service", "serial-getty@ttyS0.service", "systemd-timesyncd.service"),
    *("systemd-pcrphase.service", "systemd-pcrphase-sysinit.service", "ldconfig.service", "systemd-firstboot.service"),
    "systemd-networkd.socket",
)
"""Units that cost a boot seconds and give the tests nothing."""

CONTROL_UNIT = r"""[Unit]
Description=Control shell of the test harness
BindsTo=dev-virtio\x2dports-ctl.device
After=dev-virtio\x2dports-ctl.device

[Service]
ExecStart=/usr/bin/python3 -I /harness/control.py
Restart=always
RestartSec=200ms
KillMode=process

[Install]
WantedBy=dev-virtio\x2dports-ctl.device
"""

_FILES = {
    "etc/hostname": "guest\n",
    "etc/hosts": "127.0.0.1 localhost guest\n",
    "etc/machine-id": "5f1d2c3b4a59687786950a1b2c3d4e5f\n",
    "etc/fstab": "",
    "etc/systemd/system/harness-control.service": CONTROL_UNIT,
    "etc/systemd/journald.conf.d/harness.conf": "[Journal]\nStorage=volatile\n",
}
_AGENT_PID = (
    "import subprocess; "
    "int(subprocess.run(['systemctl', 'show', '-P', 'MainPID', 'virtagentd.service'], capture_output=True).stdout)"
)
_KERNEL_ARGUMENTS = (
    "root=/dev/vda rw fsck.mode=skip systemd.show_status=0 "
    "systemd.journald.forward_to_console=1 systemd.journald.max_level_console=warning"
)
_APT = (
    *("--aptopt=Acquire::Languages none", "--aptopt=APT::Sandbox::User root"),
    *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale", "info")),
    "--dpkgopt=path-include=/usr/share/doc/virtagent/*",
)


def build_debian(package: Path | None, ports: Sequence[str] = ("org.virtagent.0",)) -> Image:
    """Build, or take from the cache, a Debian with the .deb `package` installed (None: none; nothing serves a port).

    `ports` are those which services of the guest hold open once it is up. Raises HarnessError with one line that says
    what to install when something is missing, root among it.
    """
    require_tools()
    for tool, needed in (("mmdebstrap", "mmdebstrap"), ("mke2fs", "e2fsprogs"), ("depmod", "kmod")):
        if shutil.which(tool) is None and not Path("/usr/sbin", tool).exists():
            raise HarnessError(f"a Debian guest needs: apt-get install -y --no-install-recommends {needed}")
    if os.geteuid() != 0:
        raise HarnessError("a Debian guest is made with mmdebstrap and chroot: run as root")
    kernel = find_kernel()
    disk = _disk(kernel, _base(), package)
    image = assembled(kernel, (_boot_layer(kernel),))
    return Image(
        kernel,
        image.layers,
        image.initrd,
        disk=disk,
        served=tuple(ports) if package else (),
        agent_pid=_AGENT_PID,
        kernel_arguments=_KERNEL_ARGUMENTS,
        prefix="/payload",
    )


def _base() -> Path:
    """The tree of SUITE with PACKAGES, as a tar; one of an earlier week serves where there is no archive to reach."""
    week = "-".join(str(part) for part in datetime.datetime.now(datetime.UTC).isocalendar()[:2])
    key = digest([SUITE, *PACKAGES, *_APT])

    def build(path: Path) -> None:
        command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=apt", "--format=tar", *_APT]
        made = subprocess.run(
            [*command, f"--include={','.join(PACKAGES)}", SUITE, str(path)], capture_output=True, text=True, check=False
        )
        if made.returncode:
            raise HarnessError(f"mmdebstrap failed: {(made.stderr.strip().splitlines() or ['no reason given'])[-1]}")

    try:
        return cached("debian", f"{key}-{week}.tar", build, keep=1)
    except HarnessError:
        earlier = sorted((CACHE / "debian").glob(f"{key}-*.tar"))
        if not earlier:
            raise
        return earlier[-1]


def _disk(kernel: Kernel, base: Path, package: Path | None) -> Path:
    parts: list[str | bytes] = [
        base.name,
        kernel.version,
        (GUEST_SCRIPTS / "control.py").read_bytes(),
        Path(__file__).read_bytes(),
    ]
    if package is not None:
        parts.append(package.read_bytes())

    def build(path: Path) -> None:
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="root-") as scratch:
            root = Path(scratch)
            root.chmod(0o755)
            _run("tar", "-C", scratch, "-xpf", str(base), "--numeric-owner")
            _furnish(root, kernel)
            if package is not None:
                shutil.copyfile(package, root / "var/tmp/virtagent.deb")
                _run("chroot", scratch, "dpkg", "-i", "/var/tmp/virtagent.deb")
                (root / "var/tmp/virtagent.deb").unlink()
            options = ["-q", "-t", "ext4", "-O", "^has_journal", "-E", "root_owner=0:0", "-d", scratch]
            _run("mke2fs", *options, str(path), DISK_SIZE)

    return cached("disks", f"{digest(parts)}.ext4", build, keep=4)


def _furnish(root: Path, kernel: Kernel) -> None:
    """Add the kernel's modules and the control shell, and mask what only costs time."""
    for name, text in _FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "harness").mkdir()
    for script in ("control.py", "blob.py"):
        shutil.copyfile(GUEST_SCRIPTS / script, root / "harness" / script)
    units = root / "etc/systemd/system"
    for name in MASKED:
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")
    _run("chroot", str(root), "systemctl", "enable", "-q", "harness-control.service")
    _run("chroot", str(root), "useradd", "--create-home", "--shell", "/bin/bash", "alice")
    modules = root / "usr/lib/modules" / kernel.version
    shutil.copytree(kernel.modules, modules)
    _run("depmod", "-b", str(root / "usr"), kernel.version)


def _boot_layer(kernel: Kernel) -> Path:
    tree = Tree()
    add_busybox(tree)
    modules = module_files(kernel, BOOT_MODULES)
    for name, content in modules.items():
        tree.file(f"/modules/{name}", content)
    tree.file("/modules/order", "".join(f"/modules/{name}\n" for name in modules).encode())
    tree.file("/init", (GUEST_SCRIPTS / "init.disk").read_bytes(), 0o755)
    tree.directory("/root")

    def build(path: Path) -> None:
        path.write_bytes(tree.pack())

    return cached("layers", f"boot-{digest([tree.pack()])}.cpio", build, keep=2)


def _run(*command: str) -> None:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        complaint = (done.stderr.strip() or done.stdout.strip() or "it does not say why").splitlines()[-1]
        raise HarnessError(f"{' '.join(command[:4])}: {complaint}")
