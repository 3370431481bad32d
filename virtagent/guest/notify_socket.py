"""Telling the service manager how this process is (sd_notify(3)), without its library."""

from __future__ import annotations

import logging
import os
import socket

__all__ = ["notify_manager"]

log = logging.getLogger("virtagent.daemon")


def notify_manager(*assignments: str) -> bool:
    """Send ``READY=1`` and the like to ``$NOTIFY_SOCKET``; whether there was one that took it. Never raises."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sender:
            sender.connect("\0" + address[1:] if address.startswith("@") else address)
            sender.send("\n".join(assignments).encode())
    except OSError as error:
        log.debug("the service manager could not be told %s: %s", assignments[0], error)
        return False
    return True
