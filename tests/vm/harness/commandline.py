"""QEMU's command line for one guest: every line of it was tried under software emulation, and measured."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import HarnessError
from .image import Image

CONTROL_PORT = "ctl"
_COMMAND_LINE_SIZE = 2048  # COMMAND_LINE_SIZE of arch/x86
_FAST_BOOT = (
    "console=ttyS0 quiet tsc=reliable no_timer_check noreplace-smp mitigations=off random.trust_cpu=on i8042.noaux "
    "nokaslr raid=noautodetect audit=0 selinux=0 apparmor=0 ima_appraise=off rcupdate.rcu_expedited=1 "
    "cryptomgr.notests"
)


@dataclass(frozen=True, slots=True)
class Spec:
    """What a machine is made of; a snapshot can only be restored into a machine of an equal one."""

    image: Image
    ports: tuple[str, ...]
    """Names of the virtio ports, the control port among them."""
    serial: bool
    """Whether there is a second UART, /dev/ttyS1."""
    agent: str | None
    """The simple command that the guest's supervisor keeps running."""
    memory: int
    """MiB."""
    smp: int
    blob: tuple[str, int] | None
    """A file to make at boot: guest path and MiB of the content of `guest.blob`."""
    kernel_arguments: tuple[str, ...]


def qemu_command(
    spec: Spec, sockets: Mapping[str, Path], monitor: Path, disk: Path, *, root: Path | None, incoming: bool
) -> list[str]:
    """Return the command; `sockets` maps each port name, and ttyS1, to where QEMU shall listen; `root` is the disk."""
    kvm = os.environ.get("VIRTAGENT_KVM") == "1"
    command = [
        # bound to the thread that starts us: QEMU never outlives the test run, however that ends
        *("setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"),
        # a small translation cache: what it still holds of the old kernel makes the boot after a reset 2.5 x as dear
        *("-accel", "kvm" if kvm else "tcg,tb-size=48", "-cpu", "host" if kvm else "max"),
        # not microvm: under TCG it hangs in its timer calibration in a fifth of all boots
        *("-M", "pc", "-smp", str(spec.smp), "-m", str(spec.memory)),
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *("-kernel", str(spec.image.kernel.image), "-initrd", str(spec.image.initrd)),
        *("-append", _kernel_arguments(spec)),
        *("-chardev", f"socket,id=monitor,path={monitor},server=off", "-mon", "chardev=monitor,mode=control"),
        *("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"),
        # attached to no device: savevm needs some writable qcow2 to put the guest's memory in
        *("-drive", f"if=none,id=snap,format=qcow2,file={disk}"),
        *("-device", "virtio-serial-pci,id=vs0,max_ports=31"),
    ]
    for number, name in enumerate(spec.ports, start=1):
        chardev = f"socket,id=chr-{name},path={sockets[name]},server=on,wait=off"
        port = f"virtserialport,bus=vs0.0,nr={number},chardev=chr-{name},name={name},id=port-{name}"
        command += ["-chardev", chardev, "-device", port]
    if spec.serial:
        command += ["-chardev", f"socket,id=chr-ttyS1,path={sockets['ttyS1']},server=on,wait=off"]
        command += ["-device", "isa-serial,chardev=chr-ttyS1,id=ttyS1"]
    if root is not None:
        drive = f"if=none,id=root,format=qcow2,discard=unmap,file={root}"
        command += ["-drive", drive, "-device", "virtio-blk-pci,drive=root,serial=root"]
    if incoming:
        command += ["-incoming", "defer"]
    return command


def _kernel_arguments(spec: Spec) -> str:
    # names without a dot that the kernel does not know become PID 1's environment
    arguments = [_FAST_BOOT, spec.image.kernel_arguments, *spec.kernel_arguments, f"va_ports={','.join(spec.ports)}"]
    if spec.agent is not None:
        arguments.append(f"va_agent={base64.b64encode(spec.agent.encode()).decode()}")
    if spec.blob is not None:
        arguments.append(f"va_blob={spec.blob[0]}:{spec.blob[1]}")
    line = " ".join(arguments)
    if len(line) >= _COMMAND_LINE_SIZE:
        raise HarnessError(
            f"the kernel command line has {len(line)} bytes, {_COMMAND_LINE_SIZE - 1} are possible:"
            " put the agent's command into a script and the script into the image (add=)"
        )
    return line
