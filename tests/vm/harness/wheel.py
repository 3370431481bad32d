"""The package under test, as its users get it: the built wheel or .deb, never the source tree."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from .errors import HarnessError

REPOSITORY = Path(__file__).resolve().parents[3]


def build_wheel(out: Path, source: Path = REPOSITORY) -> Path:
    """Build the wheel of `source` into the directory `out` and return its path.

    Without hatchling in this environment the build fetches it into one of its own. Raises HarnessError with the
    last line of the build's complaint.
    """
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(source)]
    if importlib.util.find_spec("hatchling") is not None:
        command.append("--no-isolation")
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(out.glob("*.whl"))
    if built.returncode or len(wheels) != 1:
        complaint = (built.stderr.strip() or built.stdout.strip() or "no wheel came").splitlines()[-1]
        raise HarnessError(f"the wheel cannot be built: {complaint}")
    return wheels[0]


def build_bundle(kind: str, out: Path, source: Path = REPOSITORY) -> Path:
    """Build what guests install of `source`, "deb" or "pyz", into the empty directory `out` and return its path.

    Raises HarnessError with what the build complains of.
    """
    command = [sys.executable, "-m", "bundling", kind, "--out", str(out)]
    built = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    made = list(out.glob(f"*.{kind}"))
    if built.returncode or len(made) != 1:
        complaint = (built.stderr.strip() or built.stdout.strip() or "nothing came").splitlines()[-1]
        raise HarnessError(f"the .{kind} cannot be built: {complaint}")
    return made[0]
