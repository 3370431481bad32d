"""Jobs of a guest, as host tooling uses them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from virtagent.api.jobs import DEFAULT_KEPT, JobInfo, Jobs
from virtagent.api.processes import StderrMode
from virtagent.host.processes import CommandOptions, command_of
from virtagent.peer.caller import Caller
from virtagent.service.stub import stub

__all__ = ["GuestJobs"]

if TYPE_CHECKING:
    _Base = Jobs
else:
    _Base = object


class GuestJobs(_Base):
    """Processes of the guest that go on without us: the methods of :class:`~virtagent.api.jobs.Jobs`."""

    def __init__(self, caller: Caller) -> None:
        self._stub = stub(Jobs, caller)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stub, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._stub)})

    async def start(  # type: ignore[override]  # people give argv, not a struct
        self,
        argv: Sequence[str] = (),
        *,
        env: Mapping[str, str] | None = None,
        stderr: StderrMode = "pipe",
        stdin: bool = False,
        keep: int = DEFAULT_KEPT,
        name: str = "",
        **options: Unpack[CommandOptions],
    ) -> JobInfo:
        """Start a process detached; see :meth:`virtagent.api.jobs.Jobs.start`.

        Args:
            argv: the program and its arguments; or () with ``shell=``, a line for /bin/sh.
            env: variables that are added to its environment.
            stderr: "merge" is ``2>&1``.
            stdin: keep its stdin open for ``write``.
            keep: bytes of its output that are kept.
            name: for people.
            options: cwd, user, timeout and the like: see :class:`CommandOptions`.
        """
        return await self._stub.start(
            command_of(argv, options),
            env=None if env is None else dict(env),
            stderr=stderr,
            stdin=stdin,
            keep=keep,
            name=name,
        )
