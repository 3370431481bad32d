"""What /proc tells, read as it is meant; psutil is asked the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtagent.guest.cpu_times import TICK, CpuTimes, parse_cpu_times, read_cpu_times
from virtagent.guest.filesystem_use import MOST_STUCK, FilesystemUses, local_mounts
from virtagent.guest.memory_use import memory_use, parse_meminfo, parse_vmstat, read_meminfo, read_vmstat, swap_use
from virtagent.guest.mounts import Mount, read_mounts
from virtagent.guest.net_dev import parse_net_dev, read_net_dev
from virtagent.guest.pressure import parse_pressure, read_pressure
from virtagent.guest.process_ranking import ProcessRanking

LIMIT = 30.0

# -- processors --------------------------------------------------------------------------------------------------------


def test_processor_times_have_their_names() -> None:
    times = parse_cpu_times("cpu  10 2 3 40 5 6 7 8 9 1\ncpu1 1 2 3 4\nintr 5 6\ncpu9 1 1 1 1\n")
    assert times[""] == CpuTimes(10, 2, 3, 40, 5, 6, 7, 8, 9, 1)
    assert times["1"] == CpuTimes(1, 2, 3, 4)
    assert "9" not in times


def test_a_processor_that_waits_for_a_disk_is_not_busy() -> None:
    assert CpuTimes(0, 0, 0, 100).percent_since(CpuTimes(0, 0, 0, 0)) == 0.0
    assert CpuTimes(0, 0, 0, 0, 100).percent_since(CpuTimes(0, 0, 0, 0)) == 0.0
    assert CpuTimes(25, 0, 25, 50).percent_since(CpuTimes(0, 0, 0, 0)) == 50.0


counters = st.lists(st.integers(0, 2**50), min_size=10, max_size=10)


@given(counters, counters)
def test_the_percentage_is_one_or_none_whatever_counters_do(before: list[int], now: list[int]) -> None:
    percent = CpuTimes(*now).percent_since(CpuTimes(*before))
    assert percent is None or 0 <= percent <= 100


def test_this_machines_processors_are_those_that_psutil_knows() -> None:
    before = psutil.cpu_times()
    times = read_cpu_times()
    after = psutil.cpu_times()
    assert before.user <= times[""].user * TICK + 1e-6 <= after.user + 2e-6
    assert before.system <= times[""].system * TICK + 1e-6 <= after.system + 2e-6
    assert len(times) == 1 + len(psutil.cpu_times(percpu=True))


# -- memory ------------------------------------------------------------------------------------------------------------


def test_sizes_are_bytes() -> None:
    assert parse_meminfo("MemTotal:  8 kB\nHugePages_Total:   3\nbroken\nX: y kB\n") == {
        "MemTotal": 8192,
        "HugePages_Total": 3,
    }
    assert parse_vmstat("pswpin 7\npswpout 9\nbroken line here\nx y\n") == {"pswpin": 7, "pswpout": 9}


def test_old_kernels_do_not_say_what_is_available() -> None:
    use = memory_use({"MemTotal": 1000, "MemFree": 100, "Buffers": 20, "Cached": 300})
    assert (use.available, use.used) == (420, 580)


def test_this_machines_memory_is_what_psutil_reads() -> None:
    use, swap = memory_use(read_meminfo()), swap_use(read_meminfo(), read_vmstat())
    told = psutil.virtual_memory()
    assert use.total == told.total
    assert abs(use.available - told.available) < told.total * 0.5
    assert swap.total == psutil.swap_memory().total
    assert swap.swapped_in is not None
    assert swap.swapped_in <= psutil.swap_memory().sin


@given(st.text(max_size=300))
def test_any_text_is_some_fields(text: str) -> None:
    for parse in (parse_meminfo, parse_vmstat, parse_cpu_times, parse_net_dev):
        assert isinstance(parse(text), dict)
    parse_pressure(text)


# -- pressure ----------------------------------------------------------------------------------------------------------


def test_pressure_is_percent_and_seconds() -> None:
    told = parse_pressure(
        "some avg10=1.50 avg60=0.20 avg300=0.00 total=2500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"
    )
    assert told.some is not None
    assert (told.some.avg10, told.some.avg60, told.some.total) == (1.5, 0.2, 2.5)
    assert told.full is not None
    assert parse_pressure("some avg10=x\n").some is None


def test_a_kernel_without_pressure_tells_of_none(tmp_path: Path) -> None:
    assert read_pressure(str(tmp_path / "nope")) == {}
    (tmp_path / "io").write_text("some avg10=1.00 avg60=0.00 avg300=0.00 total=7\n")
    assert list(read_pressure(str(tmp_path))) == ["io"]


# -- network -----------------------------------------------------------------------------------------------------------


def test_an_interfaces_name_may_hold_a_colon() -> None:
    text = "Inter-|\n face |\n  eth0:1: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n    lo:9 9 9 9 0 0 0 0 9 9 9 9 0 0 0 0\nx\n"
    assert parse_net_dev(text) == {"eth0:1": (1, 2, 3, 4, 5, 6, 7, 8), "lo": (9, 9, 9, 9, 9, 9, 9, 9)}


def test_this_machines_interfaces_are_those_that_psutil_knows() -> None:
    before = psutil.net_io_counters(pernic=True)
    told = read_net_dev()
    after = psutil.net_io_counters(pernic=True)
    assert set(told) == set(before)
    for name in told:
        assert before[name].bytes_recv <= told[name].received_bytes <= after[name].bytes_recv
        assert before[name].packets_sent <= told[name].sent_packets <= after[name].packets_sent


# -- filesystems -------------------------------------------------------------------------------------------------------


def mount(point: str, kind: str = "ext4", device: str = "8:1", root: str = "/") -> Mount:
    return Mount(1, device, root, point, "rw", kind, "/dev/x", "rw")


def test_network_filesystems_and_those_of_the_kernel_are_left_alone() -> None:
    mounts = [
        mount("/"),
        mount("/home", device="8:1", root="/home"),
        mount("/srv", "nfs4", "0:50"),
        mount("/mnt", "fuse.sshfs", "0:51"),
        mount("/proc", "proc", "0:4"),
        mount("/data", "xfs", "8:2"),
    ]
    assert [each.mountpoint for each in local_mounts(mounts)] == ["/", "/data"]


def test_the_root_filesystem_is_as_full_as_df_says() -> None:
    told = FilesystemUses().read()
    found = psutil.disk_usage("/")
    root = next(each for each in read_mounts() if each.mountpoint == "/")
    if root.is_network or root.is_kernel:
        pytest.skip("the root of this machine is no local filesystem")
    assert told["/"].total == found.total
    assert told["/"].percent is not None
    assert abs(told["/"].percent - found.percent) < 2


class Hanging:
    """statvfs(2) of filesystems of which some do not answer until they are told to."""

    def __init__(self, *points: str) -> None:
        self.hanging = {point: threading.Event() for point in points}
        self.asked: list[str] = []
        self.real = os.statvfs("/")

    def __call__(self, point: str) -> os.statvfs_result:
        self.asked.append(point)
        if point in self.hanging:
            self.hanging[point].wait(LIMIT)
        return self.real


def wait_until(true: Callable[[], bool]) -> None:
    """Until another thread has done it."""
    gate = threading.Event()
    for _ in range(3000):
        if true():
            return
        gate.wait(0.01)
    raise TimeoutError


def test_a_filesystem_that_does_not_answer_is_said_to_and_not_asked_again_until_it_does() -> None:
    statvfs = Hanging("/b")
    uses = FilesystemUses(statvfs, patience=0.05)
    mounts = [mount(f"/{name}", device=f"8:{place}") for place, name in enumerate("abc")]
    told = uses.read(mounts)
    assert {point: use.answers for point, use in told.items()} == {"/a": True, "/b": False, "/c": True}
    assert told["/b"].total is None
    assert not uses.read(mounts)["/b"].answers
    assert statvfs.asked.count("/b") == 1
    event = statvfs.hanging.pop("/b")
    event.set()
    wait_until(lambda: uses.read(mounts)["/b"].answers)
    assert statvfs.asked.count("/b") > 1


def test_many_filesystems_that_hang_cost_few_threads() -> None:
    mounts = [mount(f"/{place}", device=f"8:{place}") for place in range(30)]
    statvfs = Hanging(*(each.mountpoint for each in mounts))
    uses = FilesystemUses(statvfs, patience=0.01)
    for _ in range(3):
        assert not any(each.answers for each in uses.read(mounts).values())
    assert len(statvfs.asked) == MOST_STUCK
    for event in statvfs.hanging.values():
        event.set()


def test_a_filesystem_that_is_gone_is_left_out() -> None:
    def statvfs(point: str) -> os.statvfs_result:
        raise FileNotFoundError(2, "gone")

    assert FilesystemUses(statvfs).read([mount("/a")]) == {}


# -- processes ---------------------------------------------------------------------------------------------------------


def test_the_process_that_computes_is_the_first_by_processor_time() -> None:
    code = "import sys; sys.stdout.write('x'); sys.stdout.flush()\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as busy:
        try:
            assert busy.stdout is not None
            busy.stdout.read(1)
            ranking = ProcessRanking()
            ranking.read(top=1, by="cpu", seconds=None)
            stat = Path(f"/proc/{busy.pid}/stat")
            begun = int(stat.read_text().split()[13])
            wait_until(lambda: int(stat.read_text().split()[13]) > begun + 5)
            count, found = ranking.read(top=1000, by="cpu", seconds=1.0)
        finally:
            busy.send_signal(signal.SIGKILL)
    mine = found[str(busy.pid)]
    assert mine.percent is not None
    assert mine.percent >= 5 / os.sysconf("SC_CLK_TCK") * 100
    assert "while True: pass" in mine.command
    assert mine.user == psutil.Process().username()
    assert count >= len(found)
    percents = [each.percent or 0 for each in found.values()]
    assert percents == sorted(percents, reverse=True)


def test_processes_may_be_ranked_by_memory() -> None:
    count, found = ProcessRanking().read(top=3, by="memory", seconds=None)
    sizes = [each.memory for each in found.values()]
    assert sizes == sorted(sizes, reverse=True)
    assert len(found) == 3 <= count
    assert all(each.percent is None for each in found.values())
