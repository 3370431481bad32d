"""Random bytes for the kernel's pool (random(4))."""

from __future__ import annotations

import fcntl
import os
import struct

from virtagent.api.system import EntropyPool
from virtagent.errors import PermissionDenied
from virtagent.guest.os_errors import call_error
from virtagent.peer.identity import read_line

__all__ = ["add_entropy"]

DEVICE = "/dev/urandom"
AVAILABLE = "/proc/sys/kernel/random/entropy_avail"

RNDADDENTROPY = 0x40085203
"""From linux/random.h; its argument is struct rand_pool_info: bits, bytes, the bytes."""


def add_entropy(data: bytes, *, credit: bool, device: str = DEVICE) -> EntropyPool:
    """Mix bytes in.

    Raises:
        PermissionDenied: this process may not have them counted.
        CallError: there is no such device.
    """
    try:
        descriptor = os.open(device, os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        raise call_error(device, error) from None
    try:
        if credit:
            fcntl.ioctl(descriptor, RNDADDENTROPY, struct.pack("ii", len(data) * 8, len(data)) + data)
        else:
            os.write(descriptor, data)
    except PermissionError:
        raise PermissionDenied(
            "the agent may not have entropy counted (CAP_SYS_ADMIN); with credit=false it is only mixed in"
        ) from None
    except OSError as error:
        raise call_error(device, error) from None
    finally:
        os.close(descriptor)
    available = read_line(AVAILABLE)
    return EntropyPool(
        available=int(available) if available.isdigit() else None, credited=len(data) * 8 if credit else 0
    )
