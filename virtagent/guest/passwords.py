"""Passwords, through the guest's own programs: chpasswd(8) and usermod(8)."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence

from virtagent.api.accounts import PasswordState
from virtagent.errors import FailedPrecondition, InvalidArgument, PermissionDenied, Unavailable

__all__ = ["lock_password", "password_states", "set_password"]

PATIENCE = 60.0
"""Seconds that such a program may take: PAM may ask a server."""

SHADOW = "/etc/shadow"
LARGEST = 16 * 1024 * 1024
DIRECTORIES = "/usr/sbin:/sbin:/usr/bin:/bin"

_HASH = re.compile(r"[!*]?[A-Za-z0-9./$=,_-]{1,511}")
"""crypt(5): what a hash may hold; never ``:`` or a line break, which would change other fields or lines."""


def password_states(path: str = SHADOW) -> dict[str, PasswordState]:
    """What shadow(5) tells of each account's password; nothing where it cannot be read."""
    try:
        with open(path, "rb") as file:
            lines = file.read(LARGEST).decode(errors="surrogateescape").splitlines()
    except OSError:
        return {}
    found: dict[str, PasswordState] = {}
    for line in lines:
        name, colon, rest = line.partition(":")
        if colon:
            hashed = rest.partition(":")[0]
            found[name] = "none" if hashed == "" else "locked" if hashed[0] in "!*" else "set"
    return found


def set_password(user: str, password: str, *, crypted: bool) -> None:
    """Set it.

    Raises:
        InvalidArgument: it cannot be a password.
        CallError: what chpasswd said, without the password.
    """
    if any(each in password for each in "\n\r\0"):
        raise InvalidArgument("a password is one line, without NUL")
    if crypted and not _HASH.fullmatch(password):
        raise InvalidArgument("that is no hash of a password (crypt(5)); `openssl passwd -6` makes one")
    try:
        told = f"{user}:{password}\n".encode()
    except UnicodeEncodeError:
        raise InvalidArgument("the password is no Unicode text") from None
    _run("chpasswd", ["-e"] if crypted else [], told, secret=password)


def lock_password(user: str, *, locked: bool) -> None:
    """Lock or unlock it.

    Raises:
        CallError: what usermod said.
    """
    _run("usermod", ["-L" if locked else "-U", "--", user], b"", secret="")


def _run(program: str, arguments: Sequence[str], told: bytes, *, secret: str) -> None:
    path = shutil.which(program, path=DIRECTORIES)
    if path is None:
        raise Unavailable(f"the guest has no {program}; install the package that brings it (passwd, shadow-utils)")
    environment = {"PATH": DIRECTORIES, "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            [path, *arguments], input=told, capture_output=True, timeout=PATIENCE, check=False, env=environment, cwd="/"
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{program} did not end within {PATIENCE:g} s") from None
    except OSError as error:
        raise Unavailable(f"{program} cannot be run: {error.strerror}") from None
    text = " ".join((done.stderr or done.stdout).decode(errors="replace").split())[:500]
    if secret and secret in text:
        text = f"{program}: refused"
    # chpasswd ends with 0 in some versions though a line failed; it says so in any case.
    if done.returncode != 0 or (program == "chpasswd" and text and "not changed" in text.lower()):
        raise _refusal(program, text or f"{program} ended with exit status {done.returncode}")


def _refusal(program: str, text: str) -> Exception:
    low = text.lower()
    if "permission denied" in low or "only root" in low:
        return PermissionDenied(text)
    if "lock" in low and ("cannot" in low or "try again" in low):
        return Unavailable(text)
    return FailedPrecondition(text)
