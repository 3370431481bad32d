"""Guests by name, from ``guests.toml`` in the user's configuration.

::

    [guests.web1]
    url = "unix:/run/vm/web1.sock"
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import virtagent_transports
from virtagent.errors import UrlError, UsageError

__all__ = ["NAME", "configuration_file", "read_guests"]

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}")
"""A guest's name: what libvirt's domain names usually are. No ``:`` and no ``/``, which make a URL."""

_KEYS = ("url",)
_EXAMPLE = '[guests.web1] with url = "unix:/run/vm/web1.sock"'


def configuration_file() -> Path:
    """Where the file is: ``$XDG_CONFIG_HOME/virtagent/guests.toml``, by default below ``~/.config``."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    folder = Path(base) if base.startswith("/") else Path(os.path.expanduser("~/.config"))
    return folder / "virtagent" / "guests.toml"


def read_guests(file: Path) -> dict[str, str]:
    """The URLs of the guests that a file names; a file that does not exist names none.

    Raises:
        UsageError: it cannot be read or understood; the message tells the file, the line and the key.
    """
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise UsageError(f"{file}: {reason}; make it readable, or move it away") from None
    import tomllib  # noqa: PLC0415 - only where there is such a file

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file}: {error}; it holds tables like {_EXAMPLE}") from None
    return dict(_checked(document, _Places(file, text)))


class _Places:
    """Tells where in the file something stands, for people: tomllib does not."""

    def __init__(self, file: Path, text: str) -> None:
        self._file = file
        self._lines = text.splitlines()

    def error(self, what: str, *words: str) -> UsageError:
        """The error for the first line that has these words, each searched from the line of the one before."""
        line = 0
        for word in words:
            pattern = re.compile(rf"(?<![\w-]){re.escape(word)}(?![\w-])")
            line = next((at for at in range(line, len(self._lines)) if pattern.search(self._lines[at])), line)
        return UsageError(f"{self._file}, line {line + 1}: {what}")


def _checked(document: dict[str, Any], places: _Places) -> Iterator[tuple[str, str]]:
    for key in document:
        if key != "guests":
            raise places.error(f"unknown key {key!r}; the file holds tables like {_EXAMPLE}", key)
    guests = document.get("guests", {})
    if not isinstance(guests, dict):
        raise places.error(f"'guests' is no table; write {_EXAMPLE}", "guests")
    for name, entry in guests.items():
        if not NAME.fullmatch(name):
            raise places.error(f"{name!r} is no name for a guest; use letters, digits and . _ + -", name)
        if not isinstance(entry, dict):
            raise places.error(f'guests.{name} is no table; write [guests.{name}] and under it url = "..."', name)
        for key in entry:
            if key not in _KEYS:
                raise places.error(f"unknown key {key!r} in guests.{name}; known: {', '.join(_KEYS)}", name, key)
        url = entry.get("url")
        if not isinstance(url, str):
            wrong = "has no url" if url is None else f"has a url that is no text: {url!r}"
            raise places.error(f'guests.{name} {wrong}; write url = "unix:/run/vm/{name}.sock"', name)
        try:
            virtagent_transports.ChannelUrl.parse(without_dialect(url)[0])
        except UrlError as error:
            raise places.error(f"guests.{name}: {error}", name, "url") from None
        yield name, url


def without_dialect(url: str) -> tuple[str, bool]:
    """The URL without the option ``dialect``, which is ours and no transport's, and whether it said ``plain`` (X2).

    Raises:
        UrlError: another dialect.
    """
    head, mark, query = url.partition("?")
    if "dialect=" not in query or url.startswith("exec:"):
        return url, False
    options = query.split("&")
    said = [each.removeprefix("dialect=") for each in options if each.startswith("dialect=")]
    kept = "&".join(each for each in options if not each.startswith("dialect="))
    if said not in (["plain"], ["framed"]):
        raise UrlError(f"{url!r}: the dialects are plain and framed; write dialect=plain, or leave it out")
    return head + (mark + kept if kept else ""), said == ["plain"]
