"""Writing to a file of sysfs that may take for ever: a child process does it, which can be killed."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys

__all__ = ["write_within"]

CODE = """
import os, sys
try:
    descriptor = os.open(sys.argv[1], os.O_WRONLY)
    os.write(descriptor, sys.argv[2].encode())
except OSError as error:
    os._exit(error.errno if 0 < (error.errno or 0) < 200 else 255)
os._exit(0)
"""
"""The child's program: it ends with the error's number."""

AFTERLIFE = 1.0
"""Seconds that a killed child may take to end; memory that is being switched off is given up at a signal."""


def write_within(path: str, text: str, seconds: float) -> None:
    """Write a word.

    Args:
        seconds: after which it is given up.

    Raises:
        OSError: the kernel refused; ETIMEDOUT: it took too long.
    """
    command = [sys.executable, "-I", "-S", "-c", CODE, path, text]
    with open(os.devnull, "r+b") as null:
        child = subprocess.Popen(command, stdin=null, stdout=null, stderr=null, start_new_session=True, env={})
    try:
        code = child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            # One that does not end is in the kernel's hands; subprocess reaps it when another one is started.
            child.wait(AFTERLIFE)
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), path) from None
    if code:
        number = code if 0 < code < 200 else errno.EIO
        raise OSError(number, os.strerror(number), path)
