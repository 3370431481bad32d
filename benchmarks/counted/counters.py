"""What counts: valgrind or perf for instructions, memray for allocations, strace for system calls.

Each counter runs one process, writes what it counted to a file, and reads the file: ``parse`` gives what was counted
by name, so that a message can say which system call became more. Instructions and allocations have one name.

Allocations are counted with memray and not with tracemalloc: tracemalloc knows only what is alive when it is asked, and
what a call allocates is gone when it has been answered.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path

__all__ = ["Allocations", "Counter", "CounterMissing", "Perf", "SystemCalls", "Valgrind", "instruction_counter"]

Counts = dict[str, int]
"""How often, by what."""


class CounterMissing(Exception):
    """A tool that counts is not here or does not count; the text says what to do."""


class Counter(ABC):
    """Counts what one process does.

    Attributes:
        quantity: what is counted, as the table's columns and the baseline name it.
        tool: the tool with its version.
    """

    quantity: str
    tool: str

    @abstractmethod
    def command(self, python: list[str], file: Path) -> list[str]:
        """The command that runs ``python`` (a command too) and leaves what it counted in ``file``."""

    @abstractmethod
    def read(self, file: Path) -> Counts:
        """What was counted.

        Raises:
            ValueError: the tool did not write what it should.
        """


def version_of(tool: str, package: str) -> str:
    """What a tool says of its version.

    Raises:
        CounterMissing: it is not installed.
    """
    if shutil.which(tool) is None:
        raise CounterMissing(f"{tool} is not installed: apt-get install -y {package}")
    said = subprocess.run([tool, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\d+(\.\d+)+", said)
    return f"{tool} {found[0] if found else 'of unknown version'}"


class Valgrind(Counter):
    """User instructions, by valgrind's cachegrind without its cache: the quickest of its tools that counts exactly.

    Callgrind counts the same in 1.3 times the time, lackey in four times.
    """

    quantity = "instructions"

    def __init__(self) -> None:
        self.tool = version_of("valgrind", "valgrind")

    def command(self, python: list[str], file: Path) -> list[str]:
        options = ["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", f"--log-file={file}"]
        return ["valgrind", *options, *python]

    def read(self, file: Path) -> Counts:
        return {"instructions": parse_valgrind(file.read_text())}


def parse_valgrind(log: str) -> int:
    """The instructions that cachegrind or callgrind reports at a process's end.

    Raises:
        ValueError: it reports none.
    """
    found = re.findall(r"^==\d+== I\s+refs:\s+([\d,]+)$", log, re.MULTILINE)
    if not found:
        raise ValueError(f"valgrind counted nothing; it said: {log[-400:].strip() or 'nothing'}")
    return int(found[-1].replace(",", ""))


class Perf(Counter):
    """User instructions, by the CPU's own counter: quick, where a machine (or its hypervisor) has one."""

    quantity = "instructions"

    def __init__(self) -> None:
        self.tool = version_of("perf", "linux-perf")
        tried = subprocess.run(
            ["perf", "stat", "-x,", "-e", "instructions:u", "true"], capture_output=True, text=True, check=False
        )
        try:
            parse_perf(tried.stderr)
        except ValueError as error:
            raise CounterMissing(f"{error}: apt-get install -y valgrind") from None

    def command(self, python: list[str], file: Path) -> list[str]:
        return ["perf", "stat", "-x,", "-e", "instructions:u", "-o", str(file), "--", *python]

    def read(self, file: Path) -> Counts:
        return {"instructions": parse_perf(file.read_text())}


def parse_perf(text: str) -> int:
    """The instructions in ``perf stat -x,`` output.

    Raises:
        ValueError: they were not counted.
    """
    for line in text.splitlines():
        fields = line.split(",")
        if len(fields) > 2 and fields[2].startswith("instructions"):
            if fields[0].isdigit():
                return int(fields[0])
            raise ValueError(f"perf cannot count instructions here ({fields[0].strip('<>')})")
    raise ValueError(f"perf counted no instructions; it said: {text.strip()[-400:] or 'nothing'}")


class Allocations(Counter):
    """Allocations of CPython's allocators and of malloc, by memray, inside the process."""

    quantity = "allocations"

    def __init__(self) -> None:
        if importlib.util.find_spec("memray") is None:
            raise CounterMissing("memray is not installed: pip install 'memray>=1.17'")
        from importlib.metadata import version

        self.tool = f"memray {version('memray')}"

    def command(self, python: list[str], file: Path) -> list[str]:
        return [*python, "--allocations", str(file)]

    def read(self, file: Path) -> Counts:
        report = file.with_suffix(".json")
        command = [sys.executable, "-m", "memray", "stats", "--json", "--force", "--output", str(report), str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ValueError(f"memray stats failed: {done.stderr.strip()[-400:]}")
        return {"allocations": parse_memray(report.read_text())}


def parse_memray(report: str) -> int:
    """The number of allocations in what ``memray stats --json`` wrote.

    Raises:
        ValueError: there is none.
    """
    total = json.loads(report).get("total_num_allocations")
    if not isinstance(total, int):
        raise ValueError("memray's statistics have no total_num_allocations")
    return total


class SystemCalls(Counter):
    """System calls, by ``strace -c``."""

    quantity = "system calls"

    def __init__(self) -> None:
        self.tool = version_of("strace", "strace")
        tried = subprocess.run(["strace", "-c", "true"], capture_output=True, text=True, check=False)
        if tried.returncode:
            raise CounterMissing(f"strace may not trace here: {tried.stderr.strip()[-200:]}")

    def command(self, python: list[str], file: Path) -> list[str]:
        return ["strace", "-f", "-c", "-o", str(file), "--", *python]

    def read(self, file: Path) -> Counts:
        return parse_strace(file.read_text())


def parse_strace(text: str) -> Counts:
    """Calls by name, of the table that ``strace -c`` writes.

    Raises:
        ValueError: there is no such table.
    """
    counts: Counts = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) in (5, 6) and fields[3].isdigit() and fields[-1] != "total":
            counts[fields[-1]] = counts.get(fields[-1], 0) + int(fields[3])
    if not counts:
        raise ValueError(f"strace counted nothing; it said: {text.strip()[-400:] or 'nothing'}")
    return counts


def instruction_counter(wanted: str = "auto") -> Counter:
    """What counts instructions here.

    Args:
        wanted: "valgrind", "perf", or "auto": valgrind where it is installed, since it repeats exactly and counts
            the same on every machine; else perf, if it counts on this one.

    Raises:
        CounterMissing: nothing does.
    """
    if wanted == "perf":
        return Perf()
    if wanted == "valgrind":
        return Valgrind()
    try:
        return Valgrind()
    except CounterMissing as no_valgrind:
        try:
            return Perf()
        except CounterMissing:
            raise no_valgrind from None
