"""Threads for plain ``def`` handlers: shared by all peers of the process, with a bound for each peer.

A thread pool for each peer would leave a host with a thousand guests a thousand idle threads.
"""

from __future__ import annotations

import atexit
import itertools
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from virtagent.peer.fork import in_child

__all__ = ["PeerThreads", "ThreadPool"]

IDLE = 10.0
"""Seconds after which a thread without work ends."""

Work = Callable[[], None]


class ThreadPool:
    """Threads that are made when there is work and none is idle, and end when there has been none for a while.

    As with ``concurrent.futures``, the interpreter's exit waits for work that runs.

    Args:
        idle: seconds that a thread waits for more work.
    """

    def __init__(self, idle: float = IDLE) -> None:
        self._idle_seconds = idle
        self._numbers = itertools.count(1)
        self._begin()
        in_child(self, ThreadPool._begin)  # a forked child has none of these threads, and perhaps a lock that is held

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._work: deque[Work] = deque()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._closed = False

    def __len__(self) -> int:
        """How many threads there are."""
        return len(self._threads)

    def start(self, work: Work) -> None:
        """Have ``work`` called in a thread; it must not raise.

        Raises:
            RuntimeError: the system has no more threads; ``work`` will not be called.
        """
        with self._changed:
            self._work.append(work)
            if self._idle >= len(self._work):
                self._changed.notify()
                return
            # A daemon, so that one which is idle does not hold the exit; close() waits for those that are not.
            name = f"virtagent-handler-{next(self._numbers)}"
            thread = threading.Thread(target=self._serve, name=name, daemon=True)
            self._threads.add(thread)
            try:
                thread.start()
            except RuntimeError:
                self._threads.discard(thread)
                self._work.pop()
                raise

    def _serve(self) -> None:
        while (work := self._next()) is not None:
            work()
            del work  # and what it holds, while this thread is idle

    def _next(self) -> Work | None:
        """Wait for work; None where this thread has to end."""
        with self._changed:
            told = True
            while told and not self._work and not self._closed:
                self._idle += 1
                told = self._changed.wait(self._idle_seconds)
                self._idle -= 1
            if self._work:
                return self._work.popleft()
            self._threads.discard(threading.current_thread())
            return None

    def close(self) -> None:
        """End the idle threads, and wait for the others to finish their work."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            threads = list(self._threads)
        for thread in threads:
            thread.join()


POOL = ThreadPool()
atexit.register(POOL.close)


class PeerThreads:
    """What one peer runs in threads of a pool: at most so much at a time, in the order in which it came.

    Args:
        most: how many threads it may have at a time.
        pool: where they come from.
    """

    def __init__(self, most: int, pool: ThreadPool = POOL) -> None:
        self._most = most
        self._pool = pool
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = deque()
        self._running = 0

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Call a function in a thread, once its turn comes.

        Returns:
            Its result; cancelling it prevents a call that has not begun.

        Raises:
            RuntimeError: the system has no more threads, and this peer has none.
        """
        future: Future[Any] = Future()
        with self._lock:
            self._waiting.append((future, function, args))
            if self._running >= self._most:
                return future
            self._running += 1
        try:
            self._pool.start(self._run_waiting)
        except RuntimeError:
            with self._lock:
                self._running -= 1
                if not self._running:  # else one that runs takes it in its turn
                    self._waiting.clear()
                    raise
        return future

    def _run_waiting(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._running -= 1
                    return
                job = self._waiting.popleft()
            run(*job)
            del job


def run(future: Future[Any], function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Call a function for a future that may have been cancelled."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function(*args)
    except BaseException as error:  # SystemExit too: it is the handler's, not this thread's
        future.set_exception(error)
        del future  # its traceback refers to this frame
    else:
        future.set_result(result)
