"""The kernel's log."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtagent.api.log import KernelRecord
from virtagent.errors import PermissionDenied, Unavailable
from virtagent.guest.kernel_log import KMSG, KernelLog, Kmsg, Syslog, open_kernel_log
from virtagent.guest.kmsg import parse_record, parse_syslog_line
from virtagent.guest.log import Chosen, LogService

BOOT = datetime(2026, 1, 2, tzinfo=UTC)

needs_kmsg = pytest.mark.skipif(not os.access(KMSG, os.R_OK | os.W_OK), reason="needs /dev/kmsg")


def test_a_record_is_understood_with_its_fields() -> None:
    record = parse_record(
        b"27,339,5140900,c,caller=T1;NET: \\xc3\\xa9 \\x1b[m\n SUBSYSTEM=acpi\n DEVICE=+acpi:PNP0A03:00\n", booted=BOOT
    )
    assert record == KernelRecord(
        sequence=339,
        timestamp=5.1409,
        level=3,
        facility=3,
        message="NET: é \x1b[m",
        time=BOOT + timedelta(seconds=5.1409),
        fields={"SUBSYSTEM": "acpi", "DEVICE": "+acpi:PNP0A03:00"},
        continued=True,
    )


@given(st.text(), st.integers(0, 2047), st.integers(0, 2**40))
def test_any_message_is_understood(text: str, priority: int, sequence: int) -> None:
    body = text.encode("utf-8", "surrogatepass").replace(b"\\", b"\\x5c").replace(b"\n", b"\\x0a")
    record = parse_record(b"%d,%d,7,-;%s\n" % (priority, sequence, body), booted=BOOT)
    assert record.message.encode("utf-8", "surrogateescape") == text.encode("utf-8", "surrogatepass")
    assert (record.level, record.facility, record.sequence) == (priority & 7, priority >> 3, sequence)


@given(st.text())
def test_any_line_of_syslog_is_understood(line: str) -> None:
    assert parse_syslog_line(line, 0, booted=BOOT).sequence == 0


def test_a_line_of_syslog_is_understood() -> None:
    record = parse_syslog_line("<28>[   12.500000][ T1] usb 1-1: new", 7, booted=BOOT)
    assert (record.level, record.facility, record.timestamp, record.message) == (4, 3, 12.5, "usb 1-1: new")


@needs_kmsg
async def test_the_real_log_is_read_to_its_end_in_order() -> None:
    records = [record async for record in open_kernel_log(follow=False)]
    assert records
    assert [each.sequence for each in records] == sorted({each.sequence for each in records})
    assert records[0].time is not None
    assert records[0].time < datetime.now(UTC) + timedelta(minutes=1)


@needs_kmsg
async def test_the_real_log_is_followed() -> None:
    marker = f"virtagent test {os.getpid()} {os.urandom(4).hex()}"
    log = open_kernel_log(follow=True)
    async with asyncio.timeout(20):
        loop = asyncio.get_running_loop()
        loop.call_later(0, lambda: Path(KMSG).write_text(f"<5>{marker}\n"))
        async for record in log:
            if record.message == marker:
                break
        assert (record.level, record.facility) == (5, 1)  # user space may not say that it is the kernel
    await log.aclose()


class FakeKmsg:
    """Replaces os.read: gives records and errors one after the other, then EAGAIN."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *found: bytes | int) -> None:
        self.found: Iterator[bytes | int] = iter(found)
        monkeypatch.setattr("virtagent.guest.kernel_log.os.read", self.read)

    def read(self, descriptor: int, size: int) -> bytes:
        each = next(self.found, errno.EAGAIN)
        if isinstance(each, int):
            raise OSError(each, os.strerror(each))
        return each


def kmsg(*, follow: bool = False) -> Kmsg:
    return Kmsg(os.open(os.devnull, os.O_RDONLY), follow=follow, booted=BOOT)


