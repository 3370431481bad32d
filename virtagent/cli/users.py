"""``virtagent users``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from virtagent.cli.default_command import DefaultGroup
from virtagent.cli.main import shared_options
from virtagent.cli.output import say
from virtagent.cli.session import with_guest
from virtagent.cli.table import show_table
from virtagent.cli.target import Settings
from virtagent.cli.text import to_json
from virtagent.errors import UsageError

if TYPE_CHECKING:
    from virtagent.api.accounts import Account, KeysChange
    from virtagent.host.guest import Guest

__all__ = ["command"]

HEADINGS = ("NAME", "UID", "GROUPS", "PASSWORD", "HOME", "SHELL", "FULL NAME")
FIRST_PERSON, NOBODY = 1000, 65534
"""login.defs(5), UID_MIN; and the user of NFS and containers who is no person."""

LARGEST_INPUT = 1024 * 1024


@click.group(
    short_help="List accounts, set passwords, manage authorized keys.",
    cls=DefaultGroup,
    epilog="""\b
Examples:
  virtagent --to web1 users
  virtagent --to web1 users password anna
  openssl passwd -6 | virtagent --to web1 users password anna --stdin --crypted
  virtagent --to web1 users keys add anna -f ~/.ssh/id_ed25519.pub""",
)
def command() -> None:
    """List the guest's accounts, set passwords, and manage the keys that open an account."""


@command.command("list")
@click.option("-a", "--all", "everybody", is_flag=True, help="System accounts, too.")
@shared_options
def list_users(settings: Settings, everybody: bool) -> int:
    """List accounts: people and root, unless --all is given."""

    async def work(guest: Guest) -> None:
        found = [each for each in await guest.accounts.users() if everybody or is_person(each)]
        if settings.json:
            for each in found:
                say(to_json(each))
        else:
            rows = [(a.name, a.uid, ",".join(a.groups), a.password, a.home, a.shell, a.full_name) for a in found]
            show_table(HEADINGS, rows, right=("UID",))

    return with_guest(settings, work)


def is_person(account: Account) -> bool:
    """Whether somebody may log in there, going by its number."""
    return account.uid == 0 or (account.uid >= FIRST_PERSON and account.uid != NOBODY)


@command.command("password")
@click.argument("user")
@click.option("--stdin", is_flag=True, help="Read it from standard input: its first line.")
@click.option("--crypted", is_flag=True, help="It is a hash already (crypt(5)).")
@shared_options
def password(settings: Settings, user: str, stdin: bool, crypted: bool) -> int:
    """Set a password. It is asked for, twice and unseen; it is never an argument, which others could see."""
    secret = read_secret(user, stdin=stdin, twice=not crypted)

    async def work(guest: Guest) -> None:
        await guest.accounts.set_password(user, secret, crypted=crypted)

    return with_guest(settings, work)


def read_secret(user: str, *, stdin: bool, twice: bool) -> str:
    """A password from the terminal or from standard input.

    Raises:
        UsageError: there is none.
    """
    if stdin:
        secret = sys.stdin.readline(LARGEST_INPUT).rstrip("\r\n")
    elif sys.stdin.isatty():
        secret = click.prompt(f"New password of {user}", hide_input=True, confirmation_prompt=twice, err=True)
    else:
        raise UsageError("there is no terminal to ask for the password on; add --stdin and pipe it in")
    if not secret:
        raise UsageError("the password is empty; nothing was changed")
    return secret


@command.command("lock")
@click.argument("user")
@shared_options
def lock(settings: Settings, user: str) -> int:
    """Lock an account's password. Its keys open it as before."""

    async def work(guest: Guest) -> None:
        await guest.accounts.lock(user)

    return with_guest(settings, work)


@command.command("unlock")
@click.argument("user")
@shared_options
def unlock(settings: Settings, user: str) -> int:
    """Unlock an account's password."""

    async def work(guest: Guest) -> None:
        await guest.accounts.lock(user, locked=False)

    return with_guest(settings, work)


@command.group(
    "keys",
    cls=DefaultGroup,
    epilog="""\b
Examples:
  virtagent --to web1 users keys list anna
  virtagent --to web1 users keys add anna -f ~/.ssh/id_ed25519.pub
  ssh-add -L | virtagent --to web1 users keys add anna -f - --replace
  virtagent --to web1 users keys remove anna SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU""",
)
def keys() -> None:
    """The keys that open an account (authorized_keys)."""


@keys.command("list")
@click.argument("user")
@shared_options
def list_keys(settings: Settings, user: str) -> int:
    """List an account's keys."""

    async def work(guest: Guest) -> None:
        found = await guest.accounts.authorized_keys(user)
        if settings.json:
            for each in found:
                say(to_json(each))
        else:
            rows = [(each.type, each.fingerprint, each.comment, each.options) for each in found]
            show_table(("TYPE", "FINGERPRINT", "COMMENT", "OPTIONS"), rows)

    return with_guest(settings, work)


FILE = click.option(
    "-f", "--file", "files", multiple=True, metavar="FILE", help="Keys from a file, one a line; -: standard input."
)


@keys.command("add")
@click.argument("user")
@click.argument("literal", metavar="[KEY]...", nargs=-1)
@FILE
@click.option("--replace", is_flag=True, help="These and no others.")
@shared_options
def add(settings: Settings, user: str, literal: tuple[str, ...], files: tuple[str, ...], replace: bool) -> int:
    """Let keys open an account. A KEY is a line as in authorized_keys or id_ed25519.pub."""
    lines = read_keys(literal, files)

    async def work(guest: Guest) -> None:
        tell(settings, await guest.accounts.add_authorized_keys(user, lines, replace=replace))

    return with_guest(settings, work)


@keys.command("remove")
@click.argument("user")
@click.argument("literal", metavar="[KEY|FINGERPRINT]...", nargs=-1)
@FILE
@shared_options
def remove(settings: Settings, user: str, literal: tuple[str, ...], files: tuple[str, ...]) -> int:
    """Let keys open an account no longer. One that is not there is no error."""
    lines = read_keys(literal, files)

    async def work(guest: Guest) -> None:
        tell(settings, await guest.accounts.remove_authorized_keys(user, lines))

    return with_guest(settings, work)


def read_keys(literal: tuple[str, ...], files: tuple[str, ...]) -> list[str]:
    """Keys from arguments and files, without comments and empty lines.

    Raises:
        UsageError: there are none, or a file cannot be read.
    """
    lines = [*literal]
    for each in files:
        try:
            text = sys.stdin.read(LARGEST_INPUT) if each == "-" else Path(each).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{each} cannot be read: {getattr(error, 'strerror', 'it is no text')}") from None
        if "PRIVATE KEY" in text:
            raise UsageError(f"{each} is a private key, which stays here; give its public one, {each}.pub")
        lines += [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise UsageError("no key was given; add one, or -f FILE")
    return lines


def tell(settings: Settings, change: KeysChange) -> None:
    """What became of keys."""
    if settings.json:
        say(to_json(change))
        return
    counts = (("added", change.added), ("updated", change.updated), ("removed", change.removed))
    done = [f"{count} {what}" for what, count in counts if count]
    say(f"{', '.join(done) or 'nothing to change'}; {change.total} in all")
