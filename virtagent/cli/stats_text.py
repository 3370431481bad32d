"""A sample of statistics as people read it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from virtagent.bench.units import bytes_per_second, size
from virtagent.cli.output import say
from virtagent.cli.table import show_table
from virtagent.cli.text import one_line

if TYPE_CHECKING:
    from virtagent.api.stats import Pressure, ProcessUse, Sample

__all__ = ["PROCESS_HEADINGS", "followed_line", "head_lines", "process_row", "show_sample"]

PROCESS_HEADINGS = ("PID", "USER", "STATE", "CPU", "TIME", "MEMORY", "THREADS", "COMMAND")


def percent(value: float | None) -> str:
    """ "12.3 %"."""
    return "-" if value is None else f"{value:.1f} %"


def rate(value: float | None) -> str:
    """ "1.2 MB/s"."""
    return "-" if value is None else bytes_per_second(value)


def count(value: float | None) -> str:
    """Per second."""
    return "-" if value is None else f"{value:.0f}/s"


def head_lines(sample: Sample) -> list[tuple[str, str]]:
    """What concerns the whole machine: names and texts."""
    found: list[tuple[str, str]] = []
    if sample.cpu is not None:
        busy = [each.percent for each in sample.cpus.values() if each.percent is not None]
        highest = f", the busiest {percent(max(busy))}" if len(busy) > 1 else ""
        found.append(("cpu", f"{percent(sample.cpu.percent)} of {len(sample.cpus)} processors{highest}"))
    if sample.load is not None:
        found.append(("load", " ".join(f"{each:.2f}" for each in sample.load)))
    if sample.memory is not None:
        memory = sample.memory
        found.append(("memory", f"{size(memory.used)} of {size(memory.total)} used, {size(memory.cached)} cached"))
    if sample.swap is not None and sample.swap.total:
        swap = sample.swap
        rates = f", {rate(swap.in_rate)} in, {rate(swap.out_rate)} out" if swap.in_rate is not None else ""
        found.append(("swap", f"{size(swap.used)} of {size(swap.total)} used{rates}"))
    if sample.pressure:
        told = ", ".join(f"{name} {stalled(each)}" for name, each in sample.pressure.items())
        found.append(("pressure", f"{told} of the last 10 s"))
    if sample.process_count is not None:
        found.append(("processes", str(sample.process_count)))
    return found


def stalled(pressure: Pressure) -> str:
    """How much of the time some task waited."""
    return "-" if pressure.some is None else f"{pressure.some.avg10:.1f} %"


def process_row(pid: str, each: ProcessUse) -> tuple[str, ...]:
    """The cells of a process."""
    minutes, seconds = divmod(each.cpu_time, 60)
    return (
        pid,
        each.user,
        each.state,
        "-" if each.percent is None else f"{each.percent:.1f} %",
        f"{minutes:.0f}:{seconds:05.2f}",
        size(each.memory),
        str(each.threads),
        one_line(each.command or f"[{each.name}]"),
    )


def show_sample(sample: Sample) -> None:
    """Print a sample: lines for the machine, tables for what there are several of."""
    for name, text in head_lines(sample):
        say(f"{name + ':':11} {text}")
    disks = [
        (name, rate(each.read_rate), rate(each.write_rate), count(each.reads_rate), count(each.writes_rate),
         percent(each.utilization), size(each.read_bytes), size(each.written_bytes))
        for name, each in sample.disks.items()
        if not each.partition
    ]  # fmt: skip
    network = [
        (name, rate(each.receive_rate), rate(each.send_rate), size(each.received_bytes), size(each.sent_bytes),
         each.receive_errors + each.send_errors, each.receive_dropped + each.send_dropped)
        for name, each in sample.network.items()
    ]  # fmt: skip
    filesystems = [
        (place, each.kind, *(("does not answer", "", "") if not each.answers else
         (size(each.total or 0), size(each.available or 0), percent(each.percent))))
        for place, each in sample.filesystems.items()
    ]  # fmt: skip
    show_part(("DISK", "READS", "WRITES", "READ OPS", "WRITE OPS", "BUSY", "READ", "WRITTEN"), disks)
    show_part(("INTERFACE", "RECEIVES", "SENDS", "RECEIVED", "SENT", "ERRORS", "DROPPED"), network)
    show_part(("FILESYSTEM", "TYPE", "SIZE", "AVAILABLE", "USED"), filesystems, left=2)
    if sample.processes:
        say("")
        rows = [process_row(pid, each) for pid, each in sample.processes.items()]
        show_table(PROCESS_HEADINGS, rows, right=("PID", "CPU", "TIME", "MEMORY", "THREADS"))


def show_part(headings: Sequence[str], rows: Sequence[Sequence[object]], left: int = 1) -> None:
    """A table behind an empty line; nothing if there are no rows."""
    if rows:
        say("")
        show_table(headings, rows, right=headings[left:])


def together(values: Sequence[float | None]) -> float | None:
    """The sum of those that are known; None: none is."""
    known = [each for each in values if each is not None]
    return sum(known) if known else None


def _disks(sample: Sample, name: str) -> str:
    return rate(together([getattr(each, name) for each in sample.disks.values() if not each.partition]))


def _network(sample: Sample, name: str) -> str:
    return rate(together([getattr(each, name) for key, each in sample.network.items() if key != "lo"]))


Column = tuple[str, int, Callable[["Sample"], str]]

FOLLOWED: tuple[Column, ...] = (
    ("TIME", 8, lambda sample: f"{sample.time.astimezone():%T}"),
    ("CPU", 8, lambda sample: percent(None if sample.cpu is None else sample.cpu.percent)),
    ("LOAD", 6, lambda sample: "-" if sample.load is None else f"{sample.load[0]:.2f}"),
    ("MEMORY", 10, lambda sample: "-" if sample.memory is None else size(sample.memory.used)),
    ("SWAP", 10, lambda sample: "-" if sample.swap is None else size(sample.swap.used)),
    ("DISKS READ", 12, lambda sample: _disks(sample, "read_rate")),
    ("WRITE", 12, lambda sample: _disks(sample, "write_rate")),
    ("NET RECEIVE", 12, lambda sample: _network(sample, "receive_rate")),
    ("SEND", 12, lambda sample: _network(sample, "send_rate")),
)
"""The columns of samples that are followed: a heading, a width, and the text."""


def followed_line(sample: Sample | None) -> str:
    """A line for a sample; None: the headings."""
    cells = [(heading if sample is None else text(sample), width) for heading, width, text in FOLLOWED]
    return "  ".join(f"{cell:>{width}}" for cell, width in cells)
