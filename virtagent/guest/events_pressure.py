"""Events of pressure: the kernel tells when tasks waited too long (Documentation/accounting/psi.rst)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack

from virtagent.errors import Unavailable
from virtagent.guest.configuration import PressureTrigger
from virtagent.guest.event_sources import Source
from virtagent.guest.priority_poll import PriorityPoll

__all__ = ["DIRECTORY", "parse_pressure", "watch_pressure"]

DIRECTORY = "/proc/pressure"


def parse_pressure(text: str, kind: str) -> dict[str, float]:
    """The numbers of one line: ``some avg10=0.00 avg60=0.00 avg300=0.00 total=0``; total in seconds.

    Raises:
        ValueError: there is no such line, or it holds something else.
    """
    for line in text.splitlines():
        name, *pairs = line.split()
        if name == kind:
            found = {key: float(value) for key, _, value in (pair.partition("=") for pair in pairs)}
            return {"avg10": found["avg10"], "avg60": found["avg60"], "total": found["total"] / 1e6}
    raise ValueError(f"no line {kind!r}")


async def watch_pressure(source: Source, directory: str = DIRECTORY) -> None:
    """Publish ``pressure.*`` whenever a threshold of the configuration is crossed."""
    triggers = source.resources.configuration.events.pressure
    if not triggers:
        raise Unavailable("no thresholds are configured: write [[events.pressure]] in agent.toml")
    with ExitStack() as stack:
        opened = _open_all(triggers, directory, stack)
        before = {each: _read(each, trigger)["total"] for each, trigger in opened.items()}
        async with PriorityPoll(opened) as poll:
            source.ready()
            while True:
                descriptor, broken = await poll.next()
                trigger = opened[descriptor]
                if broken:
                    raise OSError(f"the kernel no longer watches {trigger.resource}")
                told = _read(descriptor, trigger)
                # A trigger without CAP_SYS_RESOURCE begins with all that was lost since boot (psi_trigger_create sets
                # it to the total of the other kind of triggers): the kernel's first words would always be wrong.
                if told["total"] - before[descriptor] < trigger.stall:
                    continue
                before[descriptor] = told["total"]
                source.publish(
                    f"pressure.{trigger.resource}",
                    kind=trigger.kind,
                    stall=trigger.stall,
                    window=trigger.window,
                    **told,
                )


def _read(descriptor: int, trigger: PressureTrigger) -> dict[str, float]:
    return parse_pressure(os.pread(descriptor, 4096, 0).decode("ascii"), trigger.kind)


def _open_all(triggers: Sequence[PressureTrigger], directory: str, stack: ExitStack) -> dict[int, PressureTrigger]:
    """The trigger of each descriptor.

    Raises:
        Unavailable: the kernel takes none of them.
    """
    opened, refused = {}, ""
    for trigger in triggers:
        path = os.path.join(directory, trigger.resource)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            refused = "the kernel has no pressure stall information: it needs CONFIG_PSI, and psi=1 where that is off"
            continue
        except OSError as error:
            refused = f"{path}: {error.strerror}; it needs psi=1 on the kernel's command line, or CAP_SYS_RESOURCE"
            continue
        stack.callback(os.close, descriptor)
        told = f"{trigger.kind} {round(trigger.stall * 1e6)} {round(trigger.window * 1e6)}\0"
        try:
            os.write(descriptor, told.encode("ascii"))
        except OSError as error:
            hint = "without CAP_SYS_RESOURCE a window has a multiple of 2 seconds"
            refused = f"{path} does not take {told[:-1]!r}: {error.strerror}; {hint}"
            continue
        opened[descriptor] = trigger
    if not opened:
        raise Unavailable(refused)
    return opened
