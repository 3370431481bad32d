"""The wheel's build hook: pure by default, with compiled modules when VIRTAGENT_COMPILE=1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

__all__ = ["CompilingHook"]

COMPILE = "VIRTAGENT_COMPILE"

TOOLS = ["mypy[mypyc]>=2.4,<3", "setuptools>=77", "msgpack>=1.1", "msgpack-types>=0.5", "msgspec>=0.19"]
"""What compiling needs beside a C compiler: mypyc, and the types of what the modules import."""


class CompilingHook(BuildHookInterface[Any]):
    """Adds extension modules to a wheel when asked: by the environment, or by the hook's option ``compile = true``."""

    _made: tempfile.TemporaryDirectory[str] | None = None

    def wanted(self) -> bool:
        """Whether to compile.

        Raises:
            ValueError: the environment says neither 0 nor 1.
        """
        asked = os.environ.get(COMPILE, "")
        if asked not in {"", "0", "1"}:
            raise ValueError(f"{COMPILE} is {asked!r}: set it to 1 to compile, or to 0")
        return asked == "1" or (not asked and bool(self.config.get("compile", False)))

    def dependencies(self) -> list[str]:
        """What the build installs first."""
        return TOOLS if self.wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and name the wheel after this interpreter and platform.

        Args:
            version: "standard", or "editable".
            build_data: what the wheel is made from; changed.

        Raises:
            RuntimeError: it does not compile, or the install is an editable one.
        """
        if not self.wanted():
            return
        if version == "editable":
            raise RuntimeError(f"an editable install is never compiled: unset {COMPILE}, and see `make compiled`")
        # Not in the checkout: another Python may be building from it at the same time.
        self._made = tempfile.TemporaryDirectory(prefix="virtagent-wheel-")
        work = Path(self._made.name)
        done = subprocess.run([sys.executable, "-m", "compiling", "extensions", str(work)], cwd=self.root, check=False)
        if done.returncode:
            raise RuntimeError(f"virtagent is not compiled: the reason is above ({COMPILE}=0 makes a pure wheel)")
        made: dict[str, str] = json.loads((work / "extensions.json").read_text())
        build_data["force_include"] |= {path: place for place, path in made.items()}
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what is in the wheel now."""
        if self._made is not None:
            self._made.cleanup()
