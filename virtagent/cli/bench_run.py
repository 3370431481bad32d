"""Running a measurement: before, during and after it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from virtagent.bench.compare import Comparison, compare
from virtagent.bench.result import Result, load_result
from virtagent.bench.run import Options, Run
from virtagent.bench.subject import Subject
from virtagent.bench.summary import call_phases, connect_phases
from virtagent.bench.workloads import WORKLOADS
from virtagent.cli.bench_files import Earlier, Outputs, check_endings, check_writable, label, prepare
from virtagent.cli.bench_progress import Progress
from virtagent.cli.bench_tables import compared, reported
from virtagent.cli.daemon import choose_loop
from virtagent.cli.failures import EXIT_FAILED, EXIT_NOT_MEASURED, EXIT_OK, EXIT_SLOWER
from virtagent.cli.output import complain, say
from virtagent.cli.session import CONNECT_TIMEOUT, run
from virtagent.cli.target import Settings, Target
from virtagent.cli.text import one_line
from virtagent.errors import UsageError, VirtagentError
from virtagent.protocol.rpc import DEFAULT_DEADLINE

__all__ = ["compare_files", "measure", "plot_files"]

THIS = "this run"


def measure(settings: Settings, workload: str, told: dict[str, Any], outputs: Outputs, *, loop: str) -> int:
    """Measure, report, and tell by the exit code how that went.

    Args:
        told: fields of :class:`~virtagent.bench.run.Options`.
    """
    options = Options(**told)
    earlier = prepare(outputs)
    if settings.trace is not None and (options.rounds > 1 or workload == "connect"):
        raise UsageError("--trace records one session, and this makes several; leave it out, or use --rounds 1")

    async def work(target: Target) -> int:
        subject = Subject(
            url=target.url,
            name=one_line(target.name),
            timeout=settings.timeout or CONNECT_TIMEOUT,
            deadline=settings.timeout or DEFAULT_DEADLINE,
            trace=settings.trace,
        )
        progress = Progress()
        split = connect_phases if workload == "connect" else call_phases
        running = Run(subject, workload, options, watch=progress.watch, split=split)
        try:
            with progress:
                await WORKLOADS[workload](running)
        except asyncio.CancelledError:
            Report(settings, outputs, earlier).partial(running.result("Ctrl-C"))
            raise
        except VirtagentError as error:
            Report(settings, outputs, earlier).partial(running.result(one_line(str(error)) or type(error).__name__))
            raise
        return Report(settings, outputs, earlier).complete(running.result(), running.first_error)

    return run(settings, work, loop_factory=loop_factory(choose_loop(loop)))


def loop_factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop; None: asyncio's own."""
    if loop != "uvloop":
        return None
    import uvloop  # noqa: PLC0415 - an extra

    return uvloop.new_event_loop


class Report:
    """Tells what was measured, in all the ways that were asked for."""

    def __init__(self, settings: Settings, outputs: Outputs, earlier: Earlier) -> None:
        self._settings = settings
        self._outputs = outputs
        self._earlier = earlier

    def partial(self, result: Result) -> None:
        """Of a run that ended early: what there is; nothing is compared."""
        if any(each.count for each in result.calls) or result.streams:
            self._show(result)
            self._save(result)
            if not unkept(result):
                self._plot(result, None)

    def complete(self, result: Result, first_error: str) -> int:
        """The exit code."""
        self._show(result)
        self._save(result)
        if lines := unkept(result):
            for line in lines:
                complain(line)
            return EXIT_NOT_MEASURED
        for each in result.calls:
            if not each.count and each.errors:
                complain(one_line(f"{each.name}: all calls failed: {first_error}"))
                return EXIT_FAILED
        comparison, code = None, EXIT_OK
        if self._earlier.compare is not None and self._outputs.compare is not None:
            names = label(self._outputs.compare), THIS
            try:
                comparison = compare(self._earlier.compare, result, fail_above=self._outputs.fail_above, names=names)
            except UsageError as error:
                complain(str(error))
                code = EXIT_NOT_MEASURED
            else:
                code = show_comparison(self._settings, comparison)
        return self._plot(result, comparison) or code

    def _show(self, result: Result) -> None:
        say(msgspec.json.encode(result).decode() if self._settings.json else reported(result))

    def _save(self, result: Result) -> None:
        if self._outputs.save is not None:
            try:
                Path(self._outputs.save).write_bytes(msgspec.json.encode(result) + b"\n")
            except OSError as error:
                raise UsageError(f"{self._outputs.save} cannot be written: {error.strerror}") from None

    def _plot(self, result: Result, comparison: Comparison | None) -> int:
        if not self._outputs.plots:
            return EXIT_OK
        from virtagent.bench.panels import Run as Plotted  # noqa: PLC0415 - matplotlib takes half a second
        from virtagent.bench.plot import check_plot, save_plot  # noqa: PLC0415

        runs = [*(Plotted(name, each) for name, each in self._earlier.beside.items()), Plotted(THIS, result)]
        try:
            missing = check_plot(runs)
        except UsageError as error:
            complain(str(error))
            return EXIT_NOT_MEASURED
        for path in self._outputs.plots:
            save_plot(path, runs, comparison)
        for text in missing:
            complain(f"not drawn: {text}")
        return EXIT_OK


def unkept(result: Result) -> list[str]:
    """A line for each rate that could not be kept."""
    return [
        f"{each.name}: achieved {each.achieved:,.0f} of {each.rate:,.0f} calls/s: this rate cannot be sustained here,"
        " so its latencies mean nothing; ask for a lower --rate"
        for each in result.calls
        if not each.sustained and each.rate is not None and not result.interrupted
    ]


def show_comparison(settings: Settings, comparison: Comparison) -> int:
    """Print it; the exit code."""
    say(msgspec.json.encode(comparison).decode() if settings.json else compared(comparison))
    if comparison.failed:
        worst = max((each for each in comparison.differences if each.failed), key=lambda each: abs(each.ratio - 1))
        complain(
            f"slower than --fail-above {comparison.fail_above * 100:g} allows:"
            f" {worst.series}, {worst.metric} {(worst.ratio - 1) * 100:+.1f} %"
        )
    return EXIT_SLOWER if comparison.failed else EXIT_OK


def plot_files(files: tuple[str, ...], output: str) -> int:
    """Plot results from files; the exit code."""
    check_writable(output)
    check_endings((output,))
    from virtagent.bench.panels import Run as Plotted  # noqa: PLC0415
    from virtagent.bench.plot import check_plot, save_plot  # noqa: PLC0415

    names = {label(path) for path in files}
    runs = [Plotted(label(path) if len(names) == len(files) else path, load_result(path)) for path in files]
    try:
        missing = check_plot(runs)
    except UsageError as error:
        complain(str(error))
        return EXIT_NOT_MEASURED
    save_plot(output, runs)
    for text in missing:
        complain(f"not drawn: {text}")
    return EXIT_OK


def compare_files(settings: Settings, old: str, new: str, fail_above: float) -> int:
    """Compare results from files; the exit code."""
    before, after = load_result(old), load_result(new)
    names = (label(old), label(new)) if label(old) != label(new) else (old, new)
    try:
        comparison = compare(before, after, fail_above=fail_above, names=names)
    except UsageError as error:
        complain(str(error))
        return EXIT_NOT_MEASURED
    return show_comparison(settings, comparison)
