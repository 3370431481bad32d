"""This end's terminal: raw while a program of the guest has it, restored whatever happens; its size; its escape."""

from __future__ import annotations

import os
import re
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Escape", "is_terminal", "raw_terminal", "terminal_size", "terminal_type"]

STDIN = 0


def is_terminal() -> bool:
    """Whether standard input is a terminal."""
    return os.isatty(STDIN)


def terminal_size() -> tuple[int, int]:
    """Columns and rows of the terminal that is there; 80 and 24 where there is none."""
    for descriptor in (1, STDIN, 2):
        try:
            size = os.get_terminal_size(descriptor)
        except OSError:
            continue
        if size.columns and size.lines:
            return size.columns, size.lines
    return 80, 24


def terminal_type() -> str:
    """What kind of terminal it is (the variable TERM), if that is a name which another machine may know."""
    found = os.environ.get("TERM", "")
    return found if re.fullmatch(r"[A-Za-z0-9._+-]{1,64}", found) else "xterm"


@contextmanager
def raw_terminal(*, keys: bool, output: bool) -> Iterator[None]:
    """While in here, the guest's terminal does what this one did; nothing where stdin is no terminal.

    Args:
        keys: each key goes to the guest as it is, Ctrl-C too.
        output: what the guest's terminal has made of its lines' ends stays so.
    """
    if not (keys or output) or not is_terminal():
        yield
        return
    sys.stdout.flush()
    before = termios.tcgetattr(STDIN)
    try:
        if keys:
            tty.setraw(STDIN)
        else:
            input_flags, output_flags, *rest = before
            termios.tcsetattr(STDIN, termios.TCSADRAIN, [input_flags, output_flags & ~termios.OPOST, *rest])
        yield
    finally:
        termios.tcsetattr(STDIN, termios.TCSADRAIN, before)


class Escape:
    """Looks for ``~.`` at the beginning of a line, as ssh(1) does: the way out when the guest does not answer.

    ``~~`` is one ``~``. Keys are held back only between a ``~`` and what follows it.
    """

    def __init__(self) -> None:
        self._at_start = True
        self._tilde = False

    def filter(self, data: bytes) -> tuple[bytes, bool]:
        """What goes to the guest, and whether the user wants to leave."""
        passed = bytearray()
        for byte in data:
            key = bytes([byte])
            if self._tilde:
                self._tilde = False
                if key == b".":
                    return bytes(passed), True
                passed += key if key == b"~" else b"~" + key
            elif self._at_start and key == b"~":
                self._tilde = True
                continue
            else:
                passed += key
            self._at_start = key in b"\r\n"
        return bytes(passed), False
