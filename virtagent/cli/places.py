"""Where files are: here, or in a guest, written as ``GUEST:PATH`` or ``:PATH``."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from virtagent.cli.failures import EXIT_FAILED
from virtagent.cli.output import complain
from virtagent.cli.target import Settings
from virtagent.cli.text import one_line
from virtagent.errors import UsageError, VirtagentError

__all__ = ["Place", "copies", "is_local_directory", "local_name", "parse_place", "told_in_one_line"]

_IN_GUEST = re.compile(r"(?P<guest>[^/:]*):(?P<path>/.*)", re.DOTALL)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """A path here, or in a guest.

    Attributes:
        path: absolute in a guest; "-" here: standard input or output.
        guest: its name; "": the one that ``--to`` names; None: here.
    """

    path: str
    guest: str | None = None

    def __str__(self) -> str:
        return self.path if self.guest is None else f"{self.guest}:{self.path}"


def parse_place(text: str) -> Place:
    """What a person wrote; a local name with a colon is written ``./a:b``.

    Raises:
        UsageError: a path in a guest that is not absolute.
    """
    match = _IN_GUEST.fullmatch(text)
    if match is not None:
        return Place(match["path"], match["guest"])
    if re.match(r"[^/.]*:", text):
        raise UsageError(
            f"{text!r}: write GUEST:/absolute/path, :/path for the guest of --to, or ./{text} for a local file"
        )
    return Place(text)


def copies(settings: Settings, sources: list[Place], target: Place) -> tuple[Settings, bool]:
    """The settings for the one guest that is meant, and whether the copy goes to it.

    Raises:
        UsageError: no guest is named, or two are.
    """
    to_guest = target.guest is not None
    if any((each.guest is not None) == to_guest for each in sources):
        what = "copy from one guest to this machine first, then on" if to_guest else "write GUEST:/path on one side"
        raise UsageError(f"exactly one side of a copy is a guest; {what}")
    names = {each.guest for each in (*sources, target) if each.guest}
    if len(names) > 1:
        raise UsageError(f"two guests are named, {' and '.join(sorted(names))}; copy from one at a time")
    return replace(settings, to=names.pop()) if names else settings, to_guest


def is_local_directory(path: str) -> bool:
    """Whether a path here is a directory, or a link to one."""
    return os.path.isdir(path)


def local_name(path: str) -> str:
    """The last name of a path here, also of ``.`` and ``..``."""
    return os.path.basename(os.path.realpath(path))


async def told_in_one_line(work: Callable[[], Awaitable[T]]) -> T | int:
    """Do something with local files; an error of theirs is one line and an exit code."""
    try:
        return await work()
    except (VirtagentError, BrokenPipeError):
        raise
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        complain(one_line(f"{name}{error.strerror or error}"))
        return EXIT_FAILED
