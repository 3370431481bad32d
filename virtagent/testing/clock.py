"""Virtual time: hours of keepalive, deadlines and backoff pass in milliseconds, without one sleep.

::

    def test_it_gives_up_after_an_hour() -> None:
        run_in_virtual_time(scenario())

With pytest-asyncio, :class:`VirtualTimeLoop` is a loop factory like any other (hook ``pytest_asyncio_loop_factories``).
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from virtagent.errors import UsageError

__all__ = ["FakeClock", "NothingWillHappen", "VirtualTimeLoop", "run_in_virtual_time"]

Result = TypeVar("Result")

START = 1000.0
"""Where virtual time begins: not at 0, so that code that takes 0 for "never" shows."""

PATIENCE = 10.0
"""Real seconds to wait for real files and threads when no timer is left."""


class NothingWillHappen(RuntimeError):
    """Every task waits, there is no timer, and no file or thread brought anything: a test would hang here."""


class FakeClock:
    """A clock for code that is given the time: it stands still until it is moved.

    Attributes:
        now: seconds.
    """

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> float:
        """Move on; returns the new time.

        Raises:
            UsageError: backwards.
        """
        if seconds < 0:
            raise UsageError("a clock does not go backwards; give seconds of 0 or more")
        self.now += seconds
        return self.now

    def advance_to(self, moment: float) -> float:
        """Move on to a moment; one that has passed changes nothing."""
        self.now = max(self.now, moment)
        return self.now


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer whenever nothing else is to be done.

    Real files and threads work, but no virtual time passes for them: what a timer and a thread race for, the timer
    wins, unless :meth:`hold` stops the clock.

    Args:
        patience: real seconds to wait for files and threads when there is no timer; then NothingWillHappen.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self.clock = FakeClock()
        self.jumps = 0
        self._held = 0
        super().__init__(JumpingSelector(self, patience))

    def time(self) -> float:
        """Virtual seconds."""
        return self.clock.now

    def advance(self, seconds: float) -> None:
        """Let time pass at once, as if the process had been stopped for so long: timers come late."""
        self.clock.advance(seconds)

    async def shutdown_default_executor(self, *args: Any, **options: Any) -> None:
        """Wait for threads in real time: they do not know this loop's."""
        with self.hold():
            await super().shutdown_default_executor(*args, **options)

    def hold(self) -> Hold:
        """``with loop.hold():`` time stands still, so that threads and files can do their part."""
        return Hold(self)

    @property
    def held(self) -> bool:
        """Whether time stands still."""
        return self._held > 0

    def _hold(self, change: int) -> None:
        self._held += change


class Hold:
    """Virtual time stands still within the ``with`` block."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._loop = loop

    def __enter__(self) -> None:
        self._loop._hold(1)

    def __exit__(self, *_: object) -> None:
        self._loop._hold(-1)


class JumpingSelector(selectors.BaseSelector):
    """A selector that does not wait for time to pass, but makes it pass."""

    def __init__(self, loop: VirtualTimeLoop, patience: float) -> None:
        self._loop = loop
        self._patience = patience
        self._inner = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._inner.select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None or self._loop.held:
            ready = self._inner.select(self._patience)
            if not ready:
                raise NothingWillHappen(f"nothing happened for {self._patience:g} s, and there is no timer to wait for")
            return ready
        self._loop.clock.advance(timeout)
        self._loop.jumps += 1
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._inner.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._inner.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._inner.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._inner.get_map()

    def close(self) -> None:
        self._inner.close()


def run_in_virtual_time(coroutine: Coroutine[Any, Any, Result], *, patience: float = PATIENCE) -> Result:
    """Run a coroutine like :func:`asyncio.run`, in virtual time.

    Raises:
        NothingWillHappen: it waits for something that cannot come.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(patience)) as runner:
        return runner.run(coroutine)
