"""Reading ``/etc/virtagent/agent.toml``. What it says is checked by :mod:`virtagent.guest.configuration_check`."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from virtagent.errors import UsageError

if TYPE_CHECKING:
    from virtagent.guest.configuration import Configuration

__all__ = ["ConfigurationError", "Document", "read_document"]

LARGEST = 1024 * 1024
"""Bytes of a file."""


class ConfigurationError(UsageError):
    """A configuration file with mistakes.

    Attributes:
        mistakes: one line for each: the file, the line, what to write instead.
    """

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(self.mistakes))


class Document:
    """A file that is TOML; whether it is a configuration is found out by :meth:`configuration`.

    Attributes:
        file: its path.
        values: what it says, unchecked.
    """

    def __init__(self, file: str, text: str, values: Mapping[str, Any]) -> None:
        self.file = file
        self.values = values
        self._text = text

    def said(self, section: str, key: str) -> Any:
        """What a key of a section says, unchecked; None where it is not there."""
        table = self.values.get(section)
        return table.get(key) if isinstance(table, dict) else None

    def configuration(self) -> Configuration:
        """The configuration.

        Raises:
            ConfigurationError: there are mistakes, all of which are told.
        """
        # Only now: the daemon chooses by some of the values how msgspec is loaded.
        from virtagent.guest.configuration_check import check  # noqa: PLC0415

        return check(self.file, self._text, self.values)


def read_document(file: str) -> Document:
    """Read a file.

    Raises:
        ConfigurationError: it cannot be read, others may write to it, or it is no TOML.
    """
    try:
        with open(file, "rb") as opened:
            _check_owner(file, os.fstat(opened.fileno()))
            data = opened.read(LARGEST + 1)
        text = data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigurationError([f"{file}, line {line}: this is not UTF-8; save the file as UTF-8"]) from None
    except OSError as error:
        raise ConfigurationError([f"{file}: {error.strerror}; name another file, or make it readable"]) from None
    if len(data) > LARGEST:
        raise ConfigurationError([f"{file}: more than {LARGEST} bytes; a configuration is shorter"])
    import tomllib  # noqa: PLC0415 - only where there is such a file

    try:
        return Document(file, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([_broken(file, text, str(error))]) from None
    except RecursionError:
        raise ConfigurationError([f"{file}: values are nested too deep; no key needs that"]) from None


def _check_owner(file: str, found: os.stat_result) -> None:
    """Nobody but root and this process's user may say what peers may do."""
    if found.st_uid not in (0, os.geteuid()):
        raise ConfigurationError([f"{file} belongs to user {found.st_uid}; chown it to root"])
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and stat.S_ISREG(found.st_mode):
        raise ConfigurationError([f"{file} is writable by others; chmod go-w it"])


def _broken(file: str, text: str, told: str) -> str:
    """What tomllib said, with the line where people look for it."""
    what, _, where = told.partition(" (at ")
    line = text.count("\n") + 1
    words = where.rstrip(")").replace(",", "").split()
    if words[:1] == ["line"]:
        line = int(words[1])
    source = text.splitlines()[line - 1].strip() if line <= len(text.splitlines()) else ""
    shown = f": {source[:60]}" if source else ""
    return f'{file}, line {line}: no TOML ({what}){shown}; write key = "text", key = 10, or [section]'
