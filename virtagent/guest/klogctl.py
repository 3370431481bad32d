"""syslog(2), for kernels and containers without /dev/kmsg."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

__all__ = ["read_all"]

READ_ALL = 3
SIZE_BUFFER = 10
DEFAULT_SIZE = 1024 * 1024


def read_all() -> str:
    """The whole ring buffer as text, without taking anything out of it.

    Raises:
        OSError: EPERM: the process lacks CAP_SYSLOG; ENOSYS: the kernel has no log.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        klogctl: Callable[..., int] = libc.klogctl
    except AttributeError:
        raise OSError(38, "the C library has no klogctl") from None
    size = klogctl(SIZE_BUFFER, None, 0)
    buffer = ctypes.create_string_buffer(size if size > 0 else DEFAULT_SIZE)
    count = klogctl(READ_ALL, buffer, len(buffer))
    if count < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return buffer.raw[:count].decode("utf-8", "surrogateescape")
