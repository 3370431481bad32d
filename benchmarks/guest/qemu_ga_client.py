"""A client of qemu-ga that costs as little as Python can: one blocking socket, one reused buffer, C decoders."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from benchmarks.guest.blocking_socket import blocking_socket

__all__ = ["LARGEST_COUNT", "QemuGaClient", "QemuGaError"]

LARGEST_COUNT = 48 << 20
"""Bytes: the most that one guest-file-read gives (qga/commands.c)."""

ANSWER_SIZE = LARGEST_COUNT * 4 // 3 + (1 << 20)
"""Bytes: the longest answer, LARGEST_COUNT bytes in base64 and what is around them."""


class QemuGaError(Exception):
    """qemu-ga refused a command, or its answer is none."""


class QemuGaClient:
    """One connection; requests one after the other, as qemu-ga serves them."""

    def __init__(self, path: Path) -> None:
        self._socket = blocking_socket(path)
        self._buffer = bytearray(ANSWER_SIZE)
        self._view = memoryview(self._buffer)

    def __enter__(self) -> QemuGaClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def call(self, command: str, **arguments: Any) -> Any:
        """Execute a command.

        Raises:
            QemuGaError: it was refused, or the connection ended.
            BlockingIOError: no answer came in time.
        """
        request = {"execute": command, "arguments": arguments} if arguments else {"execute": command}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        length = 0
        while not length or self._buffer[length - 1] != 0x0A:
            received = self._socket.recv_into(self._view[length:])
            if not received:
                raise QemuGaError(f"{command}: the connection ended, or the answer is longer than {ANSWER_SIZE} bytes")
            length += received
        answer = json.loads(str(self._view[:length], "ascii"))
        if "return" not in answer:
            raise QemuGaError(f"{command}: {answer.get('error', answer)}")
        return answer["return"]

    def ping(self) -> None:
        """guest-ping."""
        self.call("guest-ping")

    def read_file(self, path: Path, count: int) -> int:
        """Read a whole file with reads of `count` bytes; how many bytes it had."""
        handle = self.call("guest-file-open", path=str(path), mode="r")
        try:
            total = 0
            while True:
                answer = self.call("guest-file-read", handle=handle, count=count)
                total += len(base64.b64decode(answer["buf-b64"]))
                if answer["eof"]:
                    return total
        finally:
            self.call("guest-file-close", handle=handle)
