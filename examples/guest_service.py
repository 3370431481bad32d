"""A service with progress, called back to its caller: ``virtagentd --services DIR`` with this file in DIR loads it."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass

import virtagent


@dataclass
class Snapshot:
    path: str
    level: int


class Backup(virtagent.Service, name="backup"):
    async def snapshot(self, path: str, *, level: int = 3, ctx: virtagent.Context) -> Snapshot:
        """Pretend to take a snapshot, and tell the caller how far it is."""
        for percent in (0, 50, 100):
            await ctx.peer.call("progress.report", percent=percent)
        return Snapshot(path, level)


async def main(url: str) -> None:
    async with virtagent.listen(url, services=[Backup()]) as listening:
        print(f"serving {listening.url}", flush=True)
        await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
