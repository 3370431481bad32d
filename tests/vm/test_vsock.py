"""vsock, both ends inside one guest over its loopback (CID 1): this machine's own hypervisor is never dialled."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.conftest import MachineFactory, Stopwatch
from tests.vm.harness import Image, Machine

TALK = Path(__file__).with_name("guest") / "vsock_talk.py"


@pytest.fixture
async def vsock_guest(machine_factory: MachineFactory, agent_image: Image) -> Machine:
    return await machine_factory(image=agent_image.plus({"/root/vsock_talk": TALK}))


async def test_peers_call_both_ways_over_vsock(vsock_guest: Machine, stopwatch: Stopwatch) -> None:
    with stopwatch("both ends over vsock in the guest, Python's start included"):
        printed = await vsock_guest.shell("/root/vsock_talk 2>&1")
    assert printed.splitlines() == [
        "listening on vsock:any:5000",
        "answer 42, called back 42",
        "4194304 bytes there and back",
        "stream of 100 items",
        "goodbye: PeerGone stop",
        "nobody: cannot connect to vsock:local:5001: nobody listens on that port; start the server, or check the port",
    ]
