"""``virtagent bench``: its verbs and their options. What they do is loaded when one is run."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from virtagent.cli.bench_options import (
    CHUNK,
    DIRECTION,
    DIRECTIONS,
    FAIL_ABOVE,
    MOST_IN_FLIGHT,
    OPEN_LOOP,
    PAYLOAD,
    WIDTHS,
    chunk_size,
    measured,
    number,
    payload_size,
    width_list,
)
from virtagent.cli.failures import EXIT_USAGE
from virtagent.cli.main import shared_options
from virtagent.cli.target import Settings

__all__ = ["command"]


class Examples(click.Group):
    """Verbs in the order in which people meet them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=Examples,
    invoke_without_command=True,
    epilog="Further exit codes: 8 slower than --fail-above allows, 9 the rate was not kept, or too few samples.",
)
@click.pass_context
def command(context: click.Context) -> None:
    """Measure how long a guest takes to answer, and why.

    \b
    virtagent --to web1 bench latency                       calls one after the other
    virtagent --to web1 bench latency --rate 500            500 calls a second, by the clock
    virtagent --to web1 bench throughput --in-flight 1,64   as many calls as possible
    virtagent --to web1 bench stream                        one-way streams, both ways
    virtagent --to web1 bench mixed --rate 200              calls beside a stream at full speed
    virtagent --to web1 bench connect                       from connecting to the first answer
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
        context.exit(EXIT_USAGE)


def workload(name: str, seconds: float | None = None) -> Callable[[Callable[..., dict[str, Any]]], Callable[..., int]]:
    """Decorator: a function that makes the workload's own options measures it.

    Args:
        seconds: of a measurement without ``--duration`` and ``--count``.
    """

    def decorate(function: Callable[..., dict[str, Any]]) -> Callable[..., int]:
        @functools.wraps(function)
        def run(
            settings: Settings,
            duration: float | None,
            count: str | None,
            warmup: float,
            rounds: int,
            loop: str,
            save: str | None,
            plot: tuple[str, ...],
            beside: tuple[str, ...],
            compare: str | None,
            fail_above: float,
            **own: Any,
        ) -> int:
            from virtagent.bench.extras import require  # noqa: PLC0415 - --help needs none of it

            require(plots=bool(plot))
            from virtagent.cli.bench_files import Outputs  # noqa: PLC0415
            from virtagent.cli.bench_run import measure  # noqa: PLC0415

            most = None if count is None else number(count)
            told = {
                "seconds": seconds if duration is None and most is None else duration,
                "count": most,
                "warmup": warmup,
                "rounds": rounds,
                **function(**own),
            }
            outputs = Outputs(save=save, plots=plot, beside=beside, compare=compare, fail_above=fail_above / 100)
            return measure(settings, name, told, outputs, loop=loop)

        return run

    return decorate


@command.command("latency")
@OPEN_LOOP
@click.option(
    "--in-flight",
    type=click.IntRange(1, MOST_IN_FLIGHT),
    metavar="N",
    help="Calls under way at most. [1; with --rate as many as the guest serves at a time]",
)
@PAYLOAD
@measured(10.0)
@shared_options
@workload("latency", 10.0)
def latency(rate: float | None, arrivals: str, in_flight: int | None, payload: str) -> dict[str, Any]:
    """Measure how long echoes take, and where the time goes.

    One call after the other, unless --rate is given: then calls are made by the clock, and a latency counts from the
    moment when its call should have been made, so that a stall is not hidden by the calls it kept from being made.

    \b
    virtagent --to web1 bench latency --rate 500 --duration 30 --plot page.html
    virtagent --to web1 bench latency --count 1000 --size 64K --json | jq .calls[0].latency.percentiles
    virtagent --to web1 bench latency --rounds 5 --compare main.json --fail-above 10
    """
    width = in_flight or (1 if rate is None else MOST_IN_FLIGHT)
    return {"rate": rate, "arrivals": arrivals, "in_flight": (width,), "size": payload_size(payload)}


@command.command("throughput")
@click.option("--in-flight", default=WIDTHS, metavar="N,N,...", help=f"Calls under way. [{WIDTHS}]")
@PAYLOAD
@measured(2.0)
@shared_options
@workload("throughput", 2.0)
def throughput(in_flight: str, payload: str) -> dict[str, Any]:
    """Measure how many echoes a second there can be.

    For each number of calls in flight, a new one is made as soon as one is answered (closed loop).

    \b
    virtagent --to web1 bench throughput --in-flight 1,64 --plot page.html
    """
    return {"in_flight": width_list(in_flight), "size": payload_size(payload)}


@command.command("stream")
@DIRECTION
@CHUNK
@measured(5.0, count="BYTES", count_help="Bytes of each stream at most, such as 1G.")
@shared_options
@workload("stream", 5.0)
def stream(direction: str, chunk: str | None) -> dict[str, Any]:
    """Measure one-way streams at full speed, one direction after the other.

    \b
    virtagent --to web1 bench stream --direction from --count 1G
    """
    return {"directions": DIRECTIONS[direction], "chunk": chunk_size(chunk)}


@command.command("mixed")
@OPEN_LOOP
@click.option(
    "--in-flight", type=click.IntRange(1, MOST_IN_FLIGHT), metavar="N", help="Calls under way at most. [as for latency]"
)
@PAYLOAD
@DIRECTION
@CHUNK
@measured(5.0)
@shared_options
@workload("mixed", 5.0)
def mixed(
    rate: float | None, arrivals: str, in_flight: int | None, payload: str, direction: str, chunk: str | None
) -> dict[str, Any]:
    """Measure echoes without and with streams at full speed beside them.

    200 calls a second, unless --rate says otherwise.

    \b
    virtagent --to web1 bench mixed --direction from --plot page.html
    """
    return {
        "rate": rate or 200.0,
        "arrivals": arrivals,
        "in_flight": (in_flight or MOST_IN_FLIGHT,),
        "size": payload_size(payload),
        "directions": DIRECTIONS[direction],
        "chunk": chunk_size(chunk),
    }


@command.command("connect")
@measured(5.0, count_help="Connects of each measurement at most.")
@shared_options
@workload("connect", 5.0)
def connect() -> dict[str, Any]:
    """Measure connecting, hello included, up to the first answer, again and again.

    \b
    virtagent --to web1 bench connect --count 200
    """
    return {}


@command.command("plot")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("-o", "--output", required=True, metavar="FILE", help="A page (.html) or a picture (.png, .svg).")
@shared_options
def plot(settings: Settings, files: tuple[str, ...], output: str) -> int:
    """Plot results that --save wrote, beside each other.

    \b
    virtagent bench plot main.json branch.json -o page.html
    """
    from virtagent.bench.extras import require  # noqa: PLC0415

    require(plots=True)
    from virtagent.cli.bench_run import plot_files  # noqa: PLC0415

    return plot_files(files, output)


@command.command("compare")
@click.argument("old")
@click.argument("new")
@FAIL_ABOVE
@shared_options
def compare(settings: Settings, old: str, new: str, fail_above: float) -> int:
    """Tell which differences between two results that --save wrote are real.

    \b
    virtagent bench compare main.json branch.json --fail-above 10
    """
    from virtagent.bench.extras import require  # noqa: PLC0415

    require(plots=False)
    from virtagent.cli.bench_run import compare_files  # noqa: PLC0415

    return compare_files(settings, old, new, fail_above / 100)
