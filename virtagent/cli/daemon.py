"""``virtagentd``: the agent in the guest.

Exit codes: 0 stopped by a signal, or the end of ``--stdio``; 1 something unforeseen, told in the log; 2 wrong usage;
3 a channel that cannot be served.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, NoReturn

from virtagent import __version__
from virtagent.errors import ChannelError, UrlError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from virtagent.guest.configuration import Configuration
    from virtagent.guest.configuration_file import Document

__all__ = ["main"]

DEFAULT_CHANNEL = "virtio:org.virtagent.0"

DEFAULT_FILE = "/etc/virtagent/agent.toml"
"""Read where it exists, unless ``--config`` names another file."""

EXIT_OK, EXIT_UNFORESEEN, EXIT_USAGE, EXIT_NO_CHANNEL = 0, 1, 2, 3

LEVELS = ("debug", "info", "warning", "error")
PRIORITIES = {logging.DEBUG: "<7>", logging.INFO: "<6>", logging.WARNING: "<4>", logging.ERROR: "<3>"}
"""What journald reads at the start of a line (sd-daemon(3))."""

SHORTEST_HEARTBEAT = 0.1


class PlainFormatter(argparse.HelpFormatter):
    """As wide as a terminal of old: who only parses need not load what finds out how wide this one is."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=80)


class Parser(argparse.ArgumentParser):
    """Errors are one line with the remedy."""

    def format_help(self) -> str:
        self.formatter_class = argparse.HelpFormatter
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        fail(EXIT_USAGE, f"{message}; virtagentd --help lists the options")


def fail(code: int, message: str) -> NoReturn:
    """One line on standard error, or one for each mistake, and the end."""
    sys.stderr.write("".join(f"virtagentd: {line}\n" for line in message.splitlines()))
    raise SystemExit(code)


def seconds(text: str) -> float:
    """An interval of heartbeats."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (value == 0 or SHORTEST_HEARTBEAT <= value < math.inf):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no interval; give seconds from {SHORTEST_HEARTBEAT}, or 0 for none"
        )
    return value


def make_parser() -> Parser:
    """The options."""
    parser = Parser(
        prog="virtagentd",
        description="The agent of a virtual machine: serves its host on one or more channels. virtagentd install makes "
        "it a service of this guest, virtagentd uninstall takes it away, virtagentd session serves the clipboard of a "
        "desktop session; each has --help.",
        epilog="Exit codes: 0 stopped by a signal, 1 unforeseen (see the log), 2 wrong usage, 3 no channel to serve.",
        allow_abbrev=False,
        formatter_class=PlainFormatter,
    )
    add = parser.add_argument
    add(
        "--channel",
        action="append",
        default=[],
        metavar="URL",
        help=f"serve this channel; may be repeated. A device that is missing is waited for. [{DEFAULT_CHANNEL}]",
    )
    add("--stdio", action="store_true", help="serve standard input and output, as --channel stdio: does")
    add("--config", metavar="FILE", help=f"the configuration; options go over it [{DEFAULT_FILE}, if it exists]")
    add("--check", action="store_true", help="explain the configuration, or each mistake in it by its line, and end")
    add("--name", help="who this guest says it is [its host name]")
    add("--heartbeat", type=seconds, metavar="SECONDS", help="between heartbeats; 0: none [10]")
    add(
        "--keepalive",
        type=seconds,
        metavar="SECONDS",
        help="a host is to take three of these without a sign of life for silence; 0: never [5]",
    )
    add("--services", metavar="DIR", help="load the services (*.py) in this folder, too")
    add("--log-level", choices=LEVELS, help="[info]")
    add(
        "--loop",
        choices=("auto", "asyncio", "uvloop"),
        help="the event loop [auto: uvloop if installed]",
    )
    add("--version", action="version", version=f"virtagentd {__version__}")
    return parser


def find_document(options: argparse.Namespace) -> Document | None:
    """The configuration file; None where there is none, and none was named.

    Raises:
        ConfigurationError: it cannot be read, or is no TOML.
    """
    if options.config is None and not os.path.exists(DEFAULT_FILE):
        return None
    from virtagent.guest.configuration_file import read_document  # noqa: PLC0415 - many guests have no such file

    return read_document(options.config or DEFAULT_FILE)


def said(options: argparse.Namespace, document: Document | None, key: str) -> object:
    """What the command line says, else what the file does (unchecked), else None."""
    value = getattr(options, key)
    return document.said("agent", key) if value is None and document is not None else value


def channels_of(options: argparse.Namespace, configured: object = ()) -> list[str]:
    """The URLs as they were given.

    Args:
        configured: those of the file, which count where the command line names none.

    Raises:
        UrlError: one is given twice.
    """
    urls: list[str] = [*options.channel, *(["stdio:"] if options.stdio else [])]
    if not urls and isinstance(configured, (list, tuple)):
        urls = [each for each in configured if isinstance(each, str)]
    for url in urls:
        if urls.count(url) > 1:
            raise UrlError(f"the channel {url} is given twice; drop one")
    return urls or [DEFAULT_CHANNEL]


class Formatter(logging.Formatter):
    """One line for each record; for the journal with its priority, for people with the time."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__("%(message)s" if journal else "%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if not self._journal:
            return text
        prefix = PRIORITIES.get(record.levelno, "<3>")
        return "\n".join(prefix + line for line in text.splitlines())


