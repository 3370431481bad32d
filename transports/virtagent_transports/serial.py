"""``serial:/dev/ttyS1?baud=115200``: a UART, a USB adapter, or a pty that stands in for one.

Options: ``baud`` (default 115200), ``bytesize`` (5 to 8), ``parity`` (none, even, odd, mark, space), ``stopbits``
(1, 1.5, 2), ``rtscts``, ``xonxoff`` (yes, no), ``exclusive`` (yes, no; default yes).

The line is opened by pyserial, and the transport is a ``serial_asyncio.SerialTransport`` to those who look for one;
its input and output paths are replaced by :class:`~virtagent_transports.fd_transport.FdTransport`, because those of
pyserial-asyncio 0.6 block the loop on close (tcdrain), copy a long queue again on every wake-up, read 1 KiB at a
time through select() (which fails from fd 1024 on), and know no ``BufferedProtocol``.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import stat
import struct
import termios
from typing import Any, ClassVar

import serial
import serial_asyncio

from virtagent.errors import ChannelBusy, ChannelError, ChannelUnavailable, UrlError

from .facts import ChannelFacts, ProtocolFactory
from .fd_transport import FdTransport
from .holders import access_remedy, holder_of, reason
from .sockets import Connected
from .url import ChannelUrl

__all__ = ["OPTIONS", "PATH_TARGET", "SerialTransport", "check", "connect"]

OPTIONS = frozenset({"baud", "bytesize", "exclusive", "parity", "rtscts", "stopbits", "xonxoff"})
PATH_TARGET = True

DRAIN_POLL = 0.01
"""Seconds. No event tells that a UART has sent all; a tenth of a screen refresh is quick enough for a close."""

PTY_MAJORS = range(136, 144)
"""Device numbers of pty slaves (Documentation/admin-guide/devices.txt)."""

_PARITY = {"even": "E", "mark": "M", "none": "N", "odd": "O", "space": "S"}
_STOPBITS = {"1": 1.0, "1.5": 1.5, "2": 2.0}


def check(url: ChannelUrl) -> None:
    """Refuse a missing path and line settings that no UART has."""
    if not url.target:
        raise UrlError("serial: needs a device: write serial:/dev/ttyS1?baud=115200")
    _settings(url)


async def connect(url: ChannelUrl, protocol_factory: ProtocolFactory) -> Connected:
    """Open the line; see :func:`virtagent_transports.connect`. Input that came before is discarded by the kernel."""
    port = _open(url)
    try:
        protocol = protocol_factory(_facts(url))
        transport = SerialTransport(asyncio.get_running_loop(), protocol, port, url.redacted())
    except BaseException:
        port.close()
        raise
    transport.start()
    return transport, protocol


class SerialTransport(FdTransport, serial_asyncio.SerialTransport):  # type: ignore[misc]  # untyped base
    """A ``serial_asyncio.SerialTransport`` whose bytes take the way of :class:`FdTransport`.

    ``close`` waits for the UART to send, without blocking the loop, as long as it makes progress; ``abort``
    discards what is queued, here and in the kernel.
    """

    stall_limit: ClassVar[float] = 2.0

    def __init__(
        self, loop: asyncio.AbstractEventLoop, protocol: asyncio.BaseProtocol, port: serial.Serial, name: str
    ) -> None:
        self._serial = port
        self._name = name
        self._unsent = 0
        self._drain: asyncio.TimerHandle | None = None
        FdTransport.__init__(self, loop, protocol, port.fd, port.fd, extra={"serial": port})

    def _read_failed(self, error: OSError) -> None:
        self._hung_up(error)

    def _end_of_input(self) -> None:
        self._hung_up(None)

    def _hung_up(self, cause: OSError | None) -> None:
        lost = ChannelUnavailable(f"{self._name} hung up: the adapter was unplugged, or the pty's other end closed")
        lost.__cause__ = cause
        self._lose(lost)

    def flush(self) -> None:
        """Drop what is queued (pyserial-asyncio's meaning of the word)."""
        self._queue.clear()
        self._unwatch_writes()
        self._resume_protocol()

    def _drained(self) -> None:
        # close(2) of a UART blocks the whole loop for up to 30 s (closing_wait) while output is pending in the kernel.
        unsent = _output_pending(self._serial.fd)
        if not unsent:
            self._lose(None)
            return
        if unsent != self._unsent:
            self._unsent = unsent
            self._watch_stall()
        self._drain = self._loop.call_later(DRAIN_POLL, self._drained)

    def _release(self) -> None:
        if self._drain is not None:
            self._drain.cancel()
        fd = self._serial.fd
        with contextlib.suppress(OSError, termios.error):
            if _output_pending(fd) or self._aborted:
                termios.tcflush(fd, termios.TCOFLUSH)
        with contextlib.suppress(OSError):
            fcntl.ioctl(fd, termios.TIOCNXCL)
        self._serial.close()

    _aborted = False

    def abort(self) -> None:
        self._aborted = True
        super().abort()


def _facts(url: ChannelUrl) -> ChannelFacts:
    settings = _settings(url)
    bits = 1 + settings["bytesize"] + (settings["parity"] != "N") + settings["stopbits"]
    return ChannelFacts(
        scheme="serial",
        name=url.redacted(),
        lossless=False,
        stale=True,
        tells_disconnect=False,
        speaks_first=True,
        line_rate=int(settings["baudrate"] / bits),
        exclusive=settings["exclusive"],
    )


def _settings(url: ChannelUrl) -> dict[str, Any]:
    return {
        "baudrate": url.number("baud", 115200, low=50, high=20_000_000),
        "bytesize": url.number("bytesize", 8, low=5, high=8),
        "parity": _PARITY[url.choice("parity", "none", _PARITY)],
        "stopbits": _STOPBITS[url.choice("stopbits", "1", _STOPBITS)],
        "rtscts": url.flag("rtscts"),
        "xonxoff": url.flag("xonxoff"),
        "exclusive": url.flag("exclusive", True),
    }


def _open(url: ChannelUrl) -> serial.Serial:
    settings = _settings(url)
    # exclusive=False would *unlock*; None leaves the lock alone.
    settings["exclusive"] = settings["exclusive"] or None
    try:
        port = serial.Serial(url.target, timeout=0, write_timeout=0, **settings)
    except (OSError, termios.error) as error:  # SerialException is an OSError
        raise _problem(url, error) from error
    except ValueError as error:
        raise UrlError(
            f"{url}: {url.target} refuses these line settings ({error}); choose a usual baud rate"
        ) from error
    try:
        _finish_raw_mode(port.fd)
        if settings["exclusive"]:
            _keep_others_out(port.fd)
    except (OSError, termios.error) as error:
        port.close()
        raise _problem(url, error) from error
    return port


def _finish_raw_mode(fd: int) -> None:
    """Ignore breaks: pyserial leaves BRKINT on, with which a break (a cable pulled) flushes both queues."""
    attributes = termios.tcgetattr(fd)
    attributes[0] = (attributes[0] | termios.IGNBRK) & ~(termios.BRKINT | termios.IMAXBEL)
    termios.tcsetattr(fd, termios.TCSANOW, attributes)


def _keep_others_out(fd: int) -> None:
    """Add TIOCEXCL to the lock: it keeps out programs that do not lock, root's excepted (ioctl_tty(2)).

    Not on a pty: the mark would outlive a program that was killed for as long as the master is open.
    """
    info = os.fstat(fd)
    if stat.S_ISCHR(info.st_mode) and os.major(info.st_rdev) not in PTY_MAJORS:
        with contextlib.suppress(OSError):
            fcntl.ioctl(fd, termios.TIOCEXCL)


def _output_pending(fd: int) -> int:
    """Bytes that the kernel has not sent yet; 0 where the device does not tell, or is gone."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)))[0])
    except OSError:
        return 0


def _problem(url: ChannelUrl, error: Exception) -> ChannelError:
    start = f"cannot open {url.redacted()}"
    number = error.args[0] if error.args and isinstance(error.args[0], int) else None
    match number:
        case errno.EBUSY | errno.EAGAIN:
            holder = holder_of(url.target)
            return ChannelBusy(f"{start}: {holder or 'another program'} holds it; stop that first", holder=holder)
        case errno.ENOENT:
            text = "there is no such device; check the path and the cable (ls /dev/tty*)"
        case errno.EACCES | errno.EPERM:
            text = f"no permission: {access_remedy(url.target)}"
        case errno.ENXIO | errno.ENODEV | errno.EIO:
            text = "there is no hardware behind that device; choose another one (dmesg | grep tty)"
        case errno.ENOTTY:
            text = "that is no serial line; check the path"
        case _:
            if "configure port" in str(error):
                text = "that is no serial line, or no hardware is behind it; choose another device"
            else:
                text = reason(error) if isinstance(error, OSError) else str(error)
    return ChannelUnavailable(f"{start}: {text}")
