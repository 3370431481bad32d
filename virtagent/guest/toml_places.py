"""Where in a TOML file each key and value stands: ``tomllib`` does not tell, and people look for lines."""

from __future__ import annotations

import re
import tomllib

__all__ = ["Place", "places_in"]

Place = tuple[str | int, ...]
"""The keys from the top, and indexes of arrays: ``("policy", 0, "roles", 1)``."""

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_DOT = re.compile(r"[ \t]*\.[ \t]*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_OTHER = re.compile(r"[^,\]}#\n]+")


def places_in(text: str) -> dict[Place, int]:
    """The lines, from 1, of all keys, tables, and elements of arrays.

    Args:
        text: a document that ``tomllib`` understands; of another one the result says nothing.
    """
    scanner = _Scanner(text)
    scanner.scan()
    return scanner.places


class _Scanner:
    """Goes through the text once. What is wrong in it has been found before, so nothing is checked here."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._newlines = [each.start() for each in re.finditer("\n", text)]
        self._arrays: dict[Place, int] = {}
        self.places: dict[Place, int] = {}

    def scan(self) -> None:
        table: Place = ()
        self._skip()
        while self._at < len(self._text):
            start = self._at
            if self._text.startswith("[[", start):
                self._at += 2
                table = self._table(self._keys(), element=True, start=start)
                self._at += len("]]")
            elif self._text.startswith("[", start):
                self._at += 1
                table = self._table(self._keys(), element=False, start=start)
                self._at += len("]")
            else:
                self._pair(table)
            self._skip()

    def _skip(self) -> None:
        found = _SPACE.match(self._text, self._at)
        assert found is not None
        self._at = found.end()

    def _note(self, place: Place, start: int) -> None:
        from bisect import bisect_left  # noqa: PLC0415 - only where there is a mistake to tell

        self.places.setdefault(place, bisect_left(self._newlines, start) + 1)

    def _table(self, keys: list[str], *, element: bool, start: int) -> Place:
        """The place that a header names: each array of tables on the way means its last element."""
        place: Place = ()
        for index, key in enumerate(keys):
            place = (*place, key)
            self._note(place, start)
            if element and index == len(keys) - 1:
                self._arrays[place] = self._arrays.get(place, -1) + 1
            if place in self._arrays:
                place = (*place, self._arrays[place])
        self._note(place, start)
        return place

    def _pair(self, table: Place) -> None:
        start = self._at
        place = table
        for key in self._keys():
            place = (*place, key)
            self._note(place, start)
        self._skip()
        self._at += len("=")
        self._value(place)

    def _keys(self) -> list[str]:
        keys = []
        while True:
            self._skip()
            found = _BARE_KEY.match(self._text, self._at) or _STRING.match(self._text, self._at)
            if found is None:
                raise ValueError(f"no key at position {self._at}")
            self._at = found.end()
            keys.append(tomllib.loads(f"key = {found[0]}")["key"] if found[0][0] in "\"'" else found[0])
            dot = _DOT.match(self._text, self._at)
            if dot is None:
                self._skip()
                return keys
            self._at = dot.end()

    def _value(self, place: Place) -> None:
        self._skip()
        self._note(place, self._at)
        found = _STRING.match(self._text, self._at)
        if found is not None:
            self._at = found.end()
        elif self._text.startswith("[", self._at):
            self._elements(place)
        elif self._text.startswith("{", self._at):
            self._inline_table(place)
        else:
            found = _OTHER.match(self._text, self._at)
            assert found is not None
            self._at = found.end()

    def _elements(self, place: Place) -> None:
        self._at += 1
        index = 0
        self._skip()
        while not self._text.startswith("]", self._at):
            self._value((*place, index))
            index += 1
            self._comma()
        self._at += 1

    def _inline_table(self, place: Place) -> None:
        self._at += 1
        self._skip()
        while not self._text.startswith("}", self._at):
            self._pair(place)
            self._comma()
        self._at += 1

    def _comma(self) -> None:
        self._skip()
        if self._text.startswith(",", self._at):
            self._at += 1
            self._skip()
