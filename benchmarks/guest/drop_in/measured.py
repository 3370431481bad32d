"""A drop-in service of virtagentd: the least that a call can be, as ``guest-ping`` is the least of qemu-ga."""

from __future__ import annotations

from virtagent import Service, method


class Measured(Service, name="measured"):
    """Answers at once."""

    @method(inline=True)
    async def nothing(self) -> None:
        """Answer nothing."""

    @method(inline=True)
    async def echo(self, data: bytes) -> bytes:
        """Answer what came."""
        return data
