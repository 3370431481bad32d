"""Who is measured, and how each is used."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.peers.peer import ECHO, Loop, Peer, Subject

__all__ = ["PEERS", "subjects"]

BOTH: tuple[Loop, ...] = ("asyncio", "uvloop")
RPC = (*ECHO, "in flight")

PEERS = (
    Peer(
        "ours",
        "ours",
        BOTH,
        "virtagent.connect() and virtagent.listen(), call() by name; an inline handler, and a coroutine handler "
        "beside it; deadlines, limits and checks as they are by default",
        role="ours",
        workloads=(*RPC, "coroutine", "stream"),
    ),
    Peer(
        "bare echo",
        "bare_echo",
        BOTH,
        "a protocol that sends back what it gets, one message at a time; on each loop the kind that is quicker on it: "
        "BufferedProtocol on asyncio, Protocol on uvloop",
        role="limit",
        workloads=ECHO,
    ),
    Peer(
        "prototype",
        "prototype",
        BOTH,
        "BufferedProtocol, binary header, msgpack, inline handler, a future for each call; no features",
        role="limit",
        workloads=RPC,
    ),
    Peer(
        "C ping-pong",
        "c_ping_pong",
        ("C",),
        "a blocking C program, compiled when the run starts",
        role="limit",
        programs=("cc",),
        workloads=(*ECHO, "stream"),
    ),
    Peer(
        "raw copy",
        "raw_copy",
        BOTH,
        "a transport that writes, a protocol that counts",
        role="limit",
        workloads=("stream",),
    ),
    Peer(
        "multiprocessing.connection",
        "multiprocessing_connection",
        ("blocking",),
        "Listener and Client with pickled tuples (method, arguments); streams with send_bytes",
        workloads=(*RPC, "stream"),
    ),
    Peer(
        "thriftpy2 blocking",
        "thriftpy2_blocking",
        ("blocking",),
        "make_server and make_client (threads, blocking); one call at a time on a connection",
        distributions=("thriftpy2",),
        workloads=ECHO,
    ),
    Peer(
        "thriftpy2 asyncio",
        "thriftpy2_asyncio",
        BOTH,
        "thriftpy2.contrib.aio; one call at a time on a connection, so 64 in flight are 64 connections; without its "
        "limit of 3 s for the life of a connection",
        distributions=("thriftpy2",),
    ),
    Peer(
        "rpyc",
        "rpyc_service",
        ("blocking",),
        "ThreadedServer and unix_connect, async_() for calls in flight; compresses what is larger than 3,000 bytes, "
        "by default",
        distributions=("rpyc",),
    ),
    Peer(
        "zerorpc",
        "zerorpc_service",
        ("gevent",),
        "Server and Client over ipc://, async calls in flight, @zerorpc.stream",
        distributions=("zerorpc",),
        workloads=(*RPC, "stream"),
    ),
    Peer(
        "pyzmq",
        "pyzmq_asyncio",
        BOTH,
        "zmq.asyncio DEALER and ROUTER over ipc://, PUSH and PULL for the stream",
        distributions=("pyzmq",),
        workloads=(*RPC, "stream"),
    ),
    Peer(
        "pycapnp",
        "pycapnp_asyncio",
        ("asyncio",),  # on uvloop its server dies of a segmentation fault in every other run
        "TwoPartyServer and TwoPartyClient in capnp.run(), a schema file, a `-> stream` method from client to server; "
        "not on uvloop, where its server crashes",
        distributions=("pycapnp",),
        workloads=(*RPC, "stream"),
    ),
    Peer(
        "grpc.aio",
        "grpc_aio",
        BOTH,
        "generic handlers with raw bytes (no protobuf: less work than generated code), a server stream",
        distributions=("grpcio",),
        workloads=(*RPC, "stream"),
    ),
    Peer(
        "aiorpcX",
        "aiorpcx_session",
        BOTH,
        "serve_us and connect_us; JSON has no bytes, so the payload is text; session costs off and 64 "
        "concurrent requests",
        distributions=("aiorpcx",),
    ),
    Peer(
        "pynvim msgpack-RPC",
        "pynvim_session",
        ("own asyncio",),
        "socket_session, and a session of its classes on an accepted socket, since it has no listener; its "
        "greenlets for calls in flight; it makes an asyncio loop of its own, so no uvloop",
        distributions=("pynvim",),
    ),
    Peer(
        "dbus-fast",
        "dbus_fast_service",
        BOTH,
        "ServiceInterface and a proxy object on a private dbus-daemon",
        distributions=("dbus-fast",),
        programs=("dbus-daemon",),
        channel="unix socket, broker",
    ),
    Peer(
        "asyncssh",
        "asyncssh_channel",
        BOTH,
        "one encrypted session channel for all calls, answers in order; another for the stream",
        distributions=("asyncssh",),
        workloads=(*RPC, "stream"),
    ),
    Peer(
        "uvicorn + httpx",
        "uvicorn_httpx",
        BOTH,
        "a bare ASGI application on `uvicorn --uds` with httptools (uvicorn[standard]), httpx.AsyncClient over "
        "the socket",
        distributions=("uvicorn", "httptools", "httpx"),
        workloads=(*RPC, "stream"),
    ),
    Peer(
        "NATS",
        "nats_request",
        BOTH,
        "nats-py request and reply through Debian's nats-server; the stream in requests for 4 MiB, since core NATS has "
        "no flow control",
        distributions=("nats-py",),
        programs=("nats-server",),
        channel="TCP loopback, broker",
        workloads=(*RPC, "stream"),
    ),
)


def subjects(only: Iterable[str] = ()) -> list[Subject]:
    """All that a round measures.

    Args:
        only: names of peers or of subjects; none: all.

    Raises:
        ValueError: there is no such peer.
    """
    wanted = set(only)
    found = [Subject(peer, loop) for peer in PEERS for loop in peer.loops]
    known = {subject.name for subject in found} | {peer.name for peer in PEERS}
    if unknown := wanted - known:
        raise ValueError(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    return [each for each in found if not wanted or each.name in wanted or each.peer.name in wanted]
