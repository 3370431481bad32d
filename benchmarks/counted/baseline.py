"""The counts that were accepted, with what they were counted on: one run of interpreted code, one of compiled code."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.counted.counters import Counter
from virtagent.bench.environment import environment

__all__ = ["BASELINE", "Run", "differences", "load", "run_here", "save"]

BASELINE = Path(__file__).with_name("baseline.json")

DEPENDS_ON = {
    "instructions": ("machine", "python", "build", "libc", "msgpack", "msgspec"),
    "allocations": ("python", "msgpack", "msgspec"),
    "system calls": ("python",),
}
"""What must be equal for the same code to cost the same, by what is counted; beside the tool that counts it."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run, in the form that all our benchmarks have.

    Attributes:
        environment: the environment record, with "libc", with the tools in "tools" by what they count, and with the
            "code": "interpreted" or "compiled".
        metrics: by name, such as "ours/typed call/server instructions".
    """

    environment: dict[str, Any]
    metrics: dict[str, float]

    def figure_of(self, name: str) -> str:
        """One fact of the environment, as text; "" if it is not known."""
        found = self.environment.get(name, self.environment.get("versions", {}).get(name, ""))
        return str(found)


def differences(old: Run, new: Run, quantity: str, loop: str) -> list[str]:
    """What differs between two runs so that the same code need not cost the same; nothing: absolute costs compare."""
    names = DEPENDS_ON[quantity] + (("uvloop",) if loop == "uvloop" else ())
    differing = [name for name in names if old.figure_of(name) != new.figure_of(name)]
    if tool_of(old, quantity) != tool_of(new, quantity):
        differing.append(f"the tool ({tool_of(old, quantity)}, now {tool_of(new, quantity)})")
    return differing


def tool_of(run: Run, quantity: str) -> str:
    """What counted a quantity."""
    return str(run.environment.get("tools", {}).get(quantity, "none"))


def run_here(counting: Iterable[Counter], code: str, metrics: dict[str, float]) -> Run:
    """A run that was counted by this interpreter on this machine."""
    found = environment(loop="asyncio")
    found["libc"] = " ".join(platform.libc_ver())
    found["build"] = f"{found['build']} {' '.join(platform.python_build())} {sys.implementation.cache_tag}"
    found["tools"] = {counter.quantity: counter.tool for counter in counting}
    found["code"] = code
    return Run(found, metrics)


def load(code: str, path: Path = BASELINE) -> Run | None:
    """The accepted run of "interpreted" or "compiled" code; None where there is none.

    Raises:
        ValueError: the file is not what :func:`save` writes.
    """
    try:
        stored = stored_in(path).get(code)
        return None if stored is None else Run(stored["environment"], stored["rounds"][0])
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} holds no runs of counted costs ({error!r}): restore it with git checkout") from error


def stored_in(path: Path) -> dict[str, Any]:
    """The file's runs, by code."""
    try:
        runs: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return runs


def save(run: Run, path: Path = BASELINE) -> None:
    """Store a run in the place of the one of the same code; one metric a line, so that a difference can be read."""
    runs = stored_in(path) | {run.environment["code"]: {"environment": run.environment, "rounds": [run.metrics]}}
    path.write_text(json.dumps(runs, indent=1, sort_keys=True) + "\n")
