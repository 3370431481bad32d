"""Channel URLs: ``scheme:target?option=value``."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from virtagent.errors import UrlError

from . import registry

__all__ = ["ChannelUrl"]

_SECRETS = frozenset({"passphrase", "password", "psk", "secret", "token"})
_UNRESERVED = frozenset(string.ascii_letters + string.digits + "_.-~")
"""RFC 3986, section 2.3."""

_SAFE = "/:@[],+=~"


class ChannelUrl(NamedTuple):
    """A channel's address, checked as far as that is possible without opening anything.

    ``str(url)`` gives text that parses to an equal URL.

    Attributes:
        scheme: which transport ("unix").
        target: what comes behind the colon, percent-decoded (a path, ``host:port``, a command).
        options: what comes behind ``?``, percent-decoded; not to be changed.
    """

    scheme: str
    target: str
    options: Mapping[str, str] = MappingProxyType({})

    def __hash__(self) -> int:
        return hash((self.scheme, self.target))

    @classmethod
    def parse(cls, text: str) -> ChannelUrl:
        """Understand ``scheme:target?a=b&c=d``; ``scheme://target`` is the same, a bare absolute path is ``unix:``.

        The target and the options are percent-decoded, so that a path with ``?`` in it can be written as ``%3F``.
        An ``exec:`` command is the exception: everything behind the colon is the command, word for word, since
        ``?``, ``&`` and ``%`` are common in commands; it has no options.

        Raises:
            UrlError: unknown scheme or option, missing or malformed target, bad number. One line, with the remedy.
        """
        if text.startswith("/"):
            text = "unix:" + text
        scheme, colon, rest = text.partition(":")
        if not colon:
            raise UrlError(
                f"{text!r} is no channel URL: write SCHEME:TARGET, for example unix:/run/agent.sock "
                f"(schemes: {', '.join(registry.schemes())})"
            )
        entry = registry.load(scheme)
        if getattr(entry, "RAW_TARGET", False):
            url = cls(scheme, rest.strip())
        else:
            target, _, query = rest.partition("?")
            if target.startswith("//"):
                target = target[2:]
                if getattr(entry, "PATH_TARGET", False) and not target.startswith("/"):
                    raise UrlError(f"{text!r} names a host: write {scheme}:/path (one slash or three)")
            url = cls(scheme, _decode(target, text), _options(query, text, frozenset(entry.OPTIONS)))
        if "\0" in url.target:
            raise UrlError(f"{text!r} contains a NUL character")
        check = getattr(entry, "check", None)
        if check is not None:
            check(url)
        return url

    def __str__(self) -> str:
        return self._text(self.options.items())

    def redacted(self) -> str:
        """The URL for logs: of a command only its first word, of options like ``password`` no value."""
        if getattr(registry.load(self.scheme), "RAW_TARGET", False):
            import shlex  # noqa: PLC0415 - commands only

            words = shlex.split(self.target)
            return f"{self.scheme}:{words[0]}{' ...' if len(words) > 1 else ''}"
        return self._text((name, "***" if name in _SECRETS else value) for name, value in self.options.items())

    def _text(self, options: Iterable[tuple[str, str]]) -> str:
        if getattr(registry.load(self.scheme), "RAW_TARGET", False):
            return f"{self.scheme}:{self.target}"
        target = _quote(self.target, _SAFE)
        if target.startswith("//"):
            target = f"//{target}"
        query = "&".join(f"{_quote(name, '')}={_quote(value, _SAFE + '*')}" for name, value in options)
        return f"{self.scheme}:{target}{'?' if query else ''}{query}"

    def number(self, option: str, default: int, *, low: int, high: int, base: int = 10) -> int:
        """An option's value as a number from ``low`` to ``high``.

        Raises:
            UrlError: it is no number, or out of that range.
        """
        text = self.options.get(option)
        if text is None:
            return default
        try:
            value = int(text, base) if text.isascii() and text.isalnum() else None
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            kind, first, last = ("octal number", f"{low:o}", f"{high:o}") if base == 8 else ("number", low, high)
            raise UrlError(f"{option}={text} in {self} must be a {kind} from {first} to {last}")
        return value

    def choice(self, option: str, default: str, allowed: Iterable[str]) -> str:
        """An option's value, one of ``allowed``.

        Raises:
            UrlError: it is another one.
        """
        text = self.options.get(option, default)
        names = tuple(allowed)
        if text not in names:
            raise UrlError(f"{option}={text} in {self} must be one of: {', '.join(names)}")
        return text

    def flag(self, option: str, default: bool = False) -> bool:
        """An option's value, ``yes`` or ``no``.

        Raises:
            UrlError: it is neither.
        """
        return self.choice(option, "yes" if default else "no", ("yes", "no")) == "yes"

    def host_port(self, *, empty_host: bool = False) -> tuple[str, int]:
        """The target as ``host:port`` (``[::1]:port`` for IPv6).

        Raises:
            UrlError: it is not of that form, or the port is not a number from 0 to 65535.
        """
        host, colon, port = self.target.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise UrlError(f"an IPv6 address needs brackets: {self.scheme}:[{host}]:{port or 'PORT'}")
        if not colon or not (host or empty_host) or not (port.isascii() and port.isdigit()) or int(port) > 65535:
            raise UrlError(f"{self} must be {self.scheme}:HOST:PORT with a port from 0 to 65535")
        return host, int(port)


def _quote(text: str, safe: str) -> str:
    """Percent-encode what needs it; most URLs need nothing, and urllib would be half a megabyte of a guest daemon."""
    if set(text) <= _unquoted(safe):
        return text
    from urllib.parse import quote  # noqa: PLC0415 - see above

    return quote(text, safe=safe)


@lru_cache(maxsize=4)
def _unquoted(safe: str) -> frozenset[str]:
    return _UNRESERVED.union(safe)


def _decode(part: str, text: str) -> str:
    if "%" not in part:
        return part
    from urllib.parse import unquote_to_bytes  # noqa: PLC0415 - as in _quote()

    try:
        return unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        raise UrlError(f"{text!r} has percent escapes that are not UTF-8") from None


def _options(query: str, text: str, allowed: frozenset[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, equals, value = pair.partition("=")
        name = _decode(name, text)
        if name not in allowed:
            known = f"known here: {', '.join(sorted(allowed))}" if allowed else "this scheme has none"
            raise UrlError(f"unknown option {name!r} in {text!r} ({known})")
        if not equals:
            raise UrlError(f"option {name!r} in {text!r} has no value: write {name}=VALUE")
        if name in options:
            raise UrlError(f"option {name!r} is given twice in {text!r}")
        options[name] = _decode(value, text)
    return options
