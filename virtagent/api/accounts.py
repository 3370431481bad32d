"""Accounts of the guest."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from virtagent.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from virtagent.service.options import method
from virtagent.service.service import Service

__all__ = [
    "Account",
    "Accounts",
    "AuthorizedKey",
    "KeyLine",
    "KeyLines",
    "KeysChange",
    "Password",
    "PasswordState",
    "UserName",
]

UserName = Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9_.][A-Za-z0-9_.@\\+-]*\$?\Z")]
"""A login name (useradd(8)), those of directory services included, such as "EXAMPLE\\\\anna" and "anna@example.org"."""

Password = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
"""A password; PAM_MAX_RESP_SIZE is 512."""

KeyLine = Annotated[str, msgspec.Meta(min_length=1, max_length=16384)]
"""A line of authorized_keys (sshd(8)): options, type, base64, comment; the first and the last may be missing."""

KeyLines = Annotated[list[KeyLine], msgspec.Meta(max_length=1024)]

PasswordState = Literal["set", "none", "locked", "unknown"]


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An account, as getpwent(3) tells.

    Attributes:
        group: the name of the primary group; "": it has none.
        groups: the names of all its groups, the primary one first.
        full_name: the first field of the comment.
        password: "set"; "none": nothing is asked (a hole); "locked": no password fits, though keys may; "unknown": the
            agent cannot tell, as for accounts of a directory service.
    """

    name: str
    uid: int
    gid: int
    home: str
    shell: str
    full_name: str = ""
    group: str = ""
    groups: list[str] = []
    password: PasswordState = "unknown"  # noqa: S105 - a state


class AuthorizedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that opens an account (sshd(8), AUTHORIZED_KEYS FILE FORMAT).

    Attributes:
        type: such as "ssh-ed25519".
        fingerprint: such as "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU", as ssh-keygen(1) shows it.
        comment: what stands behind the key; "": nothing.
        options: what stands before it, such as 'from="10.0.0.0/8",no-pty'; "": nothing.
        line: all of it, as it stands in the file.
    """

    type: str
    fingerprint: str
    line: str
    comment: str = ""
    options: str = ""


class KeysChange(msgspec.Struct, frozen=True, kw_only=True):
    """How the keys of an account were changed; all are counts of keys.

    Attributes:
        added: were not there.
        updated: were there with other options or another comment.
        removed: are not there any more.
        unchanged: of those that were asked for.
        total: are there now.
    """

    added: int = 0
    updated: int = 0
    removed: int = 0
    unchanged: int = 0
    total: int = 0


_FILES = (NotFound, PermissionDenied, FailedPrecondition, InvalidArgument)


class Accounts(Service, name="accounts", interface=True):
    """Accounts of the guest: who there is, passwords, and the keys that open an account."""

    @method(idempotent=True, role="observe", since="0.1.0", errors=(ResourceExhausted,))
    async def users(self) -> list[Account]:
        """All accounts that the guest lists, by user id (getpwent(3)).

        Accounts of a directory service are listed only where the guest enumerates them; ``user`` finds them always.

        Raises:
            ResourceExhausted: there are more than 16384.
        """
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0", errors=(NotFound,))
    async def user(self, name: UserName) -> Account:
        """One account.

        Raises:
            NotFound: there is no such account.
        """
        raise NotImplementedError

    @method(
        idempotent=True,
        role="admin",
        since="0.1.0",
        errors=(NotFound, PermissionDenied, FailedPrecondition, InvalidArgument, Unavailable),
        secrets=("password",),
    )
    async def set_password(self, user: UserName, password: Password, *, crypted: bool = False) -> None:
        """Set an account's password, through chpasswd(8). A locked account is unlocked by that.

        Args:
            user: the account.
            password: reaches chpasswd's standard input only; neither logs nor errors show it.
            crypted: the password is a hash already (crypt(5)), such as ``openssl passwd -6`` makes.

        Raises:
            NotFound: there is no such account.
            InvalidArgument: the password holds a line break or a NUL, or ``crypted`` is no hash.
            FailedPrecondition: the guest's rules refuse the password; or /etc is frozen.
            PermissionDenied: the agent may not.
            Unavailable: the guest has no chpasswd, or another program keeps the password file locked.

        Cancelling the call lets chpasswd end: killed half-way it would leave the file locked.
        """
        raise NotImplementedError

    @method(
        idempotent=True,
        role="admin",
        since="0.1.0",
        errors=(NotFound, PermissionDenied, FailedPrecondition, Unavailable),
    )
    async def lock(self, user: UserName, *, locked: bool = True) -> Account:
        """Lock an account's password, so that none fits, or unlock it, through usermod(8). Keys open it as before.

        Raises:
            NotFound: there is no such account.
            FailedPrecondition: unlocking it would leave it without a password; or /etc is frozen.
            PermissionDenied: the agent may not.
            Unavailable: the guest has no usermod.
        """
        raise NotImplementedError

    @method(idempotent=True, role="admin", since="0.1.0", errors=_FILES)
    async def authorized_keys(self, user: UserName) -> list[AuthorizedKey]:
        """The keys in an account's ``~/.ssh/authorized_keys``, in their order; none if there is no such file.

        Raises:
            NotFound: there is no such account, or its home is missing.
            FailedPrecondition: the file, or ``.ssh``, is a link, or another user's; nothing is read then.
        """
        raise NotImplementedError

    @method(idempotent=True, role="admin", since="0.1.0", errors=_FILES)
    async def add_authorized_keys(self, user: UserName, keys: KeyLines, *, replace: bool = False) -> KeysChange:
        """Let keys open an account. The file is replaced at once, as a whole; ``.ssh`` is made if it is missing.

        Owner and group are the account's, modes 0700 and 0600; the SELinux label of the file stays. A key that is there
        already stays in its place, with the options and the comment given now. Lines that are no keys are kept.

        Args:
            user: the account.
            keys: lines of authorized_keys.
            replace: these and no others: all other lines go.

        Raises:
            NotFound: there is no such account, or its home is missing.
            InvalidArgument: a line is no key.
            FailedPrecondition: the file, or ``.ssh``, is a link, or another user's; or its filesystem is frozen.
            PermissionDenied: the agent may not.
        """
        raise NotImplementedError

    @method(idempotent=True, role="admin", since="0.1.0", errors=_FILES)
    async def remove_authorized_keys(self, user: UserName, keys: KeyLines) -> KeysChange:
        """Let keys open an account no longer. One that is not there is no error. Raises as ``add_authorized_keys``.

        Args:
            user: the account.
            keys: keys, whose options and comments do not matter, or fingerprints ("SHA256:...").
        """
        raise NotImplementedError
