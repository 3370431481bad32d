"""Loading the agent with less: without what it does not use, and without looking for garbage meanwhile."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

__all__ = ["without_collections", "without_openssl", "without_typing_extensions"]

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
    if not own or "ssl" in sys.modules or "hashlib" in sys.modules:
        yield
        return
    try:
        with _hidden("ssl", "_ssl", "_hashlib"):
            yield
    finally:
        sys.modules.pop("hashlib", None)


@contextmanager
def without_typing_extensions() -> Iterator[None]:
    """What is imported in this block does not find ``typing_extensions``, where that is installed.

    msgspec takes it for older Pythons and for classes that are made with it, of which this package has none.
    """
    with _hidden(*({"typing_extensions"} - sys.modules.keys())):
        yield


@contextmanager
def _hidden(*names: str) -> Iterator[None]:
    for name in names:
        sys.modules[name] = None  # type: ignore[assignment]  # the import system's own word for "not here"
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
