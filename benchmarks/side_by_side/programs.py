"""The versions of programs that are not Python's."""

from __future__ import annotations

import re
import shutil
import subprocess

__all__ = ["program_versions"]

TIMEOUT = 10.0


def program_versions(programs: tuple[str, ...]) -> dict[str, str]:
    """What each program says of its version; "not installed" where there is none."""
    return {name: version(name) for name in programs}


def version(name: str) -> str:
    if shutil.which(name) is None:
        return "not installed"
    said = subprocess.run([name, "--version"], capture_output=True, text=True, check=False, timeout=TIMEOUT)
    found = re.search(r"\d+(\.\d+)+", (said.stdout + said.stderr).partition("\n")[0])
    return found.group() if found else "unknown"
