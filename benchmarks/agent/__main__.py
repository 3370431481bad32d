"""``python -m benchmarks.agent [--quick] [--only PART]``: all parts, each in a process of its own."""

from __future__ import annotations

import argparse
import subprocess
import sys

PARTS = ("exec", "files")


def main() -> int:
    """The program; the first code of a part that failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agent", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="measure less")
    parser.add_argument("--only", choices=PARTS, help="one part [all]")
    options = parser.parse_args()
    for part in [options.only] if options.only else PARTS:
        print(f"-- {part}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.agent.{part}", *(["--quick"] if options.quick else [])]
        code = subprocess.run(command, check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
