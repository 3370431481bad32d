"""The guest's control shell: runs the Python source that the host sends over the virtio port `ctl`.

It is how tests look at and act on the guest without the code under test. One JSON object a line: the guest says
{"boot": ID} when it opens the port; {"id": N, "source": TEXT} is answered by {"id": N, "value": repr} or
{"id": N, "error": traceback}. The value is that of a last expression; names live on from one source to the next.
Only the standard library, only one source at a time.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False  # typing's, whose import costs a guest under emulation 0.2 s, as do those within run()
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

PORT = "/dev/virtio-ports/ctl"
_READ_SIZE = 65536


def read_lines(port: int) -> Iterator[bytes]:
    """Yield the lines that arrive; sleep, and not spin, while no host is connected.

    Without a host a virtio port reads b"" at once and polls readable for ever: only edge-triggered epoll sleeps.
    """
    edges = select.epoll()
    edges.register(port, select.EPOLLIN | select.EPOLLOUT | select.EPOLLHUP | select.EPOLLET)
    pending = b""
    while True:
        piece = os.read(port, _READ_SIZE)
        if not piece:
            edges.poll()
            continue
        *lines, pending = (pending + piece).split(b"\n")
        yield from filter(None, lines)


def write_all(port: int, message: dict[str, Any]) -> None:
    """Write one line; a virtio port takes 32 KiB at a time and blocks while no host is connected."""
    unsent = memoryview(json.dumps(message).encode() + b"\n")
    while unsent:
        unsent = unsent[os.write(port, unsent) :]


def run(source: str, names: dict[str, Any]) -> str:
    """Execute `source` in `names` and return the repr of its last statement if that is an expression."""
    import ast

    parsed = ast.parse(source)
    last = parsed.body[-1] if parsed.body else None
    if isinstance(last, ast.Expr):
        parsed.body.pop()
    exec(compile(parsed, "<control>", "exec"), names)
    if not isinstance(last, ast.Expr):
        return "None"
    return repr(eval(compile(ast.Expression(last.value), "<control>", "eval"), names))


def main() -> None:
    """Serve the port for ever; init restarts us should a source end the process."""
    sys.path.append("/harness")
    port = os.open(PORT, os.O_RDWR)
    with open("/proc/sys/kernel/random/boot_id") as file:
        write_all(port, {"boot": file.read().strip()})
    names: dict[str, Any] = {"os": os, "signal": signal, "sys": sys, "time": time}
    for line in read_lines(port):
        try:
            request = json.loads(line)
        except ValueError:
            continue  # the rest of a line that an earlier boot did not live to read
        answer: dict[str, Any] = {"id": request["id"]}
        try:
            answer["value"] = run(request["source"], names)
        except BaseException:
            import traceback

            answer["error"] = traceback.format_exc()
        write_all(port, answer)


if __name__ == "__main__":
    main()
