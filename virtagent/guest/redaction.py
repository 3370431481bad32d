"""Arguments without what must not be seen: passwords, keys, tokens; and short enough for a line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from virtagent.errors import CallError, InternalError, error_to_wire
from virtagent.peer.handler import Handler, Params

__all__ = ["MASK", "arguments_by_name", "holds_secret", "redacted", "secrets_of", "without_secrets"]

MASK = "***"

LONGEST_TEXT = 200
"""Characters of a text that are shown."""

MOST_ITEMS = 16
DEEPEST = 4

_WORDS = r"password|passwd|passphrase|pwd|secret|token|credential|cookie|authorization"
_SECRET_NAME = re.compile(
    rf"{_WORDS}|(?:^|[_\-.])keys?(?:$|[_\-.\d])|(?:api|access|host|private|public|ssh)keys?$", re.IGNORECASE
)
"""What a name that means a secret looks like: ``password``, ``api_key``, ``SSH_KEY_2``, ``token``."""

_HINT = re.compile(rf"{_WORDS}|key", re.IGNORECASE)
"""What a line that assigns a secret has in any case."""

_ASSIGNMENT = re.compile(
    r"""(?P<name>[\w.-]{1,128})["']?
    (?: \s*:\s*(?P<header>[^"'\n]+)         # a header, up to its quote's end
      | (?:\s*=\s*|\s+)(?P<value>"(?:\\.|[^"\\])*"|'[^']*'|[^\s"']\S*)
    )""",
    re.VERBOSE,
)
"""``NAME=value``, ``--name value`` and ``Name: the rest``. What comes behind it is shown: it may be a command."""

_OPTION = re.compile(r"-{1,2}(?P<name>[\w-]{1,128})")
_URL_PASSWORD = re.compile(r"(?P<before>[a-z][a-z0-9+.-]*://[^/\s:@]*:)[^/\s@]+(?=@)", re.IGNORECASE)

NAMED_BY_KEY = ("config", "kv")
"""Services where ``key`` is a name, also in methods that have no secret arguments."""

_SHARED = 6
"""Characters in a row that a message may not have in common with a secret: messages quote the ends of what is long."""


def is_secret_name(name: str) -> bool:
    """Whether a name is that of a secret."""
    return _SECRET_NAME.search(name) is not None


def arguments_by_name(handler: Handler, params: Params | None) -> dict[str, Any]:
    """Arguments by their names; what came by position is given those that the method has for it."""
    if isinstance(params, dict):
        return {str(key): value for key, value in params.items()}
    described = (handler.description or {}).get("parameters", [])
    names = [str(each["name"]) for each in described if each.get("positional", True)]
    names += [str(index) for index in range(len(names), len(params or ()))]
    return dict(zip(names, params or (), strict=False))


def redacted(handler: Handler, params: Params | None) -> dict[str, Any]:
    """The arguments as plain data that may be written down.

    Args:
        handler: says which arguments are secret.
        params: as they came.
    """
    named = arguments_by_name(handler, params)
    items = list(named.items())[:MOST_ITEMS]
    return {_short(key): MASK if _is_secret(handler, key) else _plain(value, 0) for key, value in items}


def _is_secret(handler: Handler, name: str) -> bool:
    """Whether an argument is secret: the method says so, or its name does.

    A plain ``key`` is a name in a method that says which of its arguments are secret, and in the services
    whose things have keys for names.
    """
    if name in handler.secrets:
        return True
    names_something = bool(handler.secrets) or handler.name.partition(".")[0] in NAMED_BY_KEY
    return is_secret_name(name) and not (name == "key" and names_something)


def _plain(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(value)} bytes>"
    if hasattr(value, "__aiter__"):
        return "<stream>"
    if depth >= DEEPEST:
        return "..."
    if isinstance(value, Mapping):
        shown = list(value.items())[:MOST_ITEMS]
        plain = {_short(str(key)): MASK if is_secret_name(str(key)) else _plain(each, depth + 1) for key, each in shown}
        return plain | ({"...": len(value) - MOST_ITEMS} if len(value) > MOST_ITEMS else {})
    if isinstance(value, (list, tuple)):
        return _items(value, depth)
    return f"<{type(value).__name__}>"


def _items(value: list[Any] | tuple[Any, ...], depth: int) -> list[Any]:
    """A list, such as a command line: what follows ``--password`` is secret."""
    plain: list[Any] = []
    hide = False
    for each in value[:MOST_ITEMS]:
        plain.append(MASK if hide else _plain(each, depth + 1))
        option = _OPTION.fullmatch(each) if isinstance(each, str) else None
        hide = option is not None and is_secret_name(option["name"])
    if len(value) > MOST_ITEMS:
        plain.append(f"... {len(value) - MOST_ITEMS} more")
    return plain


def _text(text: str) -> str:
    """A text without what it assigns to secret names, cut to what a line takes."""
    lines = text.split("\n")
    return _short("\n".join(_line(each) for each in lines) if len(lines) <= 64 else _line(text[:LONGEST_TEXT]))


def _line(line: str) -> str:
    line = _URL_PASSWORD.sub(rf"\g<before>{MASK}", line)
    if _HINT.search(line) is None:
        return line
    shown, at = [], 0
    while (found := _ASSIGNMENT.search(line, at)) is not None:
        kind = "header" if found["header"] is not None else "value"
        secret = is_secret_name(found["name"])
        shown += [line[at : found.start(kind)], MASK if secret else ""]
        at = found.end(kind) if secret else found.start(kind)
    return "".join([*shown, line[at:]])


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}... ({len(text)} characters)"


# -- errors -----------------------------------------------------------------------------------------------------


def secrets_of(handler: Handler, params: Params | None) -> list[str]:
    """The texts of the secret arguments of a call."""
    named = arguments_by_name(handler, params)
    return [text for key, value in named.items() if _is_secret(handler, key) for text in _texts(value, 0)]


def _texts(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (bytes, bytearray)):
        yield bytes(value).decode("utf-8", "replace")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield str(value)
    elif depth < DEEPEST and isinstance(value, (Mapping, list, tuple)):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(each, depth + 1)


def holds_secret(text: str, secrets: list[str]) -> bool:
    """Whether a text holds a secret, or a part of it that is long enough to help."""
    for secret in secrets:
        for form in {secret, ascii(secret)[1:-1], repr(secret)[1:-1]}:
            if form and any(part in text for part in _parts(form)):
                return True
    return False


def _parts(secret: str) -> Iterator[str]:
    if len(secret) <= _SHARED:
        yield secret
    else:
        yield from (secret[start : start + _SHARED] for start in range(min(len(secret), 8192) - _SHARED + 1))


def without_secrets(handler: Handler, params: Params | None, error: Exception) -> Exception:
    """The error itself, or one that says the same without its message, where that holds a secret.

    An unforeseen error is answered by its class only, but its message would stand in the log; so it is replaced too.
    """
    secrets = secrets_of(handler, params)
    if not secrets:
        return error
    if isinstance(error, CallError):
        told = f"{error} {error_to_wire(error)[1:]!r}"
        if not holds_secret(told, secrets):
            return error
        text = f"{handler.name}: {type(error).__name__}; its message held a secret argument and is left out"
        return type(error)(text, code=error.code) if type(error) is CallError else type(error)(text)
    if not holds_secret(_chain(error), secrets):
        return error
    return InternalError(f"{handler.name} failed ({type(error).__name__}); its message held a secret and is left out")


def _chain(error: BaseException) -> str:
    """All texts that a log would show of an error and of those that it came from."""
    told: list[str] = []
    current: BaseException | None = error
    while current is not None and len(told) < 16:
        told.append(f"{current!s} {current!r} {' '.join(getattr(current, '__notes__', ()))}")
        current = current.__cause__ or current.__context__
    return "\n".join(told)
