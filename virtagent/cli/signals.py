"""What signals to this program mean while a program of the guest runs in its place."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["Forwarder", "forwarding"]

TWICE = 1.0
"""Seconds within which a second Ctrl-C gives up."""


FORWARDED = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGWINCH)


class Forwarder:
    """Sends signals and sizes to the guest, one after the other, and ends our own work where it must.

    Args:
        send: sends a signal by its name; None: Ctrl-C ends our work at once.
        resize: tells of the terminal's new size; None: there is none.

    Attributes:
        ended_by: the number of the signal that ended our work; 0: none did.
    """

    def __init__(
        self, send: Callable[[str], Awaitable[None]] | None, resize: Callable[[], Awaitable[None]] | None
    ) -> None:
        import asyncio  # noqa: PLC0415 - run() chooses how it is loaded

        self._send = send
        self._resize = resize
        self._loop = asyncio.get_running_loop()
        self._work = asyncio.current_task()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._last = -TWICE
        self.ended_by = 0

    def give_up(self, number: int = signal.SIGINT) -> None:
        """End our work; the guest ends what it did for us."""
        self.ended_by = number
        if self._work is not None:
            self._work.cancel()

    def on_signal(self, number: signal.Signals) -> None:
        """A signal came."""
        if number is signal.SIGWINCH:
            if self._resize is not None:
                self._start(self._resize())
        elif number in (signal.SIGINT, signal.SIGQUIT) and self._send is not None:
            now = self._loop.time()
            if number is signal.SIGINT and now - self._last < TWICE:
                self.give_up()
                return
            self._last = now
            self._start(self._send(number.name))
        else:
            self.give_up(number)

    def _start(self, work: Awaitable[None]) -> None:
        from virtagent.errors import VirtagentError  # noqa: PLC0415 - loaded already

        async def run() -> None:
            with suppress(VirtagentError):  # the process has ended, or the session: our work ends by itself
                await work

        task = self._loop.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@contextmanager
def forwarding(forwarder: Forwarder) -> Iterator[None]:
    """While in here, signals go to the forwarder."""
    import asyncio  # noqa: PLC0415 - run() chooses how it is loaded

    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in FORWARDED}
    taken = [number for number in FORWARDED if before[number] is not signal.SIG_IGN]  # nohup, a background job
    for number in taken:
        loop.add_signal_handler(number, forwarder.on_signal, number)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])