async def test_records_that_were_overwritten_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeKmsg(monkeypatch, b"6,1,0,-;a\n", errno.EPIPE, b"6,9,0,-;b\n", b"6,10,0,-;c\n")
    assert [(each.sequence, each.lost) async for each in kmsg()] == [(1, 0), (9, 7), (10, 0)]


async def test_losses_before_records_that_are_not_wanted_are_told_with_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    FakeKmsg(monkeypatch, b"3,1,0,-;a\n", errno.EPIPE, b"6,9,0,-;b\n", b"3,10,0,-;c\n")
    assert [(each.sequence, each.lost) async for each in Chosen(kmsg(), since=None, level=3)] == [(1, 0), (10, 7)]


async def test_only_records_since_a_time_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeKmsg(monkeypatch, b"6,1,1000000,-;a\n", b"6,2,2000000,-;b\n")
    assert [each.message async for each in Chosen(kmsg(), since=1.5, level=None)] == ["b"]


async def test_another_error_ends_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeKmsg(monkeypatch, errno.EPERM)
    with pytest.raises(PermissionDenied, match="the kernel log: Operation not permitted"):
        await anext(kmsg())


async def test_a_stopped_log_ends_for_who_waits_and_for_who_comes_later() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    log = Kmsg(reader, follow=True, booted=BOOT)
    service = LogService(open_log=lambda follow: log)
    waiting = asyncio.ensure_future(anext(service.kernel(follow=True)))
    await asyncio.sleep(0)
    await service.resources.stop("reboot", "the guest reboots")
    with pytest.raises(Unavailable, match="the guest reboots"):
        await waiting
    with pytest.raises(Unavailable):
        await anext(log)
    await log.aclose()
    os.close(writer)


class Ring:
    """What syslog(2) would give."""

    def __init__(self, *lines: str) -> None:
        self.lines = list(lines)

    def __call__(self) -> str:
        return "\n".join(self.lines)


async def drain(log: KernelLog) -> list[str]:
    found = []
    while (record := log.next_record()) is not None:
        found.append(record.message)
    return found


async def test_without_a_device_the_whole_text_is_compared_with_what_was_seen() -> None:
    ring = Ring("<6>[ 1.0] a", "<6>[ 2.0] b")
    log = Syslog(ring, follow=True, booted=BOOT)
    assert await drain(log) == ["a", "b"]
    assert await drain(log) == []
    ring.lines += ["<6>[ 2.0] b", "<6>[ 3.0] c"]
    assert await drain(log) == ["b", "c"]
    ring.lines = ["<6>[ 9.0] x", "<6>[ 9.0] y"]
    assert await drain(log) == ["x", "y"]


async def test_without_a_device_news_are_waited_for() -> None:
    ring = Ring("<6>[ 1.0] a")
    log = Syslog(ring, follow=True, booted=BOOT, poll=0.01)
    assert (await anext(log)).message == "a"
    waiting = asyncio.ensure_future(anext(log))
    await asyncio.sleep(0)
    ring.lines.append("<3>[ 2.0] b")
    assert (await asyncio.wait_for(waiting, 10)).message == "b"


async def test_a_missing_device_falls_back_to_syslog(tmp_path: Path) -> None:
    log = open_kernel_log(follow=False, path=str(tmp_path / "none"), read_all=Ring("<6>[ 1.0] a"))
    assert [each.message async for each in log] == ["a"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_SYSLOG")
async def test_the_real_syslog_is_read(tmp_path: Path) -> None:
    log = open_kernel_log(follow=False, path=str(tmp_path / "none"))
    assert [each async for each in log]


@pytest.mark.parametrize(("number", "error"), [(errno.EPERM, PermissionDenied), (errno.ENOSYS, Unavailable)])
def test_without_any_log_the_call_says_why(number: int, error: type[Exception], tmp_path: Path) -> None:
    def refuse() -> str:
        raise OSError(number, os.strerror(number))

    with pytest.raises(error):
        open_kernel_log(follow=False, path=str(tmp_path / "none"), read_all=refuse)
