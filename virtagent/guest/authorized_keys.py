"""Lines of authorized_keys (sshd(8), AUTHORIZED_KEYS FILE FORMAT)."""

from __future__ import annotations

import binascii
import hashlib
import re
import struct
from base64 import b64decode, b64encode
from typing import NamedTuple

from virtagent.api.accounts import AuthorizedKey, KeysChange
from virtagent.errors import InvalidArgument

__all__ = ["Key", "add_keys", "list_keys", "parse_key", "remove_keys"]

TYPES = frozenset(
    {
        "ssh-ed25519",
        "ssh-rsa",
        "ssh-dss",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    }
)
"""What OpenSSH 9 accepts there; each key says its type once more inside (RFC 4253, section 6.6)."""

_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


class Key(NamedTuple):
    """One line that is a key.

    Attributes:
        blob: the key itself; two lines with the same one are the same key.
    """

    type: str
    blob: bytes
    options: str
    comment: str

    @property
    def fingerprint(self) -> str:
        """As ssh-keygen(1) shows it."""
        return "SHA256:" + b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    @property
    def line(self) -> str:
        """As it stands in the file."""
        return " ".join(each for each in (self.options, self.type, b64encode(self.blob).decode(), self.comment) if each)


def parse_key(line: str) -> Key:
    """Read a line.

    Raises:
        InvalidArgument: it is no key; the message tells where it fails. It quotes nothing of the line, as messages that
            hold a part of a secret argument are not sent.
    """
    text = line.strip(" \t\r\n")
    if any(each < " " and each != "\t" for each in text) or "\x7f" in text:
        raise InvalidArgument("a key is one line, without control characters")
    first, rest = _word(text)
    options = ""
    if first not in TYPES:
        options = first
        first, rest = _word(rest)
    if first not in TYPES:
        raise InvalidArgument(
            "a line names no type of public key that OpenSSH knows; the lines of its .pub file are meant"
        )
    encoded, comment = _word(rest)
    return Key(first, _blob(first, encoded), options, comment)


def _word(text: str) -> tuple[str, str]:
    """The text up to the first blank that is not in quotes, and what comes behind."""
    quoted = escaped = False
    for at, each in enumerate(text):
        if escaped:
            escaped = False
        elif each == "\\" and quoted:
            escaped = True
        elif each == '"':
            quoted = not quoted
        elif each in " \t" and not quoted:
            return text[:at], text[at:].strip(" \t")
    if quoted:
        raise InvalidArgument("a key's options end within quotes")
    return text, ""


def _blob(kind: str, encoded: str) -> bytes:
    try:
        if not _BASE64.fullmatch(encoded):
            raise ValueError(encoded)
        blob = b64decode(encoded, validate=True)
        (length,) = struct.unpack_from(">I", blob)
    except (ValueError, binascii.Error, struct.error):
        raise InvalidArgument("the key is no base64, or is cut short") from None
    if blob[4 : 4 + length] != kind.encode() or len(blob) <= 4 + length:
        raise InvalidArgument("the key is of another type than its line says, or is cut short")
    return blob


def _lines(text: str) -> list[str]:
    """The lines as sshd sees them: ``str.splitlines`` would also end one at U+2028 and its like, in a comment."""
    return text.removesuffix("\n").split("\n") if text else []


def _parsed(line: str) -> Key | None:
    """A line of the file, if it is a key: others (comments, what sshd ignores) are left alone."""
    if not line.strip() or line.lstrip().startswith("#"):
        return None
    try:
        return parse_key(line)
    except InvalidArgument:
        return None


def list_keys(text: str) -> list[AuthorizedKey]:
    """The keys of a file."""
    keys = ((_parsed(line), line.strip()) for line in _lines(text))
    return [
        AuthorizedKey(type=key.type, fingerprint=key.fingerprint, line=line, comment=key.comment, options=key.options)
        for key, line in keys
        if key is not None
    ]


def add_keys(text: str, lines: list[str], *, replace: bool) -> tuple[str, KeysChange]:
    """A file with these keys, too, or with nothing else.

    Raises:
        InvalidArgument: a line is no key.
    """
    wanted = {key.blob: key for key in map(parse_key, lines)}
    there = {key.blob for line in _lines(text) if (key := _parsed(line)) is not None}
    kept: list[str] = []
    placed: set[bytes] = set()
    updated = 0
    for line in _lines(text):
        key = _parsed(line)
        if key is not None and key.blob in wanted:
            if key.blob not in placed:  # a second line of one key would leave its old options in force
                placed.add(key.blob)
                updated += key != wanted[key.blob]
                kept.append(wanted[key.blob].line if key != wanted[key.blob] else line)
        elif not replace:
            kept.append(line)
    kept += [key.line for blob, key in wanted.items() if blob not in placed]
    made = "".join(f"{line}\n" for line in kept)
    change = KeysChange(
        added=len(wanted.keys() - there),
        updated=updated,
        removed=len(there - wanted.keys()) if replace else 0,
        unchanged=len(wanted.keys() & there) - updated,
        total=len(list_keys(made)),
    )
    return made, change


def remove_keys(text: str, lines: list[str]) -> tuple[str, KeysChange]:
    """A file without these keys, which may be told by their fingerprints.

    Raises:
        InvalidArgument: a line is neither a key nor a fingerprint.
    """
    unwanted = {each.strip() if _FINGERPRINT.fullmatch(each.strip()) else parse_key(each).fingerprint for each in lines}
    found: set[str] = set()
    kept = []
    for line in _lines(text):
        key = _parsed(line)
        if key is not None and key.fingerprint in unwanted:
            found.add(key.fingerprint)
        else:
            kept.append(line)
    made = "".join(f"{line}\n" for line in kept)
    return made, KeysChange(removed=len(found), unchanged=len(unwanted) - len(found), total=len(list_keys(made)))
