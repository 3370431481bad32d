"""What goes wrong with the harness itself, as opposed to with the code under test."""

from __future__ import annotations


class HarnessError(Exception):
    """The harness cannot do what was asked; the message is one line that says what to do about it."""


class GuestError(HarnessError):
    """Source run by `Machine.control` raised in the guest; the message is the guest's traceback."""


class MachineDied(HarnessError):
    """QEMU ended while something was awaited of it; the message shows its stderr and the console's tail."""


class MachineTimeout(HarnessError):
    """Something awaited did not happen in time; the message shows the console's tail."""
