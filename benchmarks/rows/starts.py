"""How soon a process answers after its start, and what it weighs then: the daemon, and a bare one."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from benchmarks import start
from benchmarks.rows.setting import Setting

__all__ = ["measure"]

PASSES = 3


def measure(setting: Setting) -> dict[str, float]:
    """``{daemon, daemon uvloop, bare process}/{start/ms,idle/rss_mib}``; the bare process runs on asyncio.

    ``daemon`` is ``virtagentd --loop asyncio``, which loads nothing that an install without extras does not have.
    """
    found: dict[str, list[float]] = {}
    subjects = ["bare process", *("daemon" if loop == "asyncio" else f"daemon {loop}" for loop in setting.loops)]
    if setting.number == 0:
        for subject in subjects:
            begin(subject, setting.servers.directory)  # compiles what has been changed since the last run
    for number in range(setting.count(PASSES)):
        for subject in setting.rotated(subjects, number):
            seconds, rss = begin(subject, setting.servers.directory)
            found.setdefault(f"{subject}/start/ms", []).append(seconds * 1e3)
            found.setdefault(f"{subject}/idle/rss_mib", []).append(rss)
    return {name: median(values) for name, values in found.items()}


def begin(subject: str, directory: Path) -> tuple[float, float]:
    """Start a process; the seconds to its first answer, and its idle RSS in MiB."""
    if subject == "bare process":
        return start.bare(directory)
    return start.daemon(directory, "uvloop" if subject.endswith(" uvloop") else "asyncio")
