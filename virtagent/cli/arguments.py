"""The arguments of ``virtagent call`` as people write them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from virtagent.cli.text import parse_value
from virtagent.errors import UsageError

__all__ = ["parse_arguments", "size"]

_NAMED = re.compile(r"(?P<key>[A-Za-z_][A-Za-z0-9_]*)=(?P<value>.*)", re.DOTALL)
_SIZE = re.compile(r"(?P<number>\d+)(?P<unit>[KMGT]?)(i?B)?", re.IGNORECASE)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_arguments(words: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """Arguments by position and by name: ``KEY=VALUE ...``, or ``VALUE ...``, or one JSON object or array.

    Raises:
        UsageError: both kinds, a name given twice, broken JSON.
    """
    if len(words) == 1 and words[0][:1] in ("{", "["):
        try:
            json.loads(words[0])
        except ValueError as error:
            raise UsageError(f"{words[0][:40]!r} is no JSON: {error}; quote the whole argument for the shell") from None
        whole = parse_value(words[0])
        return (whole, {}) if isinstance(whole, list) else ([], whole)
    named = [_NAMED.fullmatch(word) for word in words]
    if not any(named):
        return [parse_value(word) for word in words], {}
    params: dict[str, Any] = {}
    for word, match in zip(words, named, strict=True):
        if match is None:
            raise UsageError(f"{word!r} has no name; write KEY={word}, or all arguments by position")
        if match["key"] in params:
            raise UsageError(f"the argument {match['key']!r} is given twice; drop one")
        params[match["key"]] = parse_value(match["value"])
    return [], params


def size(text: str) -> int:
    """A number of bytes, such as ``4096`` or ``64K``.

    Raises:
        UsageError: it is none.
    """
    match = _SIZE.fullmatch(text)
    if match is None or (value := int(match["number"]) * _UNITS[match["unit"].upper()]) >= 1 << 63:
        raise UsageError(f"{text!r} is no number of bytes; write 4096, 64K, 10M or 1G")
    return value
