"""vsock: addresses and errors. Connections are tested inside a guest; nothing here dials anybody."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from virtagent.errors import ChannelBusy, ChannelError, ChannelUnavailable, UrlError
from virtagent.testing.transports import StreamRecorder
from virtagent_transports import ChannelUrl, connect, vsock


@pytest.mark.parametrize(
    ("text", "address"),
    [("any:1024", (0xFFFFFFFF, 1024)), ("local:1", (1, 1)), ("host:7000", (2, 7000)), ("42:0", (42, 0))],
)
def test_addresses(text: str, address: tuple[int, int]) -> None:
    assert vsock._address(ChannelUrl.parse(f"vsock:{text}")) == address


async def test_any_is_no_address_to_connect_to() -> None:
    with pytest.raises(UrlError, match="any is for listening"):
        await connect("vsock:any:7000", StreamRecorder)


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.EAFNOSUPPORT, ChannelUnavailable, "modprobe vsock"),
        (errno.ENODEV, ChannelUnavailable, "vhost-vsock-pci"),
        (errno.ECONNRESET, ChannelUnavailable, "nobody listens on that port"),
        (errno.ETIMEDOUT, ChannelUnavailable, "guest-cid"),
        (errno.EADDRINUSE, ChannelBusy, "choose another one"),
        (errno.EADDRNOTAVAIL, ChannelUnavailable, "listen on any"),
        (errno.EACCES, ChannelUnavailable, "choose a higher port"),
        (errno.EIO, ChannelUnavailable, "Input/output error"),
    ],
)
def test_errors_say_what_to_do(number: int, kind: type[ChannelError], words: str) -> None:
    error = vsock._problem(ChannelUrl.parse("vsock:3:7000"), "connect to", OSError(number, os.strerror(number)))
    assert type(error) is kind
    assert words in str(error)
    assert "\n" not in str(error)


def test_a_kernel_without_vsock_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> socket.socket:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", refuse)
        with pytest.raises(ChannelUnavailable, match="this kernel has no vsock"):
            vsock._new_socket(ChannelUrl.parse("vsock:any:7000"))
