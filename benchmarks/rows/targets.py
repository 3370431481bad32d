"""Every figure of the speeds that are promised, as data: what it is made of, and what it is to reach.

The rows of ``benchmarks.rows`` measure most of it, ``benchmarks.side_by_side`` what concerns other libraries, and
``benchmarks.guest`` what concerns a real guest and qemu-ga.
"""

from __future__ import annotations

from benchmarks.rows.expression import Best, Expression, Metric, Quotient
from benchmarks.rows.setting import subject_on
from benchmarks.rows.target import Better, Target

__all__ = ["ROWS", "TARGETS"]

SEQUENTIAL = "sequential call p50, both ends on one CPU, plain asyncio"
SEQUENTIAL_UVLOOP = "the same on uvloop"
INLINE = "64 in flight, inline handler"
COROUTINE = "64 in flight, coroutine handler"
TYPED = "typed call with validation, instead of call() by name"
SERVER_CPU = "server CPU per call, 64 in flight"
TAIL = "p99 / p50 of a sequential call"
PAYLOADS = "64 KiB and 1 MiB echo"
STREAM = "one-way stream, 1 GiB"
PING = "ping during that stream, p99"
NOTIFICATIONS = "1,000 notifications in one turn"
CONNECT = "connect to first answer, hello included"
GUEST = "over the real guest's virtio-serial"
QEMU_GA = "against Debian's qemu-ga on a unix socket"
START = "import + start to first answer; idle RSS"

ROWS = (
    SEQUENTIAL,
    SEQUENTIAL_UVLOOP,
    INLINE,
    COROUTINE,
    TYPED,
    SERVER_CPU,
    TAIL,
    PAYLOADS,
    STREAM,
    PING,
    NOTIFICATIONS,
    CONNECT,
    GUEST,
    QEMU_GA,
    START,
)
"""What speeds are promised of; each has at least one target."""


def tail(subject: str) -> Expression:
    """How much longer than half of its calls the slowest hundredth takes."""
    call = f"{subject}/sequential 64 B"
    return Quotient(Metric(f"{call}/p99_us"), Metric(f"{call}/p50_us"))


def on_loop(loop: str) -> tuple[Target, ...]:
    """What is promised on asyncio and on uvloop alike, against the same limit on the same loop."""
    ours, bare, prototype, raw = (subject_on(name, loop) for name in ("ours", "bare echo", "prototype", "raw copy"))
    suffix = "" if loop == "asyncio" else f", {loop}"

    def target(
        name: str,
        row: str,
        metric: str,
        limit: Expression | None,
        *,
        most: float | None = None,
        least: float | None = None,
        unit: str = "",
        figure: Expression | None = None,
    ) -> Target:
        return Target(
            name=name + suffix,
            row=row,
            ours=figure or Metric(f"{ours}/{metric}"),
            limit=limit,
            better="lower" if least is None else "higher",
            must=most if least is None else least,
            unit=unit,
        )

    def beside(limit: str, metric: str) -> Metric:
        return Metric(f"{limit}/{metric}")

    inline, coroutine = "pipelined 64/calls_per_s", "pipelined 64 coroutine/calls_per_s"
    both_cpu = "pipelined 64/cpu_us"
    cpu, notified = "pipelined 64/server_cpu_us", "notifications 1000/messages_per_s"
    connected = "connect to first answer/p50_us"
    return (
        target("p99 / p50", TAIL, "", tail(bare), most=1.3, figure=tail(ours)),
        target("64 in flight, inline", INLINE, inline, beside(prototype, inline), least=0.6, unit="/s"),
        Target(
            name=f"64 in flight, inline, CPU of both ends{suffix}",
            row=INLINE,
            ours=Metric(f"{ours}/{both_cpu}"),
            limit=Metric(f"{prototype}/{both_cpu}"),
            better="lower",
            aim=1.67,  # 1 / 0.6: the same as calls per second, told where other programs run, too
            unit="us",
        ),
        target("64 in flight, coroutine", COROUTINE, coroutine, beside(ours, inline), least=0.5, unit="/s"),
        target("server CPU of a call", SERVER_CPU, cpu, beside(prototype, cpu), most=2, unit="us"),
        target(
            "typed call, inline", TYPED, "typed call/p50_us", beside(ours, "untyped call/p50_us"), most=1.25, unit="us"
        ),
        target(
            "typed call, coroutine",
            TYPED,
            "typed call coroutine/p50_us",
            beside(ours, "untyped call coroutine/p50_us"),
            most=1.25,
            unit="us",
        ),
        target("1 MiB echo", PAYLOADS, "echo 1 MiB/MB_per_s", None, least=600, unit="MB/s"),
        target("1 GiB stream", STREAM, "stream/MB_per_s", beside(raw, "stream/MB_per_s"), least=0.5, unit="MB/s"),
        target("ping during a stream, p99", PING, "ping during stream/p99_ms", None, most=0.6, unit="ms"),
        target("1,000 notifications", NOTIFICATIONS, notified, beside(prototype, notified), least=0.5, unit="/s"),
        target("connect to first answer", CONNECT, connected, beside(bare, connected), most=2, unit="us"),
    )


