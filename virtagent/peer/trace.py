"""Recording a live session to a file, for ``virtagent decode``.

The file has JSON lines: first what it is, then ``{"t": seconds, "sent": true|false, "bytes": base64}``. It holds
everything that was said, passwords included, so only its owner may read it.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from virtagent.errors import UsageError
from virtagent.protocol.decoding import DecodedFrame, SessionDecoder

__all__ = ["Trace", "decode_trace"]

log = logging.getLogger("virtagent.trace")

FORMAT = 1

LARGEST = 256 * 1024 * 1024
"""Bytes of a trace file; recording stops there and says so."""


class Trace:
    """A recording under way.

    Args:
        path: the file; it is created with mode 0600 and must not exist.
        name: the channel.

    Raises:
        UsageError: the file exists or cannot be created.
    """

    def __init__(self, path: str | Path, name: str) -> None:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(f"cannot record to {path}: {error.strerror}; give a new file") from error
        self._file = os.fdopen(descriptor, "w", buffering=1)
        self._started = time.monotonic()
        self._size = 0
        self._write({"virtagent-trace": FORMAT, "channel": name, "began": time.time()})

    def record(self, sent: bool, data: bytes | bytearray | memoryview) -> None:
        """Bytes went (``sent``) or came. Errors of the file end the recording, not the session."""
        if self._file.closed:
            return
        elapsed = round(time.monotonic() - self._started, 6)
        self._write({"t": elapsed, "sent": sent, "bytes": base64.b64encode(data).decode()})
        if self._size > LARGEST:
            log.warning("the recording has reached %d bytes and ends here", LARGEST)
            self.close()

    def _write(self, record: dict[str, object]) -> None:
        line = json.dumps(record) + "\n"
        self._size += len(line)
        try:
            self._file.write(line)
        except OSError as error:
            log.warning("the recording ends here: %s", error)
            self.close()

    def close(self) -> None:
        """End the recording. Safe to call twice."""
        try:
            self._file.close()
        except OSError as error:
            log.warning("the recording is incomplete: %s", error)


def decode_trace(path: str | Path) -> Iterator[tuple[float, bool, DecodedFrame]]:
    """The frames of a recording: seconds since its beginning, whether sent, and the frame.

    Raises:
        UsageError: the file is no recording, or cannot be read.
    """
    decoder = SessionDecoder()
    try:
        with open(path, encoding="utf-8") as lines:
            check_header(path, lines.readline())
            for number, line in enumerate(lines, 2):
                seconds, sent, data = read_record(path, number, line)
                for frame in decoder.feed(sent, data):
                    yield seconds, sent, frame
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error


def check_header(path: str | Path, line: str) -> None:
    """Refuse what is no recording."""
    try:
        header = json.loads(line)
    except ValueError:
        header = None
    if not isinstance(header, dict) or header.get("virtagent-trace") != FORMAT:
        raise UsageError(f"{path} is no recording of a session (made with --trace)")


def read_record(path: str | Path, number: int, line: str) -> tuple[float, bool, bytes]:
    """One line of a recording."""
    try:
        record = json.loads(line)
        return float(record["t"]), bool(record["sent"]), base64.b64decode(record["bytes"])
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{path}, line {number}: damaged; what came before has been shown") from None
