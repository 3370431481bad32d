"""``unix:/path`` and ``unix:@abstract``: stream sockets of the same machine, and QEMU's socket chardevs.

Options to listen: ``mode`` (octal, default 0600) and ``group`` (name or number) of the socket file. To connect:
``chardev=virtio`` or ``chardev=serial`` tells that QEMU holds the socket for a device of a guest. The facts are
those of the device then: bytes of an earlier session may come, and the guest's end is not noticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import functools
import os
import socket
import stat
from collections.abc import AsyncIterator

from virtagent.errors import ChannelBusy, ChannelError, ChannelUnavailable, UrlError

from .facts import ChannelFacts, ProtocolFactory
from .holders import access_remedy, reason
from .listener import Listener, ServerListener
from .socket_transport import accepting, connected
from .sockets import Connected, connect_socket
from .url import ChannelUrl

__all__ = ["OPTIONS", "PATH_TARGET", "check", "connect", "listen"]

OPTIONS = frozenset({"chardev", "group", "mode"})
PATH_TARGET = True

MAX_PATH = 107
"""Bytes of a path, beside its final NUL, in the kernel's sun_path (unix(7))."""

BACKLOG = 128
BACKLOG_TRIES = 50
"""QEMU takes one client at a time and is slow to accept the next: those that hang up at once fill its backlog for some
milliseconds. With 10 ms between the tries this is half a second; a program that holds the channel does so longer."""

LOCK_TRIES = 100
"""Others hold the lock for less than a millisecond; with 10 ms between the tries this is a second."""


def check(url: ChannelUrl) -> None:
    """Refuse what cannot be a socket's address."""
    if url.target in ("", "@"):
        raise UrlError("unix: needs a path: write unix:/run/agent.sock, or unix:@name for an abstract socket")
    if len(os.fsencode(url.target)) > MAX_PATH:
        raise UrlError(f"{url} is too long: a Unix socket's path has at most {MAX_PATH} bytes; use a shorter directory")
    url.number("mode", 0o600, low=0, high=0o777, base=8)
    url.choice("chardev", "no", ("no", "serial", "virtio"))


async def connect(url: ChannelUrl, protocol_factory: ProtocolFactory) -> Connected:
    """Connect; see :func:`virtagent_transports.connect`."""
    protocol = protocol_factory(_facts(url, connecting=True))
    sock = _new_socket()
    try:
        await _connect_in_turn(sock, _address(url))
    except OSError as error:
        sock.close()
        raise _refusal(url, error) from error
    except BaseException:
        sock.close()
        raise
    return await connected(protocol, sock)


async def _connect_in_turn(sock: socket.socket, address: str) -> None:
    """Connect, and wait a little for a place in the backlog."""
    for _ in range(BACKLOG_TRIES):
        with contextlib.suppress(BlockingIOError):
            await connect_socket(sock, address)
            return
        await asyncio.sleep(0.01)
    await connect_socket(sock, address)


async def listen(url: ChannelUrl, protocol_factory: ProtocolFactory) -> Listener:
    """Listen on a socket that nobody else can reach before its mode and group are as asked.

    The file of a server that died is replaced; that of a live one is not.
    """
    path = url.target
    facts = _facts(url, connecting=False)
    sock = _new_socket()
    try:
        if path.startswith("@"):
            _bind(url, sock)
            sock.listen(BACKLOG)
            before_close = None
        else:
            async with _directory_lock(path):
                _remove_dead(url)
                # The inode gets its mode from the socket's: private from birth, whatever the umask (unix(7), Linux).
                os.fchmod(sock.fileno(), 0o600)
                _bind(url, sock)
                info = os.lstat(path)
                before_close = functools.partial(_unlink_own, path, (info.st_dev, info.st_ino))
                try:
                    _give_access(url)
                except BaseException:
                    before_close()
                    raise
                sock.listen(BACKLOG)  # under the lock: bound but not listening looks like a dead server's
        server = await accepting(functools.partial(protocol_factory, facts), sock)
    except BaseException:
        sock.close()
        raise
    return ServerListener(server, url, before_close)