def sequential(subject: str, against: str, *, must: float | None = None, aim: float | None = None) -> Target:
    """A sequential call beside somebody else's."""
    return Target(
        name=f"sequential call{subject.removeprefix('ours').replace(' ', ', ')} / {against}",
        row=SEQUENTIAL if subject == "ours" else SEQUENTIAL_UVLOOP,
        ours=Metric(f"{subject}/sequential 64 B/p50_us"),
        limit=Metric(f"{against}/sequential 64 B/p50_us"),
        better="lower",
        must=must,
        aim=aim,
        unit="us",
        measured_by="side_by_side" if against == "thriftpy2 blocking" else "rows",
    )


SEQUENTIAL_CALLS = (
    sequential("ours", "bare echo", must=1.35),
    sequential("ours uvloop", "bare echo uvloop", must=1.6, aim=1.4),
    sequential("ours uvloop", "multiprocessing.connection", must=1.3, aim=1.0),
    sequential("ours uvloop", "thriftpy2 blocking", aim=1.0),
)


def beside_peers(loop: str) -> tuple[Target, ...]:
    """Ours beside other libraries: on plain asyncio beside theirs without uvloop, on uvloop beside all."""
    ours = subject_on("ours", loop)
    suffix = "" if loop == "asyncio" else f", {loop}"

    def target(
        name: str,
        row: str,
        metric: str,
        *,
        most: float | None = None,
        least: float | None = None,
        unit: str,
        blocking: bool = False,
        limit: Expression | None = None,
    ) -> Target:
        better: Better = "lower" if least is None else "higher"
        return Target(
            name=name + suffix,
            row=row,
            ours=Metric(f"{ours}/{metric}"),
            limit=limit or Best(metric, better, uvloop=loop == "uvloop", blocking=blocking),
            better=better,
            must=most if least is None else least,
            unit=unit,
            measured_by="side_by_side",
        )

    latency, rate, cpu = "sequential 64 B/p50_us", "pipelined 64/calls_per_s", "pipelined 64/server_cpu_us"
    small, large = "echo 64 KiB/MB_per_s", "echo 1 MiB/MB_per_s"
    grpc = Metric(f"{subject_on('grpc.aio', loop)}/{rate}")
    sequential_row = SEQUENTIAL if loop == "asyncio" else SEQUENTIAL_UVLOOP
    return (
        target("sequential call / best asyncio peer", sequential_row, latency, most=0.5, unit="us"),
        target("64 in flight / best asyncio peer", INLINE, rate, least=4, unit="/s"),
        target("64 in flight / grpc.aio", INLINE, rate, least=50, unit="/s", limit=grpc),
        target("server CPU / best asyncio peer", SERVER_CPU, cpu, most=0.2, unit="us"),
        target("64 KiB echo / best peer", PAYLOADS, small, least=1, unit="MB/s", blocking=True),
        target("1 MiB echo / best peer", PAYLOADS, large, least=1, unit="MB/s", blocking=True),
    )


STARTS = (
    Target(
        name="start to first answer",
        row=START,
        ours=Metric("daemon/start/ms"),
        limit=Metric("bare process/start/ms"),
        better="lower",
        must=1.6,
        unit="ms",
    ),
    Target(
        name="idle RSS", row=START, ours=Metric("daemon/idle/rss_mib"), limit=None, better="lower", must=25, unit="MiB"
    ),
    Target(
        name="start to first answer, uvloop",
        row=START,
        ours=Metric("daemon uvloop/start/ms"),
        limit=Metric("bare process/start/ms"),
        better="lower",
        aim=1.6,
        unit="ms",
    ),
    Target(
        name="idle RSS, uvloop",
        row=START,
        ours=Metric("daemon uvloop/idle/rss_mib"),
        limit=None,
        better="lower",
        aim=25,
        unit="MiB",
    ),
)


def in_guests(loop: str) -> tuple[Target, ...]:
    """A call and a file read in a real guest and beside qemu-ga, on an event loop at both ends.

    qemu-ga's file read comes twice: by the most that one guest-file-read gives, and by 1 MiB at a time, its fastest.
    """

    def target(
        name: str, row: str, workload: str, limit: str, *, must: float | None = None, aim: float | None = None
    ) -> Target:
        reads = "file read" in workload
        statistic = "MB_per_s" if reads else "p50_us"
        return Target(
            name=name if loop == "asyncio" else f"{name}, {loop}",
            row=row,
            ours=Metric(f"{subject_on('ours', loop)}/{workload}/{statistic}"),
            limit=Metric(f"{limit}/{statistic}"),
            better="higher" if reads else "lower",
            must=must,
            aim=aim,
            unit="MB/s" if reads else "us",
            measured_by="guest",
        )

    return (
        target("guest, ping / channel's echo", GUEST, "guest ping", "guest channel echo/guest ping", must=2.5),
        target("guest, file read / raw port", GUEST, "guest file read", "guest channel/guest file read", aim=0.6),
        target("ping / qemu-ga", QEMU_GA, "ping one CPU", "qemu-ga/ping one CPU", must=1.0),
        target("file read / qemu-ga", QEMU_GA, "file read", "qemu-ga/file read", must=10),
        target("file read / qemu-ga by 1 MiB", QEMU_GA, "file read", "qemu-ga/file read 1 MiB", aim=10),
    )


TARGETS = (
    *SEQUENTIAL_CALLS,
    *on_loop("asyncio"),
    *on_loop("uvloop"),
    *STARTS,
    *beside_peers("asyncio"),
    *beside_peers("uvloop"),
    *in_guests("asyncio"),
    *in_guests("uvloop"),
)
"""All of them, in the order in which they are shown."""
