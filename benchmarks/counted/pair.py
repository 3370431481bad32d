"""Running both ends of a workload under a counter, at two run lengths: what one call costs each end."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.counted.counters import Counter, Counts
from benchmarks.counted.workloads import Workload

__all__ = ["Cost", "PairFailed", "cost_of", "per_unit"]

TIMEOUT = 180.0
"""Seconds that one run may take: a run under valgrind takes five or so."""


class PairFailed(Exception):
    """A process under measure failed; the text says which and what it said."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one unit of a workload costs, by end ("client" and "server", or "both") and by what was counted."""

    ends: dict[str, dict[str, float]]

    def totals(self) -> dict[str, float]:
        """The cost of each end that was a process of its own, and of both as "sum"."""
        ends = {end: sum(counts.values()) for end, counts in self.ends.items()}
        total = sum(ends.values())
        return {"sum": total} if "both" in ends else {**ends, "sum": total}


def per_unit(short: Counts, long: Counts, lengths: tuple[int, int]) -> dict[str, float]:
    """The cost of one: start-up and tear-down are in both runs, so that their difference is all calls."""
    more = lengths[1] - lengths[0]
    names = sorted(short.keys() | long.keys())
    costs = {name: (long.get(name, 0) - short.get(name, 0)) / more for name in names}
    return {name: cost for name, cost in costs.items() if cost}


def cost_of(workload: Workload, counter: Counter, tree: Path, *, loop: str, cpu: int | None) -> Cost:
    """Count both ends of a workload.

    Args:
        tree: the directory that holds the packages under measure.
        loop: "asyncio" or "uvloop".
        cpu: the CPU for both ends; None: any.

    Raises:
        PairFailed: a process failed, or the counter wrote nothing that can be read.
    """
    short, long = (_run(workload, counter, tree, loop, cpu, count) for count in workload.lengths)
    return Cost({end: per_unit(short[end], long[end], workload.lengths) for end in short})


def _run(workload: Workload, counter: Counter, tree: Path, loop: str, cpu: int | None, count: int) -> dict[str, Counts]:
    """One run of both ends: what each cost."""
    together = counter.quantity in workload.together
    ends = ("both",) if together else ("client", "server")
    with tempfile.TemporaryDirectory(prefix="counted-") as name:
        directory = Path(name)
        files = {end: directory / f"{end}.out" for end in ends}
        what = [workload.subject, workload.name, str(directory / "s"), str(count), "--loop", loop]
        what += [] if cpu is None else ["--cpu", str(cpu)]
        commands = {
            end: counter.command([sys.executable, "-m", "benchmarks.counted.end", end, *what], files[end])
            for end in ends
        }
        try:
            if together:
                _finished("both ends", commands["both"], tree)
            else:
                with _server(commands["server"], tree, directory / "server.err"):
                    _finished("the client", commands["client"], tree)
            return {end: counter.read(files[end]) for end in ends}
        except (OSError, ValueError, PairFailed) as error:
            raise PairFailed(f"{workload.key}, {counter.quantity}: {error}") from error


def environment(tree: Path) -> dict[str, str]:
    """The same few variables wherever this runs: hashes, and with them the order of sets, are fixed.

    The runtime directory does not exist: whether this machine has locks of its user would change what is counted.
    """
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LD_LIBRARY_PATH") if key in os.environ}
    own = {"XDG_RUNTIME_DIR": str(tree / "no-such-directory"), "PYTHONPATH": f"{tree}:{tree / 'transports'}"}
    return kept | own | {"LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}


@contextlib.contextmanager
def _server(command: list[str], tree: Path, errors: Path) -> Iterator[None]:
    """A server that is ready; it ends by itself when its standard input is closed."""
    with (
        errors.open("wb") as said,
        subprocess.Popen(
            command,
            cwd=tree,
            env=environment(tree),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
        ) as server,
    ):
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            ready = server.stdout.readline() == b"ready\n"
            if ready:
                yield
            server.stdin.close()
            code = server.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            raise PairFailed(f"the server did not end within {TIMEOUT:g} s") from None
        finally:
            if server.poll() is None:
                server.kill()
    if code or not ready:
        raise PairFailed(f"the server ended with code {code}: {errors.read_text().strip()[-1000:]}")


def _finished(who: str, command: list[str], tree: Path) -> None:
    """Run a process to its end."""
    try:
        done = subprocess.run(
            command,
            cwd=tree,
            env=environment(tree),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PairFailed(f"{who} did not end within {TIMEOUT:g} s") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[-1000:]
        raise PairFailed(f"{who} ended with code {done.returncode}: {said}")