@functools.lru_cache(maxsize=64)
def _facts(url: ChannelUrl, *, connecting: bool) -> ChannelFacts:
    chardev = url.options.get("chardev", "no") if connecting else "no"
    device = chardev != "no"
    return ChannelFacts(
        scheme="unix",
        name=url.redacted(),
        lossless=chardev != "serial",
        stale=device,
        tells_disconnect=not device,
        exclusive=device,
        connecting=connecting,
    )


def _new_socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


def _address(url: ChannelUrl) -> str:
    return "\0" + url.target[1:] if url.target.startswith("@") else url.target


def _refusal(url: ChannelUrl, error: OSError) -> ChannelError:
    start = f"cannot connect to {url.redacted()}"
    match error.errno:
        case errno.ENOENT:
            text = "there is no such socket; start the server, or check the path"
        case errno.ECONNREFUSED:
            text = "nobody listens there (a dead server's socket?); start the server"
        case errno.EACCES | errno.EPERM:
            text = f"no permission: {access_remedy(url.target)}"
        case errno.EAGAIN:
            return ChannelBusy(f"{start}: another program holds the channel (the backlog is full); stop that one first")
        case errno.ENOTSOCK | errno.EPROTOTYPE:
            text = "that is no stream socket; check the path"
        case _:
            text = reason(error)
    return ChannelUnavailable(f"{start}: {text}")


def _bind(url: ChannelUrl, sock: socket.socket) -> None:
    try:
        sock.bind(_address(url))
    except OSError as error:
        start = f"cannot listen on {url.redacted()}"
        if error.errno == errno.EADDRINUSE:
            raise ChannelBusy(f"{start}: another program listens there; stop it, or choose another name") from error
        raise ChannelUnavailable(f"{start}: {_place_problem(url.target, error)}") from error


def _place_problem(path: str, error: OSError) -> str:
    directory = os.path.dirname(path) or "."
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"there is no directory {directory}; create it first"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"no permission: {access_remedy(directory)}"
    return reason(error)


@contextlib.asynccontextmanager
async def _directory_lock(path: str) -> AsyncIterator[None]:
    """Keep other servers of ours from replacing sockets in the same directory; no lock file stays behind."""
    try:
        fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ChannelUnavailable(f"cannot listen on unix:{path}: {_place_problem(path, error)}") from error
    try:
        for _ in range(LOCK_TRIES):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            await asyncio.sleep(0.01)
        else:
            raise ChannelBusy(f"cannot listen on unix:{path}: some program keeps its directory locked (see lslocks)")
        yield
    finally:
        os.close(fd)


def _remove_dead(url: ChannelUrl) -> None:
    path = url.target
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise ChannelUnavailable(f"cannot listen on {url.redacted()}: {_place_problem(path, error)}") from error
    if not stat.S_ISSOCK(kind):
        raise ChannelUnavailable(f"cannot listen on {url.redacted()}: the file there is no socket; move it away")
    with _new_socket() as probe:
        match probe.connect_ex(path):
            case errno.ECONNREFUSED:
                try:
                    os.unlink(path)
                except OSError as error:
                    problem = _place_problem(path, error)
                    raise ChannelUnavailable(f"cannot replace the dead socket {url.redacted()}: {problem}") from error
            case errno.ENOENT:
                pass
            case errno.EACCES | errno.EPERM:
                raise ChannelBusy(f"cannot listen on {url.redacted()}: {access_remedy(path)}")
            case _:
                raise ChannelBusy(f"cannot listen on {url.redacted()}: a server already listens there; stop it first")


def _give_access(url: ChannelUrl) -> None:
    path, group = url.target, url.options.get("group")
    if group is not None:
        import grp  # noqa: PLC0415 - only for this option

        try:
            number = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
            os.chown(path, -1, number, follow_symlinks=False)
        except KeyError:
            raise UrlError(f"there is no group {group!r} for {url}; create it (groupadd {group})") from None
        except OSError as error:
            raise ChannelUnavailable(
                f"cannot give {path} to group {group}: {reason(error)}; run as a member of that group, or as root"
            ) from error
    mode = url.number("mode", 0o600, low=0, high=0o777, base=8)
    if mode != 0o600:
        os.chmod(path, mode)


def _unlink_own(path: str, identity: tuple[int, int]) -> None:
    with contextlib.suppress(OSError):
        info = os.lstat(path)
        if (info.st_dev, info.st_ino) == identity:
            os.unlink(path)
