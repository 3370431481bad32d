"""Signals by name: the numbers differ between architectures, and so between host and guest."""

from __future__ import annotations

import signal

from virtagent.errors import InvalidArgument

__all__ = ["signal_name", "signal_number"]

_NUMBERS = {name: int(value) for name, value in vars(signal).items() if isinstance(value, signal.Signals)}


def signal_number(name: str) -> int:
    """The number of a signal: "SIGTERM", "TERM", "15", "RTMIN+3".

    Raises:
        InvalidArgument: there is no such signal.
    """
    text = name.upper()
    if text.isascii() and text.isdecimal():
        number = int(text)
        if 1 <= number < signal.NSIG:
            return number
    base, plus, offset = text.removeprefix("SIG").partition("+")
    found = _NUMBERS.get(f"SIG{base}")
    if found is not None and not plus:
        return found
    if found is not None and base == "RTMIN" and offset.isascii() and offset.isdecimal():
        number = found + int(offset)
        if number <= signal.SIGRTMAX:
            return number
    raise InvalidArgument(f"there is no signal {name!r}; give a name of kill(1), such as TERM")


def signal_name(number: int) -> str:
    """ "SIGTERM"; "RTMIN+3" for those without a name of their own."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
