"""Which guest is meant."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from virtagent.errors import UsageError
from virtagent.host.discovery import list_guests, resolve

__all__ = ["VARIABLE", "Settings", "Target", "find_target"]

VARIABLE = "VIRTAGENT_TO"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the options that all commands share said.

    Attributes:
        to: a URL or a name, or None.
        json: results as JSON.
        timeout: seconds to wait for the guest, and for an answer; None: each its default.
        verbose: show the log.
        trace: a new file to record the session to, or None.
    """

    to: str | None = None
    json: bool = False
    timeout: float | None = None
    verbose: bool = False
    trace: str | None = None

    def over(self, **said: object) -> Settings:
        """These settings with those that were said; None and False say nothing."""
        return replace(self, **{key: value for key, value in said.items() if value})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Target:
    """A guest: what people call it, and its URL."""

    name: str
    url: str


def find_target(settings: Settings) -> Target:
    """The guest that ``--to`` or the environment names, or the only one there is.

    Raises:
        UsageError: there is no such guest, or it is not clear which.
    """
    said = settings.to or os.environ.get(VARIABLE)
    if said:
        return Target(said, resolve(said))
    known = list_guests()
    if len(known) == 1:
        return Target(known[0].name, known[0].url)
    if known:
        raise UsageError(f"which guest? add --to NAME; known are {', '.join(each.name for each in known)}")
    raise UsageError(
        f"which guest? none is known here; add --to URL, such as --to unix:/run/vm/web1.sock, or set {VARIABLE}"
    )
