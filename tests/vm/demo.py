"""A real guest boots, talks with its host both ways over two channels, and reboots: `make demo-vm`.

It takes half a minute. With `--stay` the guest is left running, with the URLs to connect to, until Ctrl-C.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.vm.harness import HarnessError, Machine, build_image, build_wheel
from tests.vm.talk import AGENT, AGENT_FILES, PORT, UART, Line, connected, url_of
from virtagent import PeerGone, PeerState, VirtagentError

BEGAN = perf_counter()


def say(text: str) -> None:
    """Print one line with the seconds since the start."""
    print(f"{perf_counter() - BEGAN:6.2f} s  {text}", flush=True)


async def main(*, stay: bool) -> None:
    """Boot, and show."""
    say("building a guest image: Debian's kernel, busybox, this Python, and virtagent's wheel")
    with tempfile.TemporaryDirectory() as scratch:
        image = build_image(build_wheel(Path(scratch)), extras=("cli",), add=AGENT_FILES)
    say("booting it under QEMU without KVM, with a virtio-serial port and a UART")
    async with AsyncExitStack() as stack:
        machine = await stack.enter_async_context(Machine(image, ports=(PORT,), agent=AGENT))
        await machine.booted()
        say("the kernel is up; virtagentd starts (Python's imports are slow under emulation)")
        virtio = await stack.enter_async_context(connected(url_of(machine, PORT)))
        say(f"virtio-serial: {virtio.guest.detail}")
        uart = await stack.enter_async_context(connected(url_of(machine, UART, told=True)))
        say(f"UART:          {uart.guest.detail}")
        if stay:
            say(f"connect to {virtio.guest.name} or {uart.guest.name}; Ctrl-C ends it")
            for line in (virtio, uart):
                await line.guest.aclose()
            await machine.exited(timeout=float("inf"))
            return
        await show(machine, virtio, uart)


async def show(machine: Machine, virtio: Line, uart: Line) -> None:
    """What the two sides can do for each other."""
    info = await virtio.guest.system.info()
    say(f"the guest is {info.os.pretty_name}, {info.kernel.name} {info.kernel.release}, up {info.uptime} s")
    for name, line in (("virtio-serial", virtio), ("UART", uart)):
        await line.guest.ping()
        say(f"ping over {name}: {await line.guest.ping() * 1000:.2f} ms")
    text = b"".join([piece async for piece in uart.guest.files.read("/proc/meminfo")]).decode()
    say(f"/proc/meminfo over the UART: {', '.join(line.strip() for line in text.splitlines()[:2])}, ...")
    records = [record async for record in virtio.guest.log.kernel()]
    for record in (*records[:2], records[-1]):
        say(f"its kernel said at {record.timestamp:.3f} s: {record.message.splitlines()[0][:80]}")
    for name, line in (("virtio-serial", virtio), ("UART", uart)):
        doubled = await line.guest.call("probe.relay", method="desk.double", params={"number": 21})
        say(f"the guest called back over {name}: desk.double(21) = {doubled}")
    await reboot(machine, virtio, uart)


async def reboot(machine: Machine, virtio: Line, uart: Line) -> None:
    """An orderly reboot, and the next session, which comes by itself."""
    held = await virtio.begin("probe.hold", "in flight")
    say("now `reboot` in the guest, with a call in flight, which is told at once")
    machine.tell("os.system('reboot')")
    try:
        await held
    except PeerGone as gone:
        say(f"the call failed: {gone} (reason: {gone.reason})")
    await uart.reaches(PeerState.GONE)
    say(f"UART: {uart.guest.detail}")
    say("waiting for the next boot; nothing is done here, both channels come back by themselves")
    for name, line in (("virtio-serial", virtio), ("UART", uart)):
        await line.next_session()
        say(f"{name}: {line.guest.detail}")
    again = await virtio.guest.system.info()
    say(
        f"the guest is up since {again.uptime} s; its last word before was {(await virtio.events.downs.get()).reason!r}"
    )
    say("done")


if __name__ == "__main__":
    try:
        asyncio.run(main(stay="--stay" in sys.argv[1:]))
    except KeyboardInterrupt:
        pass
    except (HarnessError, VirtagentError) as error:
        sys.exit(str(error))
