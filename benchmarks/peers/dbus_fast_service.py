"""dbus-fast: a service and a proxy object on a private ``dbus-daemon``."""

import asyncio
import subprocess
from typing import Any

from dbus_fast.aio import MessageBus
from dbus_fast.service import ServiceInterface, dbus_method

from benchmarks.peers.peer import Ready

__all__ = ["connect", "serve"]

NAME, PATH = "org.virtagent.Echo", "/org/virtagent/Echo"

CONFIGURATION = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={path}</listen>
  <policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>
</busconfig>
"""


class Echo(ServiceInterface):
    @dbus_method()
    def Echo(self, payload: "ay") -> "ay":  # type: ignore[name-defined]  # noqa: F821, N802 - D-Bus signatures and names
        return payload


def start_bus(address: str) -> int:
    """Start a bus of our own at a path; its process id."""
    configuration = f"{address}.conf"
    with open(configuration, "w") as file:
        file.write(CONFIGURATION.format(path=address))
    arguments = ["dbus-daemon", "--nofork", "--print-address=1", f"--config-file={configuration}"]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE)
    assert process.stdout is not None
    if not process.stdout.readline():
        raise RuntimeError("dbus-daemon did not start")
    return process.pid


async def serve(address: str, ready: Ready) -> None:
    broker = await asyncio.to_thread(start_bus, address)
    bus = await MessageBus(bus_address=f"unix:path={address}").connect()
    bus.export(PATH, Echo(NAME))
    await bus.request_name(NAME)
    ready(brokers=(broker,))
    await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]


class Client:
    def __init__(self, bus: Any, interface: Any) -> None:
        self.bus = bus
        self.call = interface.call_echo

    async def close(self) -> None:
        self.bus.disconnect()


async def connect(address: str) -> Client:
    bus = await MessageBus(bus_address=f"unix:path={address}").connect()
    introspection = await bus.introspect(NAME, PATH)
    return Client(bus, bus.get_proxy_object(NAME, PATH, introspection).get_interface(NAME))
