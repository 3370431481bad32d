"""A shell line in the guest, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from virtagent.api.processes import MOST_CAPTURED

if TYPE_CHECKING:
    from virtagent.host.guest import Guest

__all__ = ["CommandFailed", "Done", "NotInTime", "execute"]

MOST_SHOWN = 4000
"""Characters of each stream that a failure shows: its end."""


class Done(NamedTuple):
    """How a command ended.

    Attributes:
        returncode: its exit status; minus the signal's number where one ended it.
        stdout, stderr: what it wrote, as text; what is not UTF-8 is replaced.
    """

    returncode: int
    stdout: str
    stderr: str

    @property
    def shown(self) -> str:
        """What it wrote, for a failure's message."""
        told = [
            f"\n--- {name}\n{text[-MOST_SHOWN:].rstrip()}"
            for name, text in (("stdout", self.stdout), ("stderr", self.stderr))
            if text.strip()
        ]
        return "".join(told)


class CommandFailed(AssertionError):
    """A command in the guest did not end as the test wants it to.

    Attributes:
        command: the shell line.
        done: how it ended.
    """

    def __init__(self, command: str, done: Done, wanted: str) -> None:
        super().__init__(f"`{command}` ended with {done.returncode}, {wanted}{done.shown}")
        self.command = command
        self.done = done


class NotInTime(AssertionError):
    """What was waited for did not happen in time."""


async def execute(guest: Guest, command: str, *, timeout: float, user: str = "", input: bytes = b"") -> Done:
    """Run a shell line.

    Args:
        timeout: seconds, after which it is killed.
        user: as whom; "": the agent's own user.
        input: its standard input, at most 1 MiB.

    Raises:
        NotInTime: it was killed.
        AssertionError: it wrote more than 4 MiB.
        CallError: it could not be run.
    """
    found = await guest.processes.capture(shell=command, user=user, timeout=timeout, input=input, limit=MOST_CAPTURED)
    done = Done(found.returncode, found.stdout.decode(errors="replace"), found.stderr.decode(errors="replace"))
    if found.exited.timed_out:
        raise NotInTime(f"`{command}` has not ended after {timeout:g} s{done.shown}")
    if found.truncated:
        raise AssertionError(
            f"`{command}` wrote more than {MOST_CAPTURED} bytes; send it to a file, and copy that out{done.shown}"
        )
    return done
