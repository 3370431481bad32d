"""The service ``session``, for helpers in desktop sessions."""

from __future__ import annotations

import asyncio

from virtagent.api.clipboard import Selection
from virtagent.api.session import Session, SessionInfo, SessionTypes
from virtagent.errors import PermissionDenied
from virtagent.guest.peer_identity import identity_of, user_name
from virtagent.guest.resources import GuestService
from virtagent.peer.context import Context
from virtagent.service.options import method

__all__ = ["SessionService"]


class SessionService(GuestService, Session):
    """Takes what helpers tell; each speaks for the user whom the kernel names, and for nobody else."""

    async def attach(self, info: SessionInfo, *, ctx: Context | None = None) -> None:
        identity = identity_of(ctx.peer) if ctx is not None else None
        if ctx is None or identity is None or identity.uid is None:
            raise PermissionDenied("the kernel does not tell whose session this is; connect to the agent's unix socket")
        user = user_name(identity.uid) or str(identity.uid)
        sessions = self.resources.sessions
        session = sessions.add(ctx.peer, user, identity.uid, info)
        try:
            await asyncio.get_running_loop().create_future()  # cancelled when the helper goes
        finally:
            sessions.remove(session)

    @method(inline=True)
    def clipboard_changed(self, selection: Selection, types: SessionTypes, *, ctx: Context | None = None) -> None:
        session = self.resources.sessions.of_peer(ctx.peer) if ctx is not None else None
        if session is not None:
            self.resources.sessions.tell(session, selection, types)
            fields = {"user": session.user, "session": session.id, "selection": selection, "types": types}
            self.resources.events.publish("clipboard.changed", **fields)
