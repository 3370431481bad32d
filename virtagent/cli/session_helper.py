"""``virtagentd session``: the agent's helper in a desktop session."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence

from virtagent.errors import CallError, VirtagentError

__all__ = ["main"]

EXIT_OK, EXIT_FAILED = 0, 1


def main(arguments: Sequence[str]) -> int:
    """Serve the clipboard of this session until it ends; the exit code."""
    parser = argparse.ArgumentParser(
        prog="virtagentd session",
        description="Serves the clipboard of this desktop session to the agent, and so to the host. Started by the "
        "desktop (virtagent-session.desktop) as its user; ends with the session.",
        epilog="Examples: virtagentd session; virtagentd session --socket /run/virtagent/session.sock -v",
        allow_abbrev=False,
    )
    parser.add_argument("--socket", metavar="PATH", help="the agent's socket [/run/virtagent/session.sock]")
    parser.add_argument("-v", "--verbose", action="store_true", help="say what happens; never what is in the clipboard")
    options = parser.parse_args(list(arguments))
    logging.basicConfig(level="DEBUG" if options.verbose else "WARNING", format="virtagentd session: %(message)s")

    import asyncio  # noqa: PLC0415 - after --help

    from virtagent.guest.session_helper import SessionHelper, backend_of  # noqa: PLC0415

    async def serve() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
        await SessionHelper(backend_of(os.environ), options.socket).run()

    try:
        asyncio.run(serve())
    except (KeyboardInterrupt, asyncio.CancelledError):
        return EXIT_OK
    except VirtagentError as error:
        text = error.message if isinstance(error, CallError) else str(error)
        sys.stderr.write(f"virtagentd session: {text}\n")
        return EXIT_FAILED
    return EXIT_OK
