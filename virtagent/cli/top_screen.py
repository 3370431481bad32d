"""The live screen of ``virtagent top``: what it shows, and the keys that it knows."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
import tty
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from virtagent.cli.output import coloured
from virtagent.cli.stats_text import PROCESS_HEADINGS, head_lines, process_row
from virtagent.cli.text import one_line

if TYPE_CHECKING:
    from virtagent.api.stats import Sample

__all__ = ["Keys", "TopScreen", "watch_live"]

Order = Literal["cpu", "memory"]
Follow = Callable[[Order, int], AsyncGenerator["Sample", None]]

AROUND = 6
"""Lines that are not processes, at least."""

NARROW = 90
LEFT_OUT = ("STATE", "TIME", "THREADS")
"""Columns of a terminal below which these are left out, so that commands have room."""

BAR = 30

AGAIN = "r"
"""The key that begins anew; a terminal that has grown presses it, since it shows more processes."""


class TopScreen:
    """What is shown.

    Attributes:
        order: what processes are sorted by.
        paused: the screen stays as it is.
        sample: the last one.
    """

    def __init__(self, name: str, order: Order) -> None:
        self.name = name
        self.order: Order = order
        self.paused = False
        self.sample: Sample | None = None

    def lines(self, width: int, height: int) -> Group:
        """The screen at this size."""
        if self.sample is None:
            return Group(Text(f"{self.name}: waiting for the first sample ..."))
        head = [self._title(self.sample, width), *self._bars(self.sample)]
        head += [Text(f"{name + ':':11} {text}", no_wrap=True, overflow="ellipsis") for name, text in self._rest()]
        return Group(*head, Text(""), self._processes(self.sample, width, height - len(head) - 3))

    def _title(self, sample: Sample, width: int) -> Text:
        keys = "q quit  c cpu  m memory  space " + ("go on" if self.paused else "stop")
        state = "stopped  " if self.paused else ""
        left = one_line(f"{sample.time.astimezone():%T}  {state}{self.name}")
        room = width - len(left)
        return Text(left + (f"{keys:>{room}}" if room > len(keys) else ""), style="bold", no_wrap=True)

    def _bars(self, sample: Sample) -> Iterator[Text]:
        if sample.cpu is not None:
            yield bar("cpu", sample.cpu.percent, f"of {len(sample.cpus)} processors")
        if sample.memory is not None and sample.memory.total:
            memory = sample.memory
            used = 100 * memory.used / memory.total
            yield bar("memory", used, f"of {memory.total / 2**30:.1f} GiB, {memory.cached / 2**30:.1f} GiB cached")

    def _rest(self) -> list[tuple[str, str]]:
        assert self.sample is not None
        return [(name, text) for name, text in head_lines(self.sample) if name not in ("cpu", "memory")]

    def _processes(self, sample: Sample, width: int, rows: int) -> Table:
        table = Table(box=None, header_style="reverse", pad_edge=False, expand=True)
        shown = [each for each in PROCESS_HEADINGS if width >= NARROW or each not in LEFT_OUT]
        for heading in shown:
            numeric = heading in ("PID", "CPU", "TIME", "MEMORY", "THREADS")
            marked = heading == {"cpu": "CPU", "memory": "MEMORY"}[self.order]
            table.add_column(
                Text(f"{heading}*" if marked else heading),
                justify="right" if numeric else "left",
                no_wrap=True,
                overflow="ellipsis",
                ratio=1 if heading == "COMMAND" else None,
            )
        for pid, each in sorted_processes(sample, self.order)[: max(rows, 0)]:
            cells = dict(zip(PROCESS_HEADINGS, process_row(pid, each), strict=True))
            table.add_row(*(Text(one_line(cells[heading])) for heading in shown))
        return table


def sorted_processes(sample: Sample, order: Order) -> list[tuple[str, Any]]:
    """The processes, those that use most first: patches keep them in no order."""

    def key(item: tuple[str, Any]) -> tuple[float, float]:
        busy, memory = item[1].percent or 0.0, item[1].memory
        return (memory, busy) if order == "memory" else (busy, memory)

    return sorted(sample.processes.items(), key=key, reverse=True)


def bar(name: str, percent: float | None, note: str) -> Text:
    """A bar with its figure."""
    known = min(max(percent or 0.0, 0.0), 100.0)
    filled = round(BAR * known / 100)
    colour = "red" if known >= 90 else "yellow" if known >= 70 else "green"
    text = Text(f"{name + ':':11} [", no_wrap=True, overflow="ellipsis")
    text.append("|" * filled, style=colour)
    figure = "    -  " if percent is None else f"{percent:5.1f} %"
    text.append(" " * (BAR - filled) + f"] {figure} {note}")
    return text


class Keys:
    """Keys as they are pressed; none where standard input is no terminal."""

    def __init__(self) -> None:
        self.pressed: asyncio.Queue[str] = asyncio.Queue()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Within the block keys come without Enter, and are not shown; the terminal is left as it was."""
        if not sys.stdin.isatty():
            yield
            return
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
        loop = asyncio.get_running_loop()
        tty.setcbreak(descriptor)
        loop.add_reader(descriptor, self._read)
        try:
            yield
        finally:
            loop.remove_reader(descriptor)
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)

    def _read(self) -> None:
        try:
            data = os.read(sys.stdin.fileno(), 64)
        except OSError:
            data = b""
        # The end of the input: the terminal is gone.
        for each in data.decode("ascii", "ignore") if data else "q":
            self.pressed.put_nowait(each)


async def watch_live(screen: TopScreen, follow: Follow, keys: Keys | None = None) -> None:
    """Show samples until "q" is pressed, or they end.

    Args:
        follow: gives the samples, for an order and a number of processes.
        keys: None: those of the terminal.
    """
    keys = keys or Keys()
    console = Console(no_color=not coloured(), highlight=False)
    live = Live(console=console, screen=True, auto_refresh=False, transient=True)

    def redraw() -> None:
        live.update(screen.lines(console.width, console.height), refresh=True)

    asked = 0

    def on_resize() -> None:
        redraw()
        if console.height - AROUND > asked:
            keys.pressed.put_nowait(AGAIN)

    async def show() -> None:
        nonlocal asked
        asked = max(console.height - AROUND, 1)
        samples = follow(screen.order, asked)
        async with aclosing(samples) as stream:
            async for sample in stream:
                # The first one after a change of the order has no percentages; what is shown still has.
                if not screen.paused and (sample.interval is not None or screen.sample is None):
                    screen.sample = sample
                    redraw()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGWINCH, on_resize)
    try:
        with keys.reading(), live:
            redraw()
            while await _one_order(screen, show, keys, redraw):
                pass
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)


async def _one_order(screen: TopScreen, show: Callable[[], Any], keys: Keys, redraw: Callable[[], None]) -> bool:
    """Show samples in one order; True: another one is wanted."""
    showing = asyncio.ensure_future(show())
    try:
        while True:
            pressing = asyncio.ensure_future(keys.pressed.get())
            await asyncio.wait({showing, pressing}, return_when=asyncio.FIRST_COMPLETED)
            if not pressing.done():
                pressing.cancel()
                await showing
                return False
            key = pressing.result()
            if key in "qQ\x1b":
                return False
            if key == AGAIN:
                return True
            if key == " ":
                screen.paused = not screen.paused
                redraw()
            wanted: Order | None = {"c": "cpu", "m": "memory"}.get(key)  # type: ignore[assignment]
            if wanted is not None and wanted != screen.order:
                screen.order = wanted
                redraw()
                return True
    finally:
        showing.cancel()
        with suppress(asyncio.CancelledError):
            await showing
