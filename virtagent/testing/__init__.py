"""The public test kit: channels in memory, channels with faults, virtual time, and checks for transports."""

from __future__ import annotations

from virtagent.testing.clock import FakeClock, NothingWillHappen, VirtualTimeLoop, run_in_virtual_time
from virtagent.testing.faulty import Faults, FaultyPair, FaultyWire, faulty_pair
from virtagent.testing.memory import MemoryPair, MemoryTransport, Wire, memory_pair, peer_pair
from virtagent.testing.transports import check_transport, url_pair

__all__ = [
    "FakeClock",
    "Faults",
    "FaultyPair",
    "FaultyWire",
    "MemoryPair",
    "MemoryTransport",
    "NothingWillHappen",
    "VirtualTimeLoop",
    "Wire",
    "check_transport",
    "faulty_pair",
    "memory_pair",
    "peer_pair",
    "run_in_virtual_time",
    "url_pair",
]
