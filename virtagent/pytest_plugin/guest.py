"""A guest in the hands of a test: plain calls that fail the test with what the guest said."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from datetime import UTC
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from virtagent.api.units import UnitStatus
from virtagent.errors import CallError, DeadlineExceeded, VirtagentError
from virtagent.host.connect import connect
from virtagent.host.guest import Guest
from virtagent.peer.blocking import BlockingPeer
from virtagent.pytest_plugin.command import CommandFailed, Done, NotInTime, execute
from virtagent.pytest_plugin.waiting import Condition, wait_until

__all__ = ["CommandFailed", "Done", "GuestUnderTest", "NotInTime"]

T = TypeVar("T")

TIMEOUT = 60.0
"""Seconds that a command, or what is waited for, may take."""

LOG_LINES = 40
"""Lines of the guest's log that a failed test shows."""


class GuestUnderTest:
    """A guest, for tests without asyncio; ``with`` it. :meth:`run` reaches everything else that a guest can do.

    Args:
        address: the channel's URL, or the guest's name.
        timeout: seconds until it must answer.

    Raises:
        ChannelError: there is no guest there.
    """

    def __init__(self, address: str, *, timeout: float = TIMEOUT) -> None:
        self._began = ""
        self._peer = BlockingPeer(lambda: connect(address, timeout=timeout, wait=True))
        try:
            self._peer.wait_ready(timeout)
            self._began = self.run(_now)
        except BaseException:
            self._peer.close()
            raise

    def __repr__(self) -> str:
        return f"<GuestUnderTest {self._peer!r}>"

    def __enter__(self) -> GuestUnderTest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; safe to call twice."""
        self._peer.close()

    def run(self, work: Callable[[Guest], Coroutine[Any, Any, T]]) -> T:
        """Do something asynchronous with the guest: ``guest.run(lambda guest: guest.system.info())``.

        Raises:
            VirtagentError: what ``work`` raises.
        """
        return self._peer.run(work)

    # -- commands ------------------------------------------------------------------------------------------------

    def execute(self, command: str, *, timeout: float = TIMEOUT, user: str = "", input: bytes = b"") -> Done:
        """Run a shell line and tell how it ended.

        Args:
            command: for ``sh -c``.
            timeout: seconds; what runs then is killed, and the test fails.
            user: as whom; the agent's own user (root) by default.
            input: its standard input.

        Raises:
            NotInTime: it took longer.
        """
        return self.run(lambda guest: execute(guest, command, timeout=timeout, user=user, input=input))

    def succeed(self, *commands: str, timeout: float = TIMEOUT, user: str = "", input: bytes = b"") -> str:
        """Run shell lines, each of which must end with 0; what they wrote to stdout.

        Raises:
            CommandFailed: one did not.
            NotInTime: one took longer.
        """
        return "".join(self._demand(each, timeout, user, input, fails=False) for each in commands)

    def fail(self, *commands: str, timeout: float = TIMEOUT, user: str = "", input: bytes = b"") -> str:
        """Run shell lines, none of which may end with 0; what they wrote to stdout.

        Raises:
            CommandFailed: one succeeded.
            NotInTime: one took longer.
        """
        return "".join(self._demand(each, timeout, user, input, fails=True) for each in commands)

    def _demand(self, command: str, timeout: float, user: str, input: bytes, *, fails: bool) -> str:
        done = self.execute(command, timeout=timeout, user=user, input=input)
        if (done.returncode != 0) != fails:
            raise CommandFailed(command, done, "but was to fail" if fails else "not 0")
        return done.stdout

    # -- waiting -------------------------------------------------------------------------------------------------

    def wait_until(
        self,
        condition: Condition,
        *,
        timeout: float = TIMEOUT,
        on: tuple[str, ...] = ("*",),
    ) -> Any:
        """Wait until a shell line ends with 0, or an asynchronous function gives something true.

        It is tried again whenever the guest tells of an event that may matter, and otherwise after pauses of 20 ms to
        1 s.

        Args:
            condition: the shell line, or a function of the :class:`~virtagent.host.guest.Guest`.
            timeout: seconds.
            on: patterns of the events after which to try again (docs/services/events.md), such as "unit.*".

        Returns:
            The line's stdout, or what the function gave.

        Raises:
            NotInTime: it did not come true; the message tells how the last try went.
        """
        return self.run(lambda guest: wait_until(guest, condition, timeout=timeout, on=on))

    def wait_for_unit(self, unit: str, *, timeout: float = TIMEOUT, state: Any = "active") -> UnitStatus:
        """Wait until a unit of systemd is in a state, as systemd tells it: nothing is polled.

        Raises:
            NotInTime: it is not in time; the message tells where it is.
            AssertionError: it failed, or there is none.
        """

        async def wait(guest: Guest) -> UnitStatus:
            try:
                return await guest.with_options(deadline=timeout).units.wait_for(unit, state=state)
            except DeadlineExceeded:
                now = await guest.units.status(unit)
                raise NotInTime(
                    f"{unit} is not {state} after {timeout:g} s: {now.active} ({now.sub}) {now.status_text}".rstrip()
                ) from None
            except CallError as error:
                raise AssertionError(f"{unit} does not become {state}: {error}") from None

        return self.run(wait)

    # -- files ---------------------------------------------------------------------------------------------------

    def copy_in(self, local: str | os.PathLike[str], remote: str | os.PathLike[str]) -> None:
        """Copy a file or a directory tree into the guest."""
        path, there = Path(local), os.fspath(remote)
        tree = path.is_dir()

        async def copy(guest: Guest) -> None:
            if tree:
                await guest.files.put_tree(path, there)
            else:
                await guest.files.put(path, there)

        self.run(copy)

    def copy_out(self, remote: str | os.PathLike[str], local: str | os.PathLike[str]) -> None:
        """Copy a file or a directory tree out of the guest."""
        there = os.fspath(remote)

        async def copy(guest: Guest) -> None:
            if (await guest.files.stat(there)).kind == "directory":
                await guest.files.get_tree(there, Path(local))
            else:
                await guest.files.get(there, Path(local))

        self.run(copy)

    # -- when a test failed --------------------------------------------------------------------------------------

    def log_of_test(self) -> str:
        """The end of what the guest logged since this connection was made; "" where it cannot tell."""
        command = f"journalctl --no-pager -q -o short-monotonic --since '{self._began}' -n {LOG_LINES}"
        try:
            done = self.execute(f"{command} 2>/dev/null || dmesg | tail -n {LOG_LINES}", timeout=10)
        except (AssertionError, VirtagentError):
            return ""
        return done.stdout.rstrip()


async def _now(guest: Guest) -> str:
    return f"{(await guest.system.info()).time.astimezone(UTC):%F %T} UTC"
