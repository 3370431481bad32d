"""Measurements of agents: in a real guest over virtio-serial, and beside Debian's qemu-ga on unix sockets."""

from benchmarks.guest.session import Session, session

__all__ = ["Session", "session"]
