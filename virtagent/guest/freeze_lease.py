"""A freeze as the agent holds it: its watchdog process, and what is known of it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from virtagent.api.storage import Freeze, FreezeEnd, FreezeHook, FreezeStatus, FrozenFilesystem
from virtagent.errors import Aborted, CallError, FailedPrecondition, PermissionDenied, Unavailable
from virtagent.guest import freeze_keeper
from virtagent.guest.freeze_quiet import Quiet
from virtagent.guest.freeze_record import FreezeRecord
from virtagent.guest.freeze_targets import FreezeTarget
from virtagent.guest.frozen import Frozen

__all__ = ["FreezeLease"]

log = logging.getLogger("virtagent.storage")

START_PATIENCE = 20.0
"""Seconds in which the watchdog process must be up."""

_PROGRAM = (
    "import json, sys; told = json.loads(sys.argv[1]); sys.path[:] = told['path'];"
    " from virtagent.guest.freeze_keeper import main; main()"
)
"""Imported from where the agent's own modules are: a folder or an archive, sources or compiled ones."""

_ENDS: dict[str, FreezeEnd] = {"deadline": "deadline", "signal": "keeper", "agent": "agent"}


class FreezeLease:
    """One freeze. :meth:`hold` it once; then it ends by :meth:`end`, or by itself.

    Args:
        targets: what to freeze, in this order; they are closed at the end.
        hooks: programs to run before, in this order, and after, in the other one.
        hook_timeout: seconds for each.
        strict: all targets must be frozen.
        who: whose it is.
        frozen: where the filesystems are told of.
        quiet: see there.

    Attributes:
        name: of the lease.
        changed: set whenever something has; who waits clears it.
        on_end: called when it has ended.
    """

    def __init__(
        self,
        targets: Sequence[FreezeTarget],
        *,
        hooks: Sequence[str] = (),
        hook_timeout: float = 30.0,
        strict: bool = False,
        who: str = "",
        frozen: Frozen,
        quiet: Quiet,
    ) -> None:
        self.name = secrets.token_hex(4)
        self.changed = asyncio.Event()
        self._record = FreezeRecord(self.name)
        self.on_end: Callable[[], object] = bool
        self._targets = targets
        self._hooks = hooks
        self._hook_timeout = hook_timeout
        self._strict = strict
        self._who = who
        self._frozen = frozen
        self._quiet = quiet
        self._status: list[FreezeStatus] = ["waiting"] * len(targets)
        self._errors = [""] * len(targets)
        self._errno = 0
        self._ran: list[FreezeHook] = []
        self._locked = False
        self._ready = False
        self._told = ""
        self._began: float | None = None
        self._deadline = 0.0
        self._stopped = 0.0
        self._ended: FreezeEnd = ""
        self._asked: FreezeEnd = ""
        self._error = ""
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()

    # -- what is known -------------------------------------------------------------------------------------------

    @property
    def ended(self) -> FreezeEnd:
        """How it ended; "" while it holds."""
        return self._ended

    @property
    def mountpoints(self) -> list[str]:
        """Of all of its filesystems."""
        return [each.mount.mountpoint for each in self._targets]

    def is_of(self, device: int) -> bool:
        """Whether it is of the filesystem with this number (``st_dev``)."""
        return any(device in each.devices for each in self._targets)

    def state(self) -> Freeze:
        """The lease as it is now."""
        now = self._stopped or time.monotonic()
        return Freeze(
            lease=self.name,
            filesystems=[
                FrozenFilesystem(
                    mountpoint=each.mount.mountpoint,
                    source=each.mount.source,
                    type=each.mount.type,
                    status=status,
                    error=error,
                )
                for each, status, error in zip(self._targets, self._status, self._errors, strict=True)
            ],
            remaining=0.0 if self._ended else round(max(0.0, self._deadline - now), 3),
            age=0.0 if self._began is None else round(now - self._began, 3),
            who=self._who,
            ended=self._ended,
            hooks=list(self._ran),
            memory_locked=self._locked,
            error=self._error,
        )

    # -- life ----------------------------------------------------------------------------------------------------

    async def hold(self, seconds: float) -> None:
        """Run the hooks and freeze; returns when all is frozen. If this raises, or is cancelled, all is as before.

        Raises:
            Aborted: a hook failed, or the time passed before all was frozen.
            FailedPrecondition: a filesystem that must be frozen cannot be, or none can.
            PermissionDenied: the agent may not.
            Unavailable: the watchdog process cannot be started.
        """
        self._quiet.enter(self, [device for each in self._targets for device in each.devices])
        try:
            await self._start()
            self._deadline = time.monotonic() + seconds
            for each in self._targets:
                for device in each.devices:
                    self._frozen.add(device, each.mount.mountpoint)
            assert self._process is not None
            self._record.write(self.mountpoints, self._hooks, self._process.pid)
            self._send(f"freeze {seconds!r}")
            await self._settled.wait()
        except BaseException:
            await asyncio.shield(self.end("failed"))
            raise
        if self._ended:
            raise self._failure()

    async def _start(self) -> None:
        argument = {
            "path": [each if each.startswith("/") else f"{os.getcwd()}/{each}" for each in sys.path],
            "targets": [[each.descriptor, each.mount.mountpoint] for each in self._targets],
            "hooks": list(self._hooks),
            "hook_timeout": self._hook_timeout,
            "strict": self._strict,
            "record": self._record.path,
        }
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-S", "-E", "-B", "-c", _PROGRAM, json.dumps(argument)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # the journal may block
                pass_fds=[each.descriptor for each in self._targets],
                cwd="/",
                start_new_session=True,
            )
            self._reader = asyncio.create_task(self._follow(self._process), name=f"freeze {self.name}")
            async with asyncio.timeout(START_PATIENCE):
                while not self._ready and not self._reader.done():
                    await self._news()
        except (OSError, TimeoutError) as error:
            if self._process is not None:
                self._process.kill()  # it holds nothing yet
            raise Unavailable(f"the watchdog process of the freeze cannot be started: {error or 'no answer'}") from None
        if self._reader.done():
            raise Unavailable("the watchdog process of the freeze ended before it was ready")

    async def _news(self) -> None:
        assert self._reader is not None
        waiting = asyncio.ensure_future(self.changed.wait())
        try:
            await asyncio.wait([waiting, self._reader], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        self.changed.clear()

    def _send(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None and not self._ended:
            with contextlib.suppress(OSError, RuntimeError):
                self._process.stdin.write(line.encode() + b"\n")

    def renew(self, seconds: float) -> None:
        """Let it end so many seconds from now."""
        self._deadline = time.monotonic() + seconds
        self._send(f"renew {seconds!r}")
        self.changed.set()

    async def end(self, why: FreezeEnd) -> None:
        """Thaw, and run the hooks; returns when that is done. An end that has begun goes on as it is."""
        self._asked = self._asked or why
        if self._reader is None:
            self._over(why)
            return
        self._send("thaw")
        await asyncio.wait([self._reader])

    # -- the watchdog process ------------------------------------------------------------------------------------

    async def _follow(self, process: asyncio.subprocess.Process) -> None:
        """Take what it tells until its end; if it was killed, do its work."""
        assert process.stdout is not None
        async for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "end":
                self._told = event["why"]
                break
            self._take(event)
            self.changed.set()
        else:
            self._error = "the watchdog process was killed"
            await asyncio.to_thread(self._thaw_here)
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
        ended = _ENDS.get(self._told, "" if self._told else "keeper")
        if not self._settled.is_set() or self._told in ("failed", "hook"):
            ended = "failed"
        self._over(ended or self._asked or "failed")

    def _take(self, event: dict[str, Any]) -> None:
        kind, index = event["event"], event.get("index", 0)
        if kind == "ready":
            self._locked, self._ready = event["locked"], True
        elif kind == "begin":
            self._began = time.monotonic()
            self._deadline = self._began + event["seconds"]
        elif kind == "held":
            self._settled.set()
        elif kind == "hook":
            self._ran.append(
                FreezeHook(path=event["path"], argument=event["argument"], status=event["status"], error=event["error"])
            )
            if event["error"]:
                self._error = self._error or f"the hook {event['path']} {event['argument']}: {event['error']}"
        elif kind in ("freezing", "frozen"):
            self._status[index] = kind
        elif kind == "not-frozen":
            self._not_frozen(index, event["errno"])
        elif kind == "thawed":
            self._thawed(index)
        elif kind == "not-thawed":
            self._thawed(index, event["errno"])

    def _not_frozen(self, index: int, number: int) -> None:
        target = self._targets[index]
        if number in (errno.EOPNOTSUPP, errno.ENOTTY):
            status: FreezeStatus = "unsupported"
            error = f"a {target.mount.type} filesystem cannot be frozen"
        elif number == errno.EBUSY:
            status, error = "busy", "somebody else has frozen it already"
        else:
            status, error = "failed", os.strerror(number)
        self._status[index], self._errors[index] = status, error
        if status == "failed" or self._strict:
            self._errno = number
            self._error = self._error or f"{target.mount.mountpoint}: {error}"
        for device in target.devices:
            self._frozen.discard(device)

    def _thawed(self, index: int, number: int = 0) -> None:
        self._status[index] = "thawed"
        if number:
            told = "somebody else had thawed it before" if number == errno.EINVAL else os.strerror(number)
            self._errors[index] = told
            self._error = self._error or f"{self._targets[index].mount.mountpoint}: {told}"
        for device in self._targets[index].devices:
            self._frozen.discard(device)

    def _thaw_here(self) -> None:
        """Without the process: what is thawed already answers EINVAL, and is left."""
        for index in reversed(range(len(self._targets))):
            if self._status[index] in ("freezing", "frozen"):
                with contextlib.suppress(OSError):
                    freeze_keeper.thaw(self._targets[index].descriptor)
                self._thawed(index)
        began = [each.path for each in self._ran if each.argument == "freeze"]
        ended = {each.path for each in self._ran if each.argument == "thaw"}
        for path in reversed([each for each in began if each not in ended]):
            status, error = freeze_keeper.run_hook(path, "thaw", self._hook_timeout)
            self._ran.append(FreezeHook(path=path, argument="thaw", status=status, error=error))

    def _over(self, why: FreezeEnd) -> None:
        """It has ended."""
        self._ended = why
        self._stopped = time.monotonic()
        for each in self._targets:
            for device in each.devices:
                self._frozen.discard(device)
            each.close()
        self._quiet.leave(self)
        self._record.remove()
        self._settled.set()
        self.changed.set()
        self.on_end()
        log.info(
            "freeze %s of %s ended: %s%s",
            self.name,
            ", ".join(self.mountpoints),
            why,
            f" ({self._error})" if self._error else "",
        )

    def _failure(self) -> CallError:
        """Why it could not be had."""
        late = "the deadline passed before all was frozen"
        told = self._error or (late if self._told == "deadline" else "it was ended before all was frozen")
        if self._errno in (errno.EPERM, errno.EACCES):
            return PermissionDenied(f"{told}; the agent needs CAP_SYS_ADMIN to freeze")
        if self._errno or "unsupported" in self._status or "busy" in self._status:
            return FailedPrecondition(told if self._error else "no filesystem of this guest can be frozen now")
        return Aborted(f"{told}; nothing is frozen")
