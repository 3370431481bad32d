"""What a guest's agent can do: asked once for each set of methods that its hello tells of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtagent.errors import MethodNotFound
from virtagent.service.introspection import Introspection
from virtagent.service.stub import stub

if TYPE_CHECKING:
    from virtagent.peer.peer import Peer

__all__ = ["Capabilities"]


class Capabilities:
    """The methods of one guest.

    Args:
        peer: the guest.
    """

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._digest: str | None = None
        self._methods: frozenset[str] = frozenset()

    async def methods(self) -> frozenset[str]:
        """The whole names of its methods. An agent that was updated meanwhile is asked again.

        Raises:
            VirtagentError: what a call of ``rpc.methods`` raises.
        """
        info = self._peer.info
        digest = info.identity.digest if info is not None else ""
        if not digest or digest != self._digest:
            found = await stub(Introspection, self._peer).methods()
            self._digest, self._methods = digest, frozenset(each.name for each in found)
        return self._methods

    async def require(self, *methods: str) -> None:
        """Fail now rather than half-way, and say who lacks what.

        Args:
            methods: whole names, such as "storage.freeze".

        Raises:
            MethodNotFound: the guest has not all of them; the message names those that it lacks.
        """
        here = await self.methods()
        lacking = [each for each in methods if each not in here]
        if lacking:
            info = self._peer.info
            who = "the guest" if info is None else f"{info.identity.name or 'the guest'} ({info.identity.software})"
            raise MethodNotFound(f"{who} has no method {', '.join(lacking)}; update its agent, or do without")
