"""How soon a process answers after its start, and what it weighs then: the daemon, and a bare one."""

from __future__ import annotations

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
    for number in range(setting.count(PASSES)):
        for subject in setting.rotated(subjects, number):
            directory = setting.servers.directory
            if subject == "bare process":
                seconds, rss = start.bare(directory)
            else:
                seconds, rss = start.daemon(directory, "uvloop" if subject.endswith("uvloop") else "asyncio")
            found.setdefault(f"{subject}/start/ms", []).append(seconds * 1e3)
            found.setdefault(f"{subject}/idle/rss_mib", []).append(rss)
    return {name: median(values) for name, values in found.items()}
