"""What the agent tells of its end of a measurement."""

from __future__ import annotations

import asyncio
import os
import platform
from importlib.machinery import ExtensionFileLoader
from pathlib import Path

import pytest

from virtagent.guest.environment import build_options, cpu_model, environment_here, loop_name
from virtagent.peer import link


def test_it_tells_kernel_interpreter_and_the_packages_of_the_hot_path() -> None:
    found = environment_here()
    assert found.kernel == f"Linux {os.uname().release}"
    assert found.python == f"{platform.python_implementation()} {platform.python_version()}"
    assert found.versions.keys() >= {"virtagent", "msgpack", "msgspec"}
    assert all(isinstance(version, str) and version for version in found.versions.values())
    assert found.usable_cpus == len(os.sched_getaffinity(0))
    assert found.loop == ""


def test_it_tells_whether_the_hot_modules_are_native_code() -> None:
    assert link.__spec__ is not None
    assert environment_here().compiled is isinstance(link.__spec__.loader, ExtensionFileLoader)


async def test_the_loop_that_runs_is_told() -> None:
    assert loop_name() == type(asyncio.get_running_loop()).__module__.partition(".")[0]


def test_uvloop_is_told_by_its_name() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def name() -> str:
        return environment_here().loop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(name()) == "uvloop"


@pytest.mark.parametrize(
    ("text", "model"),
    [
        (
            "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t: fpu\n\nprocessor\t: 1\nmodel name\t: AMD EPYC\n",
            "AMD EPYC",
        ),
        ("Processor : ARMv7\n", "ARMv7"),
        ("hart : 0\nuarch : sifive,u74-mc\n", "sifive,u74-mc"),
        ("Model : Raspberry Pi 4\nmodel name :\n", "Raspberry Pi 4"),
        ("bogus", ""),
        ("", ""),
    ],
)
def test_the_processor_is_told_whatever_its_kernel_calls_it(tmp_path: Path, text: str, model: str) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert cpu_model(tmp_path / "cpuinfo") == model


def test_a_machine_without_proc_has_a_processor_without_a_name(tmp_path: Path) -> None:
    assert cpu_model(tmp_path / "missing") == ""


def test_of_the_build_options_those_that_count_are_told_and_no_paths() -> None:
    arguments = "'--prefix=/opt/python' '--enable-optimizations' '--with-lto' '--with-openssl=/opt/ssl' 'CC=gcc'"
    assert build_options(arguments) == ["--enable-optimizations", "--with-lto"]
    assert build_options("") == []
