"""Digests of files."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator

from virtagent.api.file_types import Algorithm, Checksum
from virtagent.errors import FailedPrecondition
from virtagent.guest.file_roots import Roots
from virtagent.guest.os_errors import call_error

__all__ = ["checksum"]

PIECE = 1024 * 1024
"""Bytes that are read at a time."""


def checksum(
    roots: Roots, path: str, *, algorithm: Algorithm, offset: int, length: int | None
) -> Generator[Checksum | None, None, None]:
    """Yields None after each piece, and the result at the end.

    Raises:
        CallError: it cannot be read.
    """
    import hashlib  # noqa: PLC0415 - loads OpenSSL

    digest = hashlib.new(algorithm, usedforsecurity=False)
    size = 0
    descriptor = roots.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        mode = os.fstat(descriptor).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            raise FailedPrecondition(f"{path}: is no file with an end; only those have checksums")
        buffer = bytearray(PIECE)
        while length is None or size < length:
            view = memoryview(buffer)[: PIECE if length is None else min(PIECE, length - size)]
            count = os.preadv(descriptor, (view,), offset + size)
            if not count:
                break
            digest.update(view[:count])
            size += count
            yield None
    except OSError as error:
        raise call_error(path, error) from None
    finally:
        os.close(descriptor)
    yield Checksum(algorithm=algorithm, digest=digest.hexdigest(), size=size)
