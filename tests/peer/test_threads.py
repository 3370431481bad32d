"""Threads of plain ``def`` handlers: shared by all peers, bounded for each."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from virtagent.peer.context import Context
from virtagent.peer.threads import PeerThreads, ThreadPool
from virtagent.testing import peer_pair

from .support import handler, virtual_loop

BOUND = 10.0


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    made = ThreadPool(idle=BOUND)
    yield made
    made.close()


class Held:
    """Work that is held until it is let go; tells how much of it runs, and ran at most, at a time."""

    def __init__(self) -> None:
        self.started = threading.Semaphore(0)
        self.release = threading.Event()
        self.order: list[int] = []
        self.most = 0
        self._running = 0
        self._lock = threading.Lock()

    def __call__(self, number: int = 0) -> int:
        with self._lock:
            self.order.append(number)
            self._running += 1
            self.most = max(self.most, self._running)
        self.started.release()
        assert self.release.wait(BOUND)
        with self._lock:
            self._running -= 1
        return number

    def wait(self, count: int) -> None:
        for _ in range(count):
            assert self.started.acquire(timeout=BOUND)


def run_python(script: str, text: str = "") -> str:
    """What a script prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", script], input=text, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_peer_has_its_bound_and_others_are_not_held_by_it(pool: ThreadPool) -> None:
    busy, other, held = PeerThreads(2, pool), PeerThreads(2, pool), Held()
    results = [busy.submit(held, number) for number in range(5)]
    held.wait(2)
    assert other.submit(lambda: "at once").result(BOUND) == "at once"
    held.release.set()
    assert [result.result(BOUND) for result in results] == [0, 1, 2, 3, 4]
    assert held.most == 2
    assert sorted(held.order[:2]) == [0, 1]


def test_with_one_thread_calls_run_in_the_order_in_which_they_came(pool: ThreadPool) -> None:
    threads, held = PeerThreads(1, pool), Held()
    held.release.set()
    results = [threads.submit(held, number) for number in range(100)]
    assert [result.result(BOUND) for result in results] == list(range(100)) == held.order


def test_what_fails_fails_for_its_caller_only(pool: ThreadPool) -> None:
    threads = PeerThreads(1, pool)
    for error in (ValueError("mine"), SystemExit(3)):

        def fail(error: BaseException = error) -> None:
            raise error

        assert threads.submit(fail).exception(BOUND) is error
    assert threads.submit(len, "abc").result(BOUND) == 3


def test_what_is_cancelled_before_its_turn_never_runs(pool: ThreadPool) -> None:
    threads, held = PeerThreads(1, pool), Held()
    first = threads.submit(held, 1)
    held.wait(1)
    assert threads.submit(held, 2).cancel()
    assert not first.cancel()
    held.release.set()
    assert first.result(BOUND) == 1
    assert threads.submit(held, 5).result(BOUND) == 5
    assert held.order == [1, 5]


def test_idle_threads_end_after_a_while() -> None:
    pool, done = ThreadPool(idle=0.0), Future[threading.Thread]()
    pool.start(lambda: done.set_result(threading.current_thread()))
    done.result(BOUND).join(BOUND)
    assert not done.result().is_alive()
    assert len(pool) == 0


def test_an_idle_thread_takes_the_next_work(pool: ThreadPool) -> None:
    """Whatever the order in which threads become idle: at most so many as there was work at a time, and one more."""
    threads = PeerThreads(1, pool)
    assert len({threads.submit(threading.get_ident).result(BOUND) for _ in range(50)}) <= 2


def test_closing_ends_idle_threads_and_waits_for_the_others() -> None:
    pool, held = ThreadPool(idle=3600.0), Held()
    PeerThreads(1, pool).submit(len, "").result(BOUND)
    result = PeerThreads(1, pool).submit(held, 7)
    held.wait(1)
    closing = threading.Thread(target=pool.close)
    closing.start()
    held.release.set()
    closing.join(BOUND)
    assert result.result(0) == 7
    assert len(pool) == 0


class NoMore(ThreadPool):
    """A pool in a system that gives no more than so many threads."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._left = most

    def start(self, work: Any) -> None:
        if not self._left:
            raise RuntimeError("can't start new thread")
        self._left -= 1
        super().start(work)


def test_without_another_thread_the_ones_that_run_do_it_all() -> None:
    pool, held = NoMore(1), Held()
    threads = PeerThreads(4, pool)
    results = [threads.submit(held, number) for number in range(3)]
    held.release.set()
    assert [result.result(BOUND) for result in results] == [0, 1, 2]
    pool.close()
    with pytest.raises(RuntimeError, match="can't start new thread"):
        PeerThreads(4, pool).submit(held, 4)


async def test_many_peers_share_a_few_threads() -> None:
    """A host with a thousand guests that notify it now and then has no thousand threads."""
    seen: set[int] = set()

    def work(_: Context) -> None:
        seen.add(threading.get_ident())

    async def use(left: int) -> None:
        async with peer_pair(handlers_b=[handler(work, mode="thread")]) as (a, _):
            with virtual_loop().hold():
                await a.call("work")
            if left:
                await use(left - 1)

    before = threading.active_count()
    await use(29)
    assert len(seen) <= 15
    assert threading.active_count() - before <= 15


def test_the_interpreter_waits_for_work_that_runs_and_for_nothing_else() -> None:
    script = """
import sys, threading
from virtagent.peer.threads import PeerThreads
threads, started = PeerThreads(2), threading.Event()
threads.submit(len, "").result(10)
def work():
    started.set()
    print(sys.stdin.readline())
threads.submit(work)
started.wait(10)
"""
    assert run_python(script, "finished\n").split() == ["finished"]


def test_a_forked_child_has_threads_of_its_own() -> None:
    script = """
import os, warnings
from virtagent.peer.threads import PeerThreads
warnings.simplefilter("ignore")
assert PeerThreads(1).submit(len, "abc").result(10) == 3
child = os.fork()
if not child:
    print(PeerThreads(1).submit(len, "abcd").result(10), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
    assert run_python(script).split() == ["4"]
