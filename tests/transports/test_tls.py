"""TLS: both sides prove who they are, and every failure says which side and what to do."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from virtagent.errors import ChannelUnavailable, UrlError
from virtagent.testing.transports import StreamRecorder
from virtagent_transports import ChannelFacts, connect, listen
from virtagent_transports.tls import explain, peer_certificate_name

from .certificates import Authority
from .support import lost


class Server:
    """Keeps what it accepted."""

    def __init__(self) -> None:
        self.accepted: list[StreamRecorder] = []

    def __call__(self, facts: ChannelFacts) -> StreamRecorder:
        self.accepted.append(StreamRecorder(facts))
        return self.accepted[-1]


async def test_both_sides_know_each_others_name(authority: Authority) -> None:
    server = Server()
    async with await listen(f"tls:127.0.0.1:0?{authority.options('guest')}", server) as listener:
        target = listener.url.target
        transport, protocol = await connect(f"tls:{target}?{authority.options('host')}&name=guest.test", StreamRecorder)
        assert isinstance(protocol, StreamRecorder)
        transport.write(b"x")
        await server.accepted[0].until(lambda: bool(server.accepted[0].received), "arrival", 5)
        assert server.accepted[0].transport is not None
        assert peer_certificate_name(server.accepted[0].transport) == "host"
        assert peer_certificate_name(transport) == "guest"
        assert transport.get_extra_info("ssl_object").version() == "TLSv1.3"
        transport.close()
        await lost(protocol)
        await lost(server.accepted[0])


async def test_a_client_without_a_certificate_never_reaches_the_protocol(authority: Authority) -> None:
    server = Server()
    async with await listen(f"tls:127.0.0.1:0?{authority.options('guest')}", server) as listener:
        _, protocol = await connect(f"tls:{listener.url.target}?ca={authority.ca}", StreamRecorder)
        error = await lost(protocol)
    assert not [each for each in server.accepted if each.calls]
    if error is not None:
        assert "the peer requires a certificate of ours; add cert=FILE" in explain(error) or isinstance(
            error, ConnectionError
        )


async def test_a_client_may_come_without_a_certificate_where_the_listener_says_so(authority: Authority) -> None:
    cert, key = authority.issue("guest")
    server = Server()
    async with await listen(f"tls:127.0.0.1:0?cert={cert}&key={key}&client=none", server) as listener:
        transport, protocol = await connect(f"tls:{listener.url.target}?ca={authority.ca}", StreamRecorder)
        assert isinstance(protocol, StreamRecorder)
        transport.write(b"x")
        await server.accepted[0].until(lambda: bool(server.accepted[0].received), "arrival", 5)
        assert server.accepted[0].transport is not None
        assert peer_certificate_name(server.accepted[0].transport) is None
        transport.close()
        await lost(protocol)
        await lost(server.accepted[0])


@pytest.mark.parametrize(
    ("expired", "extra", "words"),
    [
        (True, "", "the peer's certificate has expired; renew it there"),
        (False, "&name=other.test", "set name= to the name in the peer's certificate"),
        (False, "&ca={other}", "not from the authority in ca="),
    ],
)
async def test_a_server_that_is_not_trusted_is_refused_with_the_reason(
    authority: Authority, tmp_path: Path, expired: bool, extra: str, words: str
) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other", "another authority")
    options = f"ca={authority.ca}{extra}" if "ca=" not in extra else extra[1:].format(other=other.ca)
    server = authority.options("guest", expired=expired)
    async with await listen(f"tls:127.0.0.1:0?{server}", StreamRecorder) as listener:
        with pytest.raises(ChannelUnavailable, match=words) as caught:
            await connect(f"tls:{listener.url.target}?{options}", StreamRecorder)
        assert "\n" not in str(caught.value)
        await asyncio.sleep(0)


async def test_a_peer_that_speaks_no_tls_is_reported(authority: Authority) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        with pytest.raises(ChannelUnavailable, match="TLS"):
            await connect(f"tls:127.0.0.1:{port}?ca={authority.ca}", StreamRecorder)
    finally:
        server.close()
        await asyncio.sleep(0)


async def test_bad_files_are_named(authority: Authority, tmp_path: Path) -> None:
    cert, _ = authority.issue("one")
    _, foreign = authority.issue("two")
    _, locked = authority.issue("three", password=b"secret")
    text = tmp_path / "text"
    text.write_text("hello")
    for options, words in (
        ("", "add cert=FILE and key=FILE"),
        (f"cert={tmp_path}/none&key={foreign}", "cert=.*none cannot be read: No such file"),
        (f"cert={cert}&key={foreign}", "does not belong to cert="),
        (f"cert={cert}&key={locked}", "is encrypted"),
        (f"cert={text}&key={foreign}", "must be PEM files"),
        (f"cert={cert}&key={text}", "must be PEM files"),
        (f"{authority.options('four').replace(str(authority.ca), str(text))}", "ca=.* is not a PEM file"),
        (f"cert={authority.issue('five')[0]}&key={authority.directory}/five.key", "add ca=FILE, or client=none"),
    ):
        with pytest.raises(UrlError, match=words):
            await listen(f"tls:127.0.0.1:0?{options}", StreamRecorder)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "the peer requires a certificate of ours"),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "the peer refused our certificate"),
        ("TLSV1_ALERT_UNKNOWN_CA", "the peer refused our certificate"),
        ("TLSV1_ALERT_PROTOCOL_VERSION", "this side needs TLS 1.3"),
        ("WRONG_VERSION_NUMBER", "no common TLS version"),
        ("RECORD_LAYER_FAILURE", "check that the peer speaks TLS"),
    ],
)
def test_tls_errors_are_explained(reason: str, words: str) -> None:
    error = ssl.SSLError(1, reason)
    error.reason = reason
    assert words in explain(error)
