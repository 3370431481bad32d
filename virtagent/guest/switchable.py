"""Processors and memory blocks in sysfs, which may be switched on and off."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from virtagent.api.hardware import MemoryBlock, MemoryBlocks, Switch, Switched, Vcpu
from virtagent.errors import PermissionDenied, Unavailable
from virtagent.guest.sysfs_write import write_within
from virtagent.peer.identity import read_line

__all__ = ["memory_blocks", "set_memory_blocks", "set_vcpus", "vcpus"]

CPUS = "devices/system/cpu"
MEMORY = "devices/system/memory"

PER_BLOCK = 10.0
IN_ALL = 45.0
"""Seconds that switching memory may take."""

_NUMBERED = {"cpu": re.compile(r"cpu(\d+)"), "memory": re.compile(r"memory(\d+)"), "node": re.compile(r"node(\d+)")}


def _numbers(folder: Path, kind: str) -> list[int]:
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return sorted(int(match[1]) for name in names if (match := _NUMBERED[kind].fullmatch(name)))


def _number(path: Path) -> int | None:
    text = read_line(path)
    return int(text) if text.isdecimal() else None


# -- processors --------------------------------------------------------------------------------------------------------


def vcpus(sys: Path) -> list[Vcpu]:
    """The processors; one without a switch is on, and stays so."""
    found = []
    for number in _numbers(sys / CPUS, "cpu"):
        folder = sys / CPUS / f"cpu{number}"
        nodes = _numbers(folder, "node")
        found.append(
            Vcpu(
                number=number,
                online=_number(folder / "online") != 0,
                can_offline=(folder / "online").exists(),
                socket=_number(folder / "topology" / "physical_package_id"),
                core=_number(folder / "topology" / "core_id"),
                node=nodes[0] if nodes else None,
            )
        )
    return found


def set_vcpus(sys: Path, switches: Iterable[Switch]) -> list[Switched]:
    """Switch them one after the other.

    Raises:
        PermissionDenied: this process may not.
    """

    def switch(each: Switch) -> Switched:
        folder = sys / CPUS / f"cpu{each.number}"
        if not folder.is_dir():
            return Switched(number=each.number, result="not-found", error=f"there is no processor {each.number}")
        file = folder / "online"
        if (_number(file) != 0) == each.online:
            return Switched(number=each.number, result="unchanged")
        if not file.exists():
            return Switched(
                number=each.number, result="not-supported", error=f"processor {each.number} cannot be switched off"
            )
        return _attempt(each, lambda: _write(file, str(int(each.online))))

    return [switch(each) for each in switches]


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _attempt(switch: Switch, write: Callable[[], None]) -> Switched:
    try:
        write()
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise PermissionDenied("the agent may not switch hardware; run it as root, with a writable /sys") from None
        unsupported = error.errno in (errno.ENODEV, errno.EOPNOTSUPP, errno.ENOSYS)
        return Switched(
            number=switch.number,
            result="not-supported" if unsupported else "failed",
            error=error.strerror or str(error),
            errno=errno.errorcode.get(error.errno or 0, ""),
        )
    return Switched(number=switch.number, result="done")


# -- memory ------------------------------------------------------------------------------------------------------------


def _block_size(sys: Path) -> int:
    text = read_line(sys / MEMORY / "block_size_bytes")
    try:
        return int(text, 16)
    except ValueError:
        raise Unavailable("the guest's kernel has no memory that could be switched (CONFIG_MEMORY_HOTPLUG)") from None


def memory_blocks(sys: Path) -> MemoryBlocks:
    """The blocks.

    Raises:
        Unavailable: this kernel has none.
    """
    size = _block_size(sys)
    found = []
    for number in _numbers(sys / MEMORY, "memory"):
        folder = sys / MEMORY / f"memory{number}"
        nodes = _numbers(folder, "node")
        zones = read_line(folder / "valid_zones").split()
        found.append(
            MemoryBlock(
                number=number,
                online=read_line(folder / "state") != "offline",
                can_offline=_number(folder / "removable") == 1,
                node=nodes[0] if nodes else None,
                zones=[each for each in zones if each != "none"],
            )
        )
    return MemoryBlocks(size=size, blocks=found)


def set_memory_blocks(
    sys: Path,
    switches: Iterable[Switch],
    *,
    write: Callable[[str, str, float], None] = write_within,
    clock: Callable[[], float] = time.monotonic,
) -> list[Switched]:
    """Switch them one after the other, as long as there is time.

    Args:
        write: writes a word to a path within seconds.
        clock: seconds.

    Raises:
        Unavailable: this kernel has none.
        PermissionDenied: this process may not.
    """
    _block_size(sys)
    end = clock() + IN_ALL

    def switch(each: Switch) -> Switched:
        file = sys / MEMORY / f"memory{each.number}" / "state"
        state = read_line(file)
        if not state:
            return Switched(number=each.number, result="not-found", error=f"there is no memory block {each.number}")
        if (state != "offline") == each.online:
            return Switched(number=each.number, result="unchanged")
        left = min(end - clock(), PER_BLOCK)
        if left <= 0:
            return Switched(number=each.number, result="failed", error="no time was left for it; call again")
        return _attempt(each, lambda: write(str(file), "online" if each.online else "offline", left))

    return [switch(each) for each in switches]
