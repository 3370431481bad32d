"""The server side of one peer: ``python -m benchmarks.peers.server_process PEER LOOP ADDRESS CPU``.

When it listens it says so on stdout, with a line of JSON: ``address`` if it is another one than asked for, ``brokers``,
the process ids of what it started.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from importlib import import_module

from benchmarks.peers.roster import subjects
from benchmarks.peers.running import run

__all__ = ["main"]


def ready(*, address: str | None = None, brokers: tuple[int, ...] = ()) -> None:
    said = ({"address": address} if address else {}) | ({"brokers": brokers} if brokers else {})
    print(json.dumps(said), flush=True)


def main() -> None:
    name, loop, address, cpu = sys.argv[1:]
    os.sched_setaffinity(0, {int(cpu)})
    subject = next(each for each in subjects([name]) if each.loop == loop)
    module = import_module(f"benchmarks.peers.{subject.peer.module}")
    if inspect.iscoroutinefunction(module.serve):
        run(module, subject.loop, module.serve(address, ready))
    else:
        module.serve(address, ready)


if __name__ == "__main__":
    main()
