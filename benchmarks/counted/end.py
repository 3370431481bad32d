"""One end of a workload, a process of its own: ``python -m benchmarks.counted.end server|client|both ...``.

The server says "ready" when it listens, and ends when its standard input does; "both" is both in one event loop.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import importlib
import os
from types import ModuleType


async def until_stdin_ends() -> None:
    """Tell the parent that this end is ready, and wait until it has seen enough (or is gone)."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(0, ended.set)
    print("ready", flush=True)
    await ended.wait()
    loop.remove_reader(0)


def hold_still(cpu: int | None) -> None:
    """Both ends on one CPU, where neither runs before the other waits: how much a read brings is then no chance.

    SCHED_BATCH (sched(7)): a process that wakes up does not push aside the one that woke it.
    """
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def allocations(file: str | None) -> contextlib.AbstractContextManager[object]:
    """Record every allocation of this process to a file, or none."""
    if file is None:
        return contextlib.nullcontext()
    import memray

    destination = memray.FileDestination(file, overwrite=True, compress_on_exit=False)
    return memray.Tracker(destination=destination, trace_python_allocators=True)


def subject_module(subject: str) -> ModuleType:
    """The module that holds both ends of a subject."""
    return importlib.import_module(f"benchmarks.counted.{subject.replace(' ', '_')}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("end", choices=("server", "client", "both"))
    parser.add_argument("subject")
    parser.add_argument("workload")
    parser.add_argument("path")
    parser.add_argument("count", type=int, help="how many calls the client makes")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--cpu", type=int)
    parser.add_argument("--allocations", metavar="FILE", help="record allocations to this file")
    arguments = parser.parse_args()
    hold_still(arguments.cpu)
    module = subject_module(arguments.subject)
    factory = None
    if arguments.loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    run = functools.partial(module.run, arguments.path, arguments.workload, arguments.count)
    if arguments.end == "client":
        work = run()
    else:
        work = module.serve(arguments.path, arguments.workload, run if arguments.end == "both" else until_stdin_ends)
    with allocations(arguments.allocations), asyncio.Runner(loop_factory=factory) as runner:
        runner.run(work)


if __name__ == "__main__":
    main()
