"""A real journal, written by systemd's own tool."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

BOOT = "0123456789abcdef0123456789abcdef"
FIRST = 1_790_000_000_000_000
"""Microseconds since 1970 of the first record, 2026-09-21 14:13:20 UTC; one comes each second."""
REMOTE = "/lib/systemd/systemd-journal-remote"

needs_journal = pytest.mark.skipif(
    not Path(REMOTE).exists() or shutil.which("journalctl") is None,
    reason="needs journalctl and systemd-journal-remote",
)


def write_journal(file: Path, records: Iterable[Mapping[str, str | bytes]], *, start: int = 0) -> None:
    """Write records into a new journal file (systemd.io/JOURNAL_EXPORT_FORMATS)."""
    export = bytearray()
    for number, record in enumerate(records, start=start):
        fields = {
            "__REALTIME_TIMESTAMP": str(FIRST + number * 1_000_000),
            "__MONOTONIC_TIMESTAMP": str((number + 1) * 1_000_000),
            "_BOOT_ID": BOOT,
            **record,
        }
        for name, value in fields.items():
            data = value if isinstance(value, bytes) else value.encode()
            if b"\n" in data or not data.isascii():
                export += name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
            else:
                export += name.encode() + b"=" + data + b"\n"
        export += b"\n"
    file.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([REMOTE, "-o", str(file), "-"], input=bytes(export), check=True, capture_output=True, timeout=30)