def set_up_logging(level: str) -> None:
    """Log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter(journal="JOURNAL_STREAM" in os.environ))
    logging.basicConfig(level=level.upper(), handlers=[handler])


def choose_loop(choice: str) -> str:
    """``asyncio`` or ``uvloop``."""
    from importlib.util import find_spec  # noqa: PLC0415 - not needed for --help

    if choice == "auto":
        return "uvloop" if find_spec("uvloop") else "asyncio"
    if choice == "uvloop" and not find_spec("uvloop"):
        raise UsageError("uvloop is not installed; pip install virtagent[uvloop], or leave --loop out")
    return choice


def imports(loop: str, foreign: bool, urls: list[str]) -> AbstractContextManager[object]:
    """Around the first import of asyncio and msgspec: without what nothing here can need. Foreign services may."""
    from virtagent.cli.lean import without_openssl, without_typing_extensions  # noqa: PLC0415 - after --help, --version

    around = ExitStack()
    if not foreign:
        around.enter_context(without_typing_extensions())
        if loop == "asyncio" and not any(url.startswith("tls:") for url in urls):
            around.enter_context(without_openssl())
    return around


def serve(options: argparse.Namespace, document: Document | None) -> None:
    """Run the daemon to its end."""
    from virtagent.cli.lean import without_collections  # noqa: PLC0415 - after --help and --version
    from virtagent.guest.packages import packages_with_services  # noqa: PLC0415

    loop = choose_loop(str(said(options, document, "loop") or "auto"))
    urls = channels_of(options, document and document.said("agent", "channels"))
    packages = any(packages_with_services())
    with without_collections(), imports(loop, packages or bool(said(options, document, "services")), urls):
        import asyncio  # noqa: PLC0415

        from virtagent.guest.configuration import Configuration  # noqa: PLC0415
        from virtagent.guest.daemon import Daemon  # noqa: PLC0415

        configuration = document.configuration() if document is not None else Configuration()
        factory = None
        if loop == "uvloop":
            import uvloop  # noqa: PLC0415

            factory = uvloop.new_event_loop
    told = with_options(configuration, options, urls)
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(Daemon(told, packages=packages).run())


def with_options(configuration: Configuration, options: argparse.Namespace, urls: list[str]) -> Configuration:
    """The configuration with what the command line says over it."""
    from msgspec import structs  # noqa: PLC0415 - serve() chose how it is loaded

    from virtagent_transports import ChannelUrl  # noqa: PLC0415

    told = {key: getattr(options, key) for key in ("name", "heartbeat", "keepalive", "services")}
    agent = structs.replace(
        configuration.agent,
        channels=tuple(str(ChannelUrl.parse(url)) for url in urls),
        **{key: value for key, value in told.items() if value is not None},
    )
    return structs.replace(configuration, agent=agent)


def check(options: argparse.Namespace) -> int:
    """Explain the configuration.

    Raises:
        ConfigurationError: there are mistakes in it.
    """
    document = find_document(options)
    from virtagent.guest.configuration import Configuration  # noqa: PLC0415 - few starts of this program check
    from virtagent.guest.explanation import explain  # noqa: PLC0415

    configuration = document.configuration() if document is not None else Configuration()
    told = with_options(configuration, options, channels_of(options, configuration.agent.channels))
    where = f"{document.file}: no mistakes" if document is not None else f"{DEFAULT_FILE}: there is none; the defaults"
    sys.stdout.write("".join(f"{line}\n" for line in [where, *explain(told)]))
    return EXIT_OK


def main(arguments: Sequence[str] | None = None) -> int:
    """The program."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] in (["install"], ["uninstall"]):
        from virtagent.cli.installing import install_or_uninstall  # noqa: PLC0415 - once in a guest's life

        return install_or_uninstall(given)
    if given[:1] == ["session"]:
        from virtagent.cli import session_helper  # noqa: PLC0415 - in desktop sessions only

        return session_helper.main(given[1:])
    options = make_parser().parse_args(given)
    code = EXIT_OK
    try:
        if options.check:
            return check(options)
        document = find_document(options)
        level = said(options, document, "log_level")
        set_up_logging(level if isinstance(level, str) and level in LEVELS else "info")
        serve(options, document)
    except (UrlError, UsageError) as error:
        fail(EXIT_USAGE, str(error))
    except ChannelError as error:
        fail(EXIT_NO_CHANNEL, str(error))
    except Exception:
        logging.getLogger("virtagent.daemon").exception("the agent failed")
        code = EXIT_UNFORESEEN
    if threading.active_count() > 1:
        # A thread that hangs in a system call must not keep the machine from going down.
        logging.shutdown()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
