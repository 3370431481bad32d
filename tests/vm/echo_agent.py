#!/usr/bin/python3
"""A stdlib-only stand-in for an agent: sends back in capitals what comes on each device it is given."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import termios
import tty


def leave(*_: object) -> None:
    """Say on the console what a real agent would have to tell its peers: going down for reboot or power off?"""
    level = subprocess.run(["runlevel"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"echo: SIGTERM at runlevel {level}", flush=True)
    sys.exit(0)


signal.signal(signal.SIGTERM, leave)
unsent: dict[int, bytes] = {}


def echo(device: int) -> None:
    """Send back until a read or a write would block, which raises BlockingIOError.

    Data may come before the port knows that a host is there, and until then it takes none: it waits for the next edge.
    """
    while data := unsent.pop(device, b"") or os.read(device, 4096).upper():
        unsent[device] = data
        if rest := data[os.write(device, data) :]:
            unsent[device] = rest
        else:
            del unsent[device]


events = select.epoll()
for path in sys.argv[1:]:
    device = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    if os.isatty(device):
        tty.setraw(device, termios.TCSANOW)
    # edge-triggered: a virtio port without a host polls readable for ever
    events.register(device, select.EPOLLIN | select.EPOLLOUT | select.EPOLLHUP | select.EPOLLET)
print("echo: ready", flush=True)
while True:
    for device, _ in events.poll():
        with contextlib.suppress(BlockingIOError):
            echo(device)
