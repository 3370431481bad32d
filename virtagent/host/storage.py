"""``guest.storage``: the stub of the service, and a freeze as ``async with``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from virtagent.api.storage import Freeze, FrozenFilesystem, Storage, Thaw
from virtagent.errors import Aborted, CallError, NotFound, UsageError, VirtagentError
from virtagent.host.delegate import Delegate
from virtagent.peer.caller import Caller
from virtagent.service.streams import TypedStream
from virtagent.service.stub import stub

__all__ = ["FreezeLease", "GuestStorage"]

MARGIN = 60.0
"""Seconds that the answer may take beyond the lease's own: hooks run before its time begins."""

if TYPE_CHECKING:
    _Base = Storage
else:
    _Base = Delegate


class FreezeLease:
    """Filesystems of the guest, frozen as long as the ``async with`` block runs, and thawed however it is left.

    ::

        async with guest.storage.freeze(["/srv"], deadline=30) as lease:
            await take_snapshot()

    What was done inside is only consistent if all was frozen to the end: leaving the block raises
    :class:`~virtagent.errors.Aborted` if it was not.

    Args:
        stub: calls the guest.
        mountpoints: what to freeze; None: all that can be.
        deadline: seconds that it may take at most; the guest thaws by itself then.
        hooks: run the guest's hooks.

    Attributes:
        state: what the guest told last.
        lost: why it does not hold any more; None: it does.
    """

    def __init__(self, stub: Storage, mountpoints: Sequence[str] | None, *, deadline: float, hooks: bool) -> None:
        self._stub = stub
        self._mountpoints = None if mountpoints is None else list(mountpoints)
        self._deadline = deadline
        self._hooks = hooks
        self._stream: TypedStream[Freeze] | None = None
        self._follower: asyncio.Task[None] | None = None
        self._over = asyncio.Event()
        self.state = Freeze(lease="", filesystems=[], remaining=0.0)
        self.lost: VirtagentError | None = None

    @property
    def frozen(self) -> list[str]:
        """The mountpoints that are frozen."""
        return [each.mountpoint for each in self.state.filesystems if each.status == "frozen"]

    @property
    def left_out(self) -> list[FrozenFilesystem]:
        """Those that could not be frozen, with why: only if all were asked for."""
        return [each for each in self.state.filesystems if each.status in ("unsupported", "busy")]

    async def __aenter__(self) -> FreezeLease:
        """Freeze.

        Raises:
            CallError: as :meth:`virtagent.api.storage.Storage.freeze`; nothing is frozen then.
        """
        made = self._stub.freeze(self._mountpoints, deadline=self._deadline, hooks=self._hooks)
        self._stream = TypedStream.of(await made)
        try:
            self.state = await anext(self._stream)
        except BaseException:
            await self._stream.aclose()
            raise
        self._follower = asyncio.create_task(self._follow(self._stream), name=f"freeze {self.state.lease}")
        return self

    async def _follow(self, stream: TypedStream[Freeze]) -> None:
        try:
            async for state in stream:
                self.state = state
        except VirtagentError as error:
            self.lost = error
        finally:
            self._over.set()

    async def renew(self, deadline: float = 60.0) -> None:
        """Let it last so many seconds from now.

        Raises:
            NotFound: it has ended already.
        """
        self.state = await self._stub.renew(self.state.lease, deadline=deadline)

    async def wait_lost(self, timeout: float | None = None) -> bool:
        """Wait until it does not hold any more; False if it still does after so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._over.wait()
        return self._over.is_set()

    async def thaw(self) -> Thaw:
        """Thaw now, and run the hooks; leaving the block does it by itself.

        Raises:
            NotFound: it has ended already; the message says how.
        """
        return await self._stub.thaw(lease=self.state.lease)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Thaw.

        Raises:
            Aborted: it did not hold until now, so what was done inside is not consistent. Not if the block itself
                raised something.
        """
        assert self._stream is not None
        assert self._follower is not None
        told = ""
        try:
            if not self._over.is_set():
                done = await self.thaw()
                self.state = done.leases[0] if done.leases else self.state
                told = "; ".join(f"{each.mountpoint}: {each.error}" for each in done.filesystems if each.error)
        except NotFound as ended:
            told = str(ended)
        except (CallError, ConnectionError) as failed:
            told = str(failed)
        finally:
            await self._stream.aclose()
            self._follower.cancel()
            await asyncio.wait([self._follower])
        told = told or ("" if self.lost is None else str(self.lost))
        if told and kind is None:
            raise Aborted(f"the filesystems were not frozen to the end, so a snapshot is not consistent: {told}")


class GuestStorage(_Base):
    """All methods of :class:`~virtagent.api.storage.Storage`; ``freeze`` gives a lease to be used by ``async with``."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._stub = stub(Storage, caller)

    def freeze(  # type: ignore[override]
        self, mountpoints: Sequence[str] | None = None, *, deadline: float = 60.0, hooks: bool = True
    ) -> FreezeLease:
        """Freeze filesystems for the length of an ``async with`` block.

        Args:
            mountpoints: what to freeze, and all of it; None: all local filesystems that can be.
            deadline: seconds after which the guest thaws by itself, an hour at most; :meth:`FreezeLease.renew` it.
            hooks: run the guest's hooks.

        Raises:
            UsageError: a single path instead of a list, or a deadline that cannot be.
        """
        if isinstance(mountpoints, str):
            raise UsageError(f"mountpoints is a list; write freeze([{mountpoints!r}])")
        if not 0 < deadline <= 3600:
            raise UsageError(f"a freeze may last up to 3600 seconds, not {deadline:g}; renew it")
        with_options = getattr(self._caller, "with_options", None)
        patient = self._stub if with_options is None else stub(Storage, with_options(deadline=deadline + MARGIN))
        return FreezeLease(patient, mountpoints, deadline=deadline, hooks=hooks)
