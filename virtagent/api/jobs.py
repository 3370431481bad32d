"""Jobs: processes of the guest that outlive the call that started them, and the session."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from virtagent.api.processes import Command, Environment, ProcessExited, Signal, StderrMode
from virtagent.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from virtagent.service.options import method
from virtagent.service.service import Service

__all__ = ["DEFAULT_KEPT", "FINISHED_JOBS", "MOST_KEPT", "RUNNING_JOBS", "JobId", "JobInfo", "JobOutput", "Jobs"]

DEFAULT_KEPT = 1024 * 1024
"""Bytes of a job's output that are kept, if the caller does not say."""

MOST_KEPT = 16 * 1024 * 1024
"""The most that one job can be given; all jobs together have four times that."""

RUNNING_JOBS = 256
"""Jobs that run at a time."""

FINISHED_JOBS = 64
"""Jobs that are remembered after their end; the one that ended first is forgotten first."""

JobId = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
"""Counts from 1 in one run of the agent."""

_Offset = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Cells = Annotated[int, msgspec.Meta(ge=1, le=10000)]


class JobInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A job, as it is at the moment.

    Attributes:
        job: its number.
        name: what its starter called it.
        command: argv or the shell's line, for people; "" for those who may not run programs.
        pid: its process, and that of its process group and session.
        state: "running" or "exited".
        started, ended: by the guest's clock.
        exited: how it ended.
        written: bytes that it wrote so far: the offset of the next one.
        kept_from: the offset of the oldest byte that is still kept.
        stdin: it can still be written to.
        terminal: it has a terminal.
        owner: the peer that started it.
    """

    job: int
    state: Literal["running", "exited"]
    pid: int
    started: datetime
    written: int
    kept_from: int
    name: str = ""
    command: str = ""
    ended: datetime | None = None
    exited: ProcessExited | None = None
    stdin: bool = False
    terminal: bool = False
    owner: str = ""


class JobOutput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One piece of a job's output.

    Attributes:
        offset: of the first byte; stdout and stderr are counted together, in the order in which the agent read them.
        stdout, stderr: one of them has bytes; with neither, the piece tells only of loss or the end.
        lost: bytes right before ``offset`` that were asked for, and are not kept any more.
        exited: the job's end, with the last piece.
    """

    offset: int
    stdout: bytes = b""
    stderr: bytes = b""
    lost: int = 0
    exited: ProcessExited | None = None


_START_ERRORS = (NotFound, PermissionDenied, InvalidArgument, FailedPrecondition, ResourceExhausted, Unavailable)


class Jobs(Service, name="jobs", interface=True):
    """Processes that go on without their starter. They end with the agent: SIGTERM, then SIGKILL."""

    @method(role="exec", since="0.1.0", errors=_START_ERRORS, secrets=("env",))
    async def start(
        self,
        command: Command,
        *,
        env: Environment | None = None,
        stderr: StderrMode = "pipe",
        stdin: bool = False,
        keep: Annotated[int, msgspec.Meta(ge=4096, le=MOST_KEPT)] = DEFAULT_KEPT,
        name: Annotated[str, msgspec.Meta(max_length=128)] = "",
    ) -> JobInfo:
        """Start a process detached. See ``processes.run`` for the errors.

        Its output is read as it comes, and the last ``keep`` bytes are kept: it never waits for a reader.

        Args:
            command: what to run; its ``timeout`` counts.
            env: variables of the environment, added to those that a process gets anyway.
            stderr: as for ``processes.run``.
            stdin: keep its stdin open for ``write``; by default it is /dev/null.
            keep: bytes.
            name: for people.
        """
        raise NotImplementedError

    @method(role="observe", since="0.1.0", idempotent=True)
    async def list(self) -> tuple[JobInfo, ...]:
        """Jobs that run, and those that ended and are remembered."""
        raise NotImplementedError

    @method(role="observe", since="0.1.0", idempotent=True, errors=(NotFound,))
    async def status(self, job: JobId) -> JobInfo:
        """One job.

        Raises:
            NotFound: there is none of this number (any more).
        """
        raise NotImplementedError

    @method(role="exec", since="0.1.0", idempotent=True, errors=(NotFound, PermissionDenied, Unavailable))
    def output(self, job: JobId, *, offset: _Offset | None = None, follow: bool = True) -> AsyncIterator[JobOutput]:
        """A job's output. Whoever leaves does not disturb it.

        Args:
            job: its number.
            offset: where to begin; by default with what is kept. Beyond what was written: with what comes then.
            follow: go on until it ends; else end with what there is.

        Raises:
            NotFound: there is no such job (any more).
            PermissionDenied: this caller may run certain programs only, and the job is another's.
            Unavailable: the agent goes.
        """
        raise NotImplementedError

    @method(role="exec", since="0.1.0", errors=(NotFound, PermissionDenied, FailedPrecondition), secrets=("data",))
    async def write(self, job: JobId, data: AsyncIterator[bytes], *, close: bool = False) -> int:
        """Write to a job's stdin, as fast as it reads; the number of bytes that it was given.

        Args:
            job: its number.
            data: bytes.
            close: end its stdin after that (a terminal gets Ctrl-D).

        Raises:
            NotFound: there is no such job (any more).
            PermissionDenied: as for :meth:`output`.
            FailedPrecondition: its stdin is closed, was never open, or another caller writes to it.
        """
        raise NotImplementedError

    @method(role="exec", since="0.1.0", idempotent=True, errors=(NotFound, PermissionDenied))
    async def wait(self, job: JobId) -> JobInfo:
        """Wait until a job has ended, for as long as the call's deadline allows. Cancelling leaves the job alone.

        Raises:
            NotFound: there is no such job (any more).
            PermissionDenied: as for :meth:`output`.
        """
        raise NotImplementedError

    @method(role="exec", since="0.1.0", errors=(NotFound, PermissionDenied, InvalidArgument, FailedPrecondition))
    async def signal(self, job: JobId, signal: Signal = "SIGTERM") -> None:
        """Send a signal to a job's process group.

        Raises:
            NotFound: there is no such job (any more).
            PermissionDenied: as for :meth:`output`.
            InvalidArgument: there is no such signal.
            FailedPrecondition: it has ended.
        """
        raise NotImplementedError

    @method(role="exec", since="0.1.0", errors=(NotFound, PermissionDenied, FailedPrecondition))
    async def resize(self, job: JobId, columns: _Cells, rows: _Cells) -> None:
        """Change the size of a job's terminal.

        Raises:
            NotFound: there is no such job (any more).
            PermissionDenied: as for :meth:`output`.
            FailedPrecondition: it has no terminal, or has ended.
        """
        raise NotImplementedError

    @method(role="exec", since="0.1.0", errors=(NotFound, PermissionDenied, FailedPrecondition))
    async def remove(self, job: JobId, *, kill: bool = False) -> None:
        """Forget a job and its output.

        Args:
            job: its number.
            kill: end it first, if it runs: SIGTERM, and SIGKILL when its ``grace`` has passed.

        Raises:
            NotFound: there is no such job (any more).
            PermissionDenied: as for :meth:`output`.
            FailedPrecondition: it runs.
        """
        raise NotImplementedError
