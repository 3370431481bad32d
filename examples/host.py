"""Ask a guest what it is and read its kernel log: ``python examples/host.py unix:/run/vm/web1.sock``."""

from __future__ import annotations

import asyncio
import sys

import virtagent


async def main(url: str) -> None:
    async with virtagent.connect(url) as guest:
        info = await guest.system.info()
        print(f"{info.hostname}: {info.os.pretty_name}, kernel {info.kernel.release}")
        async for record in guest.log.kernel(level=4):
            print(f"{record.timestamp:12.6f} {record.message}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
