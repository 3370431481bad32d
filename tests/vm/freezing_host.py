"""A host that freezes a guest and never thaws it: run as a program, and killed.

python freezing_host.py URL MOUNTPOINT
"""

from __future__ import annotations

import asyncio
import sys

import virtagent


async def main(url: str, mountpoint: str) -> None:
    """Say "frozen" when it is."""
    async with virtagent.connect(url) as guest, guest.storage.freeze([mountpoint], deadline=600):
        print("frozen", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
