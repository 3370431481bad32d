"""Pseudo-random content that host and guest can make independently: the same seed gives the same bytes.

Runs on both sides: `harness.blob_digest` on the host, `python3 /harness/blob.pyc PATH MIB` in the guest.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Iterator

_MIB = 1 << 20


def blob(mebibytes: int, seed: int = 1) -> Iterator[bytes]:
    """Yield `mebibytes` pieces of 1 MiB each: the whole at once would not fit a small guest twice."""
    source = random.Random(seed)
    for _ in range(mebibytes):
        yield source.randbytes(_MIB)


def blob_digest(mebibytes: int, seed: int = 1) -> str:
    """Return the SHA-256, in hexadecimal, of `blob(mebibytes, seed)`."""
    digest = hashlib.sha256()
    for piece in blob(mebibytes, seed):
        digest.update(piece)
    return digest.hexdigest()


def write_blob(path: str, mebibytes: int, seed: int = 1) -> None:
    """Write `blob(mebibytes, seed)` to `path`, replacing it."""
    with open(path, "wb") as file:
        file.writelines(blob(mebibytes, seed))


if __name__ == "__main__":
    write_blob(sys.argv[1], int(sys.argv[2]))
