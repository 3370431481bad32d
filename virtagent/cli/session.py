"""Doing something with a guest: connecting, and what becomes of errors, Ctrl-C and readers that leave."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from virtagent.cli.failures import EXIT_INTERRUPTED, EXIT_OK, EXIT_PIPE, exit_code, explain
from virtagent.cli.lean import without_openssl
from virtagent.cli.output import complain
from virtagent.cli.target import Settings, Target, find_target
from virtagent.errors import VirtagentError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from virtagent.host.guest import Guest
    from virtagent.peer.connecting import ConnectingPeer
    from virtagent.service.service import Service

__all__ = ["finish", "run", "with_guest", "with_peer"]

CONNECT_TIMEOUT = 10.0


def run(
    settings: Settings,
    make: Callable[[Target], Coroutine[Any, Any, int | None]],
    *,
    loop_factory: Callable[[], AbstractEventLoop] | None = None,
) -> int:
    """Run a command to its end; its exit code.

    Args:
        make: makes the work for the guest that is meant.
        loop_factory: makes another event loop than asyncio's.
    """
    set_up_logging(verbose=settings.verbose)
    try:
        target = find_target(settings)
        if not target.url.startswith("tls:"):
            with without_openssl():
                import asyncio  # noqa: PLC0415 - see without_openssl
        import asyncio  # noqa: PLC0415

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(make(target)) or EXIT_OK
    except VirtagentError as error:
        complain(explain(error))
        return exit_code(error)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return EXIT_PIPE


def set_up_logging(*, verbose: bool) -> None:
    """An error is one line that we write: the log is for ``--verbose`` only."""
    if verbose:
        logging.basicConfig(level=logging.DEBUG, format="%(relativeCreated)6.0f ms %(name)s: %(message)s")
    else:
        logging.disable(logging.CRITICAL)


def with_guest(
    settings: Settings,
    work: Callable[[Guest], Awaitable[int | None]],
    *,
    services: Callable[[], Sequence[Service]] = tuple,
    wait: bool = False,
    timeout: float | None = CONNECT_TIMEOUT,
) -> int:
    """Connect with typed stubs and services (made inside the event loop), and do something."""

    async def connected(target: Target) -> int | None:
        from virtagent.host.connect import connect  # noqa: PLC0415 - loads the typed layer
        from virtagent.peer.options import PeerOptions  # noqa: PLC0415

        limit = settings.timeout or timeout
        connecting = connect(
            target.url,
            services=services(),
            timeout=limit,
            wait=wait,
            deadline=settings.timeout,
            options=PeerOptions(trace=settings.trace),
        )
        async with connecting as guest:
            return await work(guest)

    return run(settings, connected)


def with_peer(settings: Settings, work: Callable[[Target, ConnectingPeer], Awaitable[int | None]]) -> int:
    """Connect without the typed layer, which takes longer to load than a ping takes."""

    async def connected(target: Target) -> int | None:
        from virtagent.host.registry import without_dialect  # noqa: PLC0415 - run() chose how asyncio is loaded
        from virtagent.peer.connecting import Connecting, ConnectingPeer  # noqa: PLC0415
        from virtagent.peer.identity import local_identity  # noqa: PLC0415
        from virtagent.peer.options import PeerOptions  # noqa: PLC0415

        url, plain = without_dialect(target.url)
        options = PeerOptions(identity=local_identity(role="host"), trace=settings.trace)
        limit = settings.timeout or CONNECT_TIMEOUT
        async with Connecting(lambda: ConnectingPeer(url, (), options, plain=plain), timeout=limit) as peer:
            return await work(target, peer)

    return run(settings, connected)


def finish(code: int) -> None:
    """Leave the process: at once where a thread still waits for a reader of our output."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would try again at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = code or EXIT_PIPE
    if threading.active_count() > 1:
        os._exit(code)
    raise SystemExit(code)
