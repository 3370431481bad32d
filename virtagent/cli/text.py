"""What a guest said, made fit for a terminal and for JSON. Nothing that a guest sends is trusted to be harmless."""

from __future__ import annotations

import base64
import json
import re
from datetime import datetime
from typing import Any

__all__ = ["harmless", "one_line", "parse_value", "to_json"]

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and newline, what changes the direction of text, and bytes that were no UTF-8."""


def harmless(text: str) -> str:
    """Text without what a terminal would obey: such characters are shown as escapes."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """Harmless text in one line."""
    return harmless(" ".join(text.split()))


def to_json(value: Any, *, indent: int | None = None) -> str:
    """A result as JSON; a moment is ISO 8601 text, bytes are ``{"$bytes": base64}``, structs are objects."""
    return json.dumps(_plain(value), indent=indent, ensure_ascii=True, allow_nan=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key if isinstance(key, str) else repr(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        if hasattr(value, "code"):  # msgpack.ExtType is a tuple
            return {"$ext": [value.code, base64.b64encode(value[1]).decode()]}
        return [_plain(each) for each in value]
    if isinstance(value, (bytes, bytearray)):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, datetime):
        return value.isoformat()
    if hasattr(value, "__struct_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    return value


def parse_value(text: str) -> Any:
    """A value as people write it: JSON, or else the text itself. ``{"$bytes": base64}`` is bytes."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return _with_bytes(value)


def _with_bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_bytes(each) for each in value]
    if isinstance(value, dict):
        if value.keys() == {"$bytes"} and isinstance(value["$bytes"], str):
            return base64.b64decode(value["$bytes"])
        return {key: _with_bytes(each) for key, each in value.items()}
    return value
