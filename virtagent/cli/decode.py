"""``virtagent decode``: what was said in a session that was recorded with ``--trace``."""

from __future__ import annotations

import asyncio

import click

from virtagent.cli.failures import EXIT_OK, EXIT_PIPE
from virtagent.cli.main import shared_options
from virtagent.cli.output import Output
from virtagent.cli.target import Settings
from virtagent.cli.text import one_line, to_json
from virtagent.peer.trace import decode_trace
from virtagent.protocol.decoding import DecodedFrame

__all__ = ["command"]


def as_line(seconds: float, sent: bool, frame: DecodedFrame) -> str:
    """A frame as people read it: when, which way, what."""
    stream = f" {frame.stream}" if frame.stream else ""
    content = "" if frame.content is None else one_line(to_json(frame.content))
    return f"{seconds:10.6f} {'>' if sent else '<'} {frame.kind}{stream} #{frame.sequence} ({frame.length}) {content}"


def as_json(seconds: float, sent: bool, frame: DecodedFrame) -> str:
    """A frame for programs."""
    return to_json(
        {
            "seconds": seconds,
            "sent": sent,
            "kind": frame.kind,
            "stream": frame.stream,
            "sequence": frame.sequence,
            "length": frame.length,
            "content": frame.content,
        }
    )


@click.command(
    epilog="""\b
Examples:
  virtagent --to web1 --trace /tmp/session ls /
  virtagent decode /tmp/session
  virtagent decode /tmp/session --json | jq .""",
)
@click.argument("file", type=click.Path(dir_okay=False))
@shared_options
def command(settings: Settings, file: str) -> int:
    """Print a session recorded with --trace.

    A line for each frame: seconds, the direction, kind, stream, sequence, size, content. What sounds secret is masked.
    """
    show = as_json if settings.json else as_line

    async def decode() -> None:
        output = Output()
        for seconds, sent, frame in decode_trace(file):
            await output.line(show(seconds, sent, frame).rstrip())

    try:
        asyncio.run(decode())
    except BrokenPipeError:
        return EXIT_PIPE
    return EXIT_OK
