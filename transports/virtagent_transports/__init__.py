"""Byte channels by URL: a transport here is a function from a URL to a connected asyncio transport, or a listener.

::

    unix:/run/vm.sock   tcp:127.0.0.1:7000   tls:host:7000?ca=...   vsock:any:7000   stdio:
    virtio:org.virtagent.0   serial:/dev/ttyS1?baud=115200   exec:ssh host virtagentd --stdio

Third parties add a scheme by installing a package with an entry point in the group ``virtagent.transports``
(:mod:`virtagent_transports.registry` tells what it must offer). Importing this package loads neither asyncio,
ssl nor pyserial; a scheme's module is loaded when a URL of that scheme is first parsed.
"""

from __future__ import annotations

from .credentials import Credentials, peer_credentials
from .facts import ChannelFacts
from .listener import Listener
from .registry import can_listen, connect, listen, schemes
from .url import ChannelUrl

__all__ = [
    "ChannelFacts",
    "ChannelUrl",
    "Credentials",
    "Listener",
    "can_listen",
    "connect",
    "listen",
    "peer_credentials",
    "schemes",
]
