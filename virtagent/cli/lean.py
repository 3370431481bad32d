"""Loading the agent with less: without OpenSSL, which it does not use, and without looking for garbage meanwhile."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

__all__ = ["without_collections", "without_openssl"]

_OWN_HASHES = ("_md5", "_sha1", "_sha3", "_blake2")
_OWN_SHA2 = ("_sha2", "_sha256")  # since Python 3.12, and before


@contextmanager
def without_collections() -> Iterator[None]:
    """What is loaded in this block is not searched for garbage, neither meanwhile (5 % of a start) nor ever after.

    Modules, classes and functions live as long as the process; each full collection would go through all of them.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def without_openssl() -> Iterator[None]:
    """What is imported in this block finds neither ``ssl`` nor hashlib's OpenSSL half, and does without.

    asyncio then has no TLS, so this is for a process that serves no ``tls:`` channel and loads no foreign code. Later
    imports of ``ssl`` and ``hashlib`` find the complete modules. Where Python was built without hashes of its own, or
    OpenSSL is loaded already, nothing is hidden.
    """
    own = all(map(find_spec, _OWN_HASHES)) and any(map(find_spec, _OWN_SHA2))
    hidden = ("ssl", "_ssl", "_hashlib") if own and "ssl" not in sys.modules and "hashlib" not in sys.modules else ()
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # the import system's own word for "not here"
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        if hidden:
            sys.modules.pop("hashlib", None)
