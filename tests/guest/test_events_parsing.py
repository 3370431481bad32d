"""What the kernel says of mounts, pressure, killed processes, devices and units, understood."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtagent.guest.events_devices import device_event
from virtagent.guest.events_memory import OomKills
from virtagent.guest.events_mounts import compare
from virtagent.guest.events_pressure import parse_pressure
from virtagent.guest.events_units import unit_of
from virtagent.guest.mounts import Mount


def mount(number: int, point: str, options: str = "rw", device: str = "0:1") -> Mount:
    return Mount(number, device, "/", point, options, "tmpfs", "none", "rw")


MOUNTS = st.dictionaries(
    st.integers(1, 6),
    st.tuples(st.sampled_from(["/a", "/b"]), st.sampled_from(["rw", "ro"]), st.sampled_from(["0:1", "0:2"])),
).map(lambda found: [mount(number, *each) for number, each in found.items()])


@given(MOUNTS, MOUNTS)
def test_what_happened_to_mounts_makes_one_look_into_the_other(before: list[Mount], after: list[Mount]) -> None:
    now = list(before)
    for kind, each in compare(before, after):
        if kind == "mount.removed":
            now.remove(each)
        elif kind == "mount.added":
            now.append(each)
        else:
            assert kind == "mount.changed"
            (old,) = [old for old in now if old.id == each.id]
            assert old.options != each.options
            now[now.index(old)] = each
    assert sorted(now) == sorted(after)


def test_a_mount_on_another_is_removed_before_it() -> None:
    before = [mount(1, "/a"), mount(2, "/a/b")]
    assert [each.mountpoint for _, each in compare(before, [])] == ["/a/b", "/a"]


def test_pressure_is_read_by_its_kind() -> None:
    text = "some avg10=1.50 avg60=0.25 avg300=0.10 total=2500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"
    assert parse_pressure(text, "some") == {"avg10": 1.5, "avg60": 0.25, "total": 2.5}
    assert parse_pressure(text, "full")["total"] == 1e-6
    with pytest.raises(ValueError, match="no line"):
        parse_pressure("", "some")


SUMMARY = (
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/a,"
    "task_memcg=/a/b.service,task=my (odd) name,pid=123,uid=1000"
)
KILLED = (
    "Memory cgroup out of memory: Killed process 123 (my (odd) name) total-vm:1kB, anon-rss:100kB, file-rss:20kB, "
    "shmem-rss:3kB, UID:1000 pgtables:60kB oom_score_adj:0"
)


def test_a_killed_process_is_told_with_its_control_group() -> None:
    kills = OomKills()
    assert kills.take(SUMMARY) is None
    assert kills.take("Tasks state (memory values in pages):") is None
    assert kills.take(KILLED) == {
        "pid": 123,
        "process": "my (odd) name",
        "uid": 1000,
        "rss": 123 * 1024,
        "cgroup": "/a/b.service",
        "constraint": "memcg",
    }


def test_a_killed_process_is_told_as_older_kernels_say_it() -> None:
    told = OomKills().take("Out of memory: Killed process 7 (x) total-vm:1kB, anon-rss:2kB, file-rss:0kB")
    assert told == {"pid": 7, "process": "x", "uid": None, "rss": 2048, "cgroup": None, "constraint": "none"}


def test_a_second_one_of_the_same_group_does_not_get_the_first_ones_words() -> None:
    kills = OomKills()
    kills.take(SUMMARY)
    second = kills.take(KILLED.replace("process 123", "process 124"))
    assert second is not None
    assert (second["pid"], second["cgroup"]) == (124, None)


@given(st.text())
def test_any_message_of_the_kernel_is_survived(text: str) -> None:
    kills = OomKills()
    kills.take(text)
    kills.take(SUMMARY + text)
    kills.take(KILLED[:40] + text)


@pytest.mark.parametrize(
    ("action", "properties", "kind"),
    [
        ("add", {"SUBSYSTEM": "block"}, "device.added"),
        ("remove", {"SUBSYSTEM": "net"}, "device.removed"),
        ("change", {"SUBSYSTEM": "block"}, "device.changed"),
        ("bind", {"SUBSYSTEM": "pci"}, None),
        ("add", {"SUBSYSTEM": "bdi"}, None),
    ],
)
def test_devices_are_told_and_the_kernels_own_affairs_are_not(
    action: str, properties: dict[str, str], kind: str | None
) -> None:
    told = device_event(action, "/devices/x", properties)
    assert (None if told is None else told[0]) == kind


def test_a_device_is_told_with_names_before_numbers() -> None:
    properties: dict[str, Any] = {
        "SUBSYSTEM": "block",
        "DEVNAME": "/dev/sda",
        "DEVTYPE": "disk",
        "ID_VENDOR": "QEMU",
        "ID_VENDOR_ID": "1af4",
        "ID_SERIAL_SHORT": "abc",
    }
    told = device_event("add", "/devices/x", properties)
    assert told is not None
    assert {key: value for key, value in told[1].items() if value is not None} == {
        "path": "/devices/x",
        "subsystem": "block",
        "name": "/dev/sda",
        "type": "disk",
        "vendor": "QEMU",
        "serial": "abc",
        "action": "add",
    }


def test_a_units_name_is_in_its_objects_path() -> None:
    path = "/org/freedesktop/systemd1/unit/"
    assert unit_of(path + "cron_2eservice") == "cron.service"
    assert unit_of(path + "dev_2ddisk_2dby_5cx2duuid_2eswap") == "dev-disk-by\\x2duuid.swap"
