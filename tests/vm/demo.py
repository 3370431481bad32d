"""Boot a guest with the package installed and keep it until Ctrl-C: `python tests/vm/demo.py [AGENT COMMAND]`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.vm.harness import HarnessError, Machine, build_image, build_wheel

PORT = "org.virtagent.0"
AGENT = f"python3 -m virtagent.cli.daemon --channel virtio:{PORT} --channel serial:/dev/ttyS1?baud=4000000"


async def main(agent: str) -> None:
    """Boot, print where to connect, and wait for the guest to power off."""
    with tempfile.TemporaryDirectory() as scratch:
        image = build_image(build_wheel(Path(scratch)), extras=("cli",))
    async with Machine(image, ports=(PORT,), agent=agent) as machine:
        await machine.booted()
        print(f"virtio-serial  unix:{machine.socket(PORT)}\nUART           unix:{machine.socket('ttyS1')}", flush=True)
        print(f"Ctrl-C ends it. The console so far:\n{machine.console()}", flush=True)
        await machine.exited(timeout=float("inf"))


if __name__ == "__main__":
    try:
        asyncio.run(main(" ".join(sys.argv[1:]) or AGENT))
    except KeyboardInterrupt:
        pass
    except HarnessError as error:
        sys.exit(str(error))
