"""The policy around each handler: who may call it, how much at a time, and what is written down of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from virtagent.errors import PermissionDenied, ResourceExhausted
from virtagent.guest.grants import CHANGES_NOTHING, Access, Grant, Grants, OpenCall
from virtagent.peer.handler import Handler, Params
from virtagent.peer.stream import OutgoingStream

if TYPE_CHECKING:
    from virtagent.guest.audit import Audit
    from virtagent.peer.context import Context

__all__ = ["Guard", "refusal"]

log = logging.getLogger("virtagent.daemon")

CONFIGURATION = "/etc/virtagent/agent.toml"


class Guard:
    """Puts the policy around handlers: ``guard(handler)`` is a handler of the same mode.

    Args:
        grants: what each peer may do.
        make_audit: makes what writes down calls, at the first one that is to be.
    """

    def __init__(self, grants: Grants, make_audit: Callable[[], Audit]) -> None:
        self._grants = grants
        self._make_audit = make_audit
        self._audit: Audit | None = None

    @property
    def audit(self) -> Audit:
        """Writes down calls."""
        if self._audit is None:
            self._audit = self._make_audit()
        return self._audit

    def __call__(self, handler: Handler) -> Handler:
        guarded = _Guarded(self, self._grants, handler)
        if handler.mode == "task":
            invoke: Callable[[Context, Params], Any] = guarded.awaited
        elif handler.mode == "inline" and not guarded.changes and not handler.secrets:
            invoke = guarded.quick()
        else:
            invoke = guarded.direct
        return Handler(
            handler.name,
            handler.mode,
            invoke,
            handler.idempotent,
            handler.description,
            handler.role,
            handler.secrets,
        )


class _Guarded:
    """One handler under the policy.

    Attributes:
        handler: the handler itself.
        changes: its calls change the machine, so they are written down.
    """

    def __init__(self, guard: Guard, grants: Grants, handler: Handler) -> None:
        self._guard = guard
        self._grants = grants
        self.handler = handler
        self.changes = handler.role not in CHANGES_NOTHING

    def quick(self) -> Callable[[Context, Params], Any]:
        """For what ends at once and changes nothing, such as a ping: hardly more than a look into a table."""
        find, access_of, name = self._grants.find, self._grants.access, self.handler.name
        invoke = self.handler.invoke

        def quick(context: Context, params: Params) -> Any:
            access = find(id(context.peer)) or access_of(context.peer)
            if name not in access.permitted:
                self._permit(access, params)
            result = invoke(context, params)
            if type(result) is OutgoingStream:
                return self._answer(self._count(access, None), result)
            return result

        return quick

    def direct(self, context: Context, params: Params) -> Any:
        """Around a handler that runs inline or in a thread."""
        call, params = self._begin(context, params)
        try:
            result = self.handler.invoke(context, params)
        except BaseException as error:
            self._fail(call, error)
            raise
        return self._answer(call, result)

    async def awaited(self, context: Context, params: Params) -> Any:
        """Around a handler that runs as a task."""
        call, params = self._begin(context, params)
        try:
            result = await self.handler.invoke(context, params)
        except BaseException as error:
            self._fail(call, error)
            raise
        return self._answer(call, result)

    # -- before ---------------------------------------------------------------------------------------------------

    def _begin(self, context: Context, params: Params) -> tuple[OpenCall, Params]:
        access = self._grants.access(context.peer)
        if self.handler.name not in access.permitted:
            self._permit(access, params)
        call = self._count(access, params)
        if self.changes or access.grant.bytes is not None:
            params = _with_counted_streams(params, call, access.grant.bytes)
        return call, params

    def _permit(self, access: Access, params: Params) -> None:
        """Remember that the peer may call this.

        Raises:
            PermissionDenied: it may not; that is written down.
        """
        why = refusal(self.handler, access.grant)
        if why is None:
            access.permitted.add(self.handler.name)
            return
        access.denied += 1
        error = PermissionDenied(why)
        self._guard.audit.denied(self.handler, access, params, error)
        raise error

    def _count(self, access: Access, params: Params | None) -> OpenCall:
        """One more call of the peer.

        Raises:
            ResourceExhausted: it has as many as it may.
        """
        most = access.grant.calls
        if len(access.calls) >= most:
            access.denied += 1
            error = ResourceExhausted(
                f"{access.grant.who} has {most} calls and streams open, which is all that {access.grant.rule} allows;"
                f" let one of them end, or raise calls in {CONFIGURATION}"
            )
            if self.changes:
                self._guard.audit.denied(self.handler, access, params or {}, error)
            raise error
        call = OpenCall(access, self.handler.name, params if self.changes or self.handler.secrets else None)
        access.calls.add(call)
        return call

    # -- after ----------------------------------------------------------------------------------------------------

    def _answer(self, call: OpenCall, result: Any) -> Any:
        if type(result) is not OutgoingStream:
            self._end(call, None)
            return result
        call.streams = True
        if self.changes or call.access.grant.bytes is not None:
            result.source = CountedSource(result.source, call, call.access.grant.bytes, self._end)
        else:
            result.source = TrackedSource(result.source, call, self._end)
        return result

    def _fail(self, call: OpenCall, error: BaseException) -> None:
        """The handler raised something; what is raised instead, if that holds a secret.

        Raises:
            CallError: an error without the secret.
        """
        self._end(call, error)
        if (self.changes or self.handler.secrets) and isinstance(error, Exception):
            from virtagent.guest.redaction import without_secrets  # noqa: PLC0415 - for errors only

            clean = without_secrets(self.handler, call.params, error)
            if clean is not error:
                log.error("the handler of %s failed: %s", self.handler.name, clean)
                raise clean from None

    def _end(self, call: OpenCall, error: BaseException | None) -> None:
        call.access.calls.discard(call)
        if self.changes:
            self._guard.audit.done(self.handler, call, error)


def refusal(handler: Handler, grant: Grant) -> str | None:
    """Why a peer may not call a method: who lacks what, and where to grant it; None if it may."""
    name, role = handler.name, handler.role
    where = f"see {CONFIGURATION} in the guest"
    if _matches(name, grant.deny):
        return f"{name} is denied to {grant.who} by {grant.rule}; {where}"
    if grant.read_only and role not in CHANGES_NOTHING:
        return f"{name} changes the machine, and {grant.who} may only read, by {grant.rule}; {where}"
    roles = grant.roles
    if role in roles or "admin" in roles or (role == "observe" and roles) or _matches(name, grant.allow):
        return None
    return (
        f"{grant.who} lacks the role {role!r} for {name}, by {grant.rule}; to grant it, write into {CONFIGURATION}"
        f' in the guest: [[policy]] with a channel and roles = ["{role}"]'
    )


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    if not patterns:
        return False
    from fnmatch import fnmatchcase  # noqa: PLC0415 - few policies have patterns of methods

    return any(fnmatchcase(name, each) for each in patterns)


def _with_counted_streams(params: Params, call: OpenCall, limit: int | None) -> Params:
    """The arguments, with their streams counted."""
    if isinstance(params, dict):
        if any(hasattr(each, "__aiter__") for each in params.values()):
            return {key: _counted(each, call, limit) for key, each in params.items()}
    elif any(hasattr(each, "__aiter__") for each in params):
        return [_counted(each, call, limit) for each in params]
    return params


def _counted(value: Any, call: OpenCall, limit: int | None) -> Any:
    return CountedArgument(value, call, limit) if hasattr(value, "__aiter__") else value


def _check_size(total: int, limit: int | None) -> None:
    if limit is not None and total > limit:
        raise ResourceExhausted(f"the stream has more than {limit} bytes, which is all that the agent's policy allows")


class CountedArgument(AsyncIterator[Any]):
    """A stream that a peer sends, with its bytes counted."""

    def __init__(self, stream: AsyncIterable[Any], call: OpenCall, limit: int | None) -> None:
        self._stream = stream
        self._iterator: AsyncIterator[Any] | None = None  # who asks for it takes the stream, so not before it is read
        self._call = call
        self._limit = limit

    async def __anext__(self) -> Any:
        if self._iterator is None:
            self._iterator = aiter(self._stream)
        item = await anext(self._iterator)
        if isinstance(item, bytes):
            self._call.received += len(item)
            _check_size(self._call.received, self._limit)
        return item

    async def aclose(self) -> None:
        """Read no more."""
        await _close(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)  # handlers without annotations are given the stream itself, not its type


class TrackedSource(AsyncIterable[Any]):
    """What a peer is sent as a stream; its end is the call's. Reading it costs nothing more than without.

    Args:
        source: what gives the items.
        call: the call that it answers.
        on_end: told once of the call's end, and of the error that ended it.
    """

    def __init__(
        self, source: AsyncIterable[Any], call: OpenCall, on_end: Callable[[OpenCall, BaseException | None], None]
    ) -> None:
        self._source = source
        self._iterator = aiter(source)
        self._call = call
        self._on_end: Callable[[OpenCall, BaseException | None], None] | None = on_end
        self._error: BaseException | None = None

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._iterator

    async def aclose(self) -> None:
        """The stream is over, however that came."""
        try:
            await _close(self._source)
        except BaseException as error:
            self._error = self._error or error
            raise
        finally:
            self._over()

    def _over(self) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(self._call, self._error)

    def __del__(self) -> None:
        self._over()  # a stream that the session could not even begin


class CountedSource(TrackedSource, AsyncIterator[Any]):
    """The same, with its bytes counted, and what ends it known."""

    def __init__(
        self,
        source: AsyncIterable[Any],
        call: OpenCall,
        limit: int | None,
        on_end: Callable[[OpenCall, BaseException | None], None],
    ) -> None:
        super().__init__(source, call, on_end)
        self._limit = limit
        self._ended = False

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            item = await anext(self._iterator)
            if isinstance(item, bytes):
                self._call.sent += len(item)
                _check_size(self._call.sent, self._limit)
        except StopAsyncIteration:
            self._ended = True
            raise
        except BaseException as error:
            self._error = error
            raise
        return item

    def _over(self) -> None:
        if not self._ended and self._error is None:
            self._error = asyncio.CancelledError("the reader left before the end")
        super()._over()


async def _close(source: Any) -> None:
    aclose = getattr(source, "aclose", None)
    if aclose is not None:
        await aclose()
