"""A filesystem of one program that does not answer any more at some point: FUSE (fuse.4), spoken by hand.

It stands for a network filesystem whose server is down: whoever uses it hangs until :meth:`SilentFuse.close`.
"""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from contextlib import suppress
from errno import ENOSYS
from pathlib import Path

LOOKUP, FORGET, GETATTR, OPEN, INIT, INTERRUPT, BATCH_FORGET = 1, 2, 3, 14, 26, 36, 42

HEADER = struct.Struct("=IIQQIIII")
REPLY = struct.Struct("=IiQ")


def attributes(node: int) -> bytes:
    """A ``struct fuse_attr``: node 1 is the root directory, each other one a program."""
    mode = 0o040755 if node == 1 else 0o100755
    return struct.pack("=6Q10I", node, 4096, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


class SilentFuse:
    """Mounted in this mount namespace. A context manager.

    Args:
        mountpoint: an empty directory.
        last: the request (its opcode) that is not answered, nor any after it.
    """

    def __init__(self, mountpoint: Path, last: int) -> None:
        self._mountpoint = mountpoint
        self._last = last
        self._descriptor = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        self.asked = threading.Event()

    def __enter__(self) -> SilentFuse:
        libc = ctypes.CDLL(None, use_errno=True)
        options = f"fd={self._descriptor},rootmode=40000,user_id=0,group_id=0".encode()
        if libc.mount(b"silent", bytes(self._mountpoint), b"fuse", 0, options):
            raise OSError(ctypes.get_errno(), "mount")
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Whoever hangs gets ENOTCONN: the kernel sees that nobody is there any more."""
        ctypes.CDLL(None).umount2(bytes(self._mountpoint), 1 | 2)  # MNT_FORCE, MNT_DETACH
        os.close(self._descriptor)

    def _serve(self) -> None:
        with suppress(OSError):  # unmounted
            while True:
                request = os.read(self._descriptor, 1024 * 1024)
                _, opcode, unique, node, *_ = HEADER.unpack_from(request)
                if opcode == self._last:
                    self.asked.set()
                    threading.Event().wait()
                if opcode not in (FORGET, INTERRUPT, BATCH_FORGET):
                    self._answer(opcode, unique, node)

    def _answer(self, opcode: int, unique: int, node: int) -> None:
        error, body = 0, b""
        if opcode == INIT:
            body = struct.pack("=4I2H2I2H8I", 7, 31, 0, 0, 8, 8, 4096, 1, 1, 0, *[0] * 8)
        elif opcode == LOOKUP:
            body = struct.pack("=4Q2I", 2, 0, 0, 0, 0, 0) + attributes(2)
        elif opcode == GETATTR:
            body = struct.pack("=Q2I", 0, 0, 0) + attributes(node)
        else:
            error = -ENOSYS
        os.write(self._descriptor, REPLY.pack(REPLY.size + len(body), error, unique) + body)
