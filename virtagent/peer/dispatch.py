"""Running handlers: inline, as tasks, in threads; and answering for them whatever they do."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import sys
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

from virtagent.errors import CallError, UsageError, VirtagentError, error_to_wire
from virtagent.peer.context import Context, current_context
from virtagent.peer.handler import Handler, Router
from virtagent.peer.threads import PeerThreads
from virtagent.protocol.rpc import Notification, Request, RequestEnded, reset_all

if TYPE_CHECKING:
    from virtagent.peer.peer import Peer

__all__ = ["Dispatcher"]

log = logging.getLogger("virtagent.dispatch")

INFINITY: Final = math.inf

BLOCKING: Final = 0.1
"""Seconds that an inline handler may take before it is reported by name."""

INLINE_BUDGET: Final = 512
"""Requests and notifications served in one turn of the event loop; the rest lets others run first."""


ENDED_ERRORS: Final = {
    RequestEnded.CANCELLED: (1, "cancelled by the caller"),
    RequestEnded.DEADLINE: (4, "the deadline passed"),
}


class Running:
    """A handler that runs as a task or in a thread, for one request or notification."""

    __slots__ = ("ended", "entered", "future")

    def __init__(self) -> None:
        self.entered = False
        self.future: asyncio.Future[Any] | None = None
        self.ended: RequestEnded | None = None


class Dispatcher:
    """Serves one peer's requests and notifications.

    Args:
        peer: what handlers get as ``ctx.peer``.
        router: the methods.
        respond: answers a request; may raise UsageError where the result cannot be sent.
        flush: sends what handlers queued outside the read path.
        threads: how many plain ``def`` handlers run at a time.
        notifications: how many notifications may wait or run (rule C9).

    Attributes:
        respond: answers a request; another one when the peer's dialect is found to be plain.
        dropped_notifications: what overflowed (rule C9).
    """

    def __init__(
        self,
        peer: Peer,
        router: Router,
        *,
        respond: Callable[..., bool],
        flush: Callable[[], None],
        threads: int,
        notifications: Callable[[], int],
    ) -> None:
        self._peer = peer
        self._router = router
        self.respond = respond
        self._flush = flush
        self._most_threads = threads
        self._threads: PeerThreads | None = None
        self._notification_limit = notifications
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        self._tasks: set[asyncio.Future[Any]] = set()
        self._backlog: deque[Any] = deque()
        self._monotonic = time.monotonic
        self._started = 0.0
        self._notifying = 0
        self.dropped_notifications = 0
        self._stuck: set[Future[Any]] = set()

    @property
    def stuck_threads(self) -> int:
        """Cancelled handlers whose threads have not ended."""
        return len(self._stuck)

    @property
    def running(self) -> int:
        """Handlers that run as tasks or in threads, and requests that wait for their turn."""
        return len(self._tasks) + len(self._backlog)

    @property
    def is_at_rest(self) -> bool:
        """Whether :meth:`aclose` has nothing to do."""
        return not self._tasks and not self._backlog

    # -- what came -----------------------------------------------------------------------------------------------

    def dispatch_one(self, event: Any) -> None:
        """What :meth:`dispatch` does for one event, as most reads bring one."""
        if self._backlog:
            self._backlog.append(event)
            return
        self._started = self._monotonic()
        if type(event) is Request:
            self._serve_request(event)
        else:
            self._serve_notification(event)

    def dispatch(self, events: list[Any]) -> None:
        """Serve requests and notifications in the order in which they came, within a budget per turn."""
        if self._backlog:
            self._backlog += events
            return
        if len(events) > INLINE_BUDGET:
            self._backlog += events[INLINE_BUDGET:]
            events = events[:INLINE_BUDGET]
            self._loop.call_soon(self._serve_backlog)
        self._started = self._monotonic()
        for event in events:
            if type(event) is Request:
                self._serve_request(event)
            else:
                self._serve_notification(event)

    def _serve_backlog(self) -> None:
        backlog = self._backlog
        self._started = self._monotonic()
        for _ in range(min(INLINE_BUDGET, len(backlog))):
            event = backlog.popleft()
            if type(event) is Request:
                self._serve_request(event)
            else:
                self._serve_notification(event)
        if backlog:
            self._loop.call_soon(self._serve_backlog)
        self._flush()

    def _serve_request(self, request: Request) -> None:
        if request.answered:
            return
        handler = self._router.get(request.method) or self._find(request.method)
        if handler is None:
            reset_all(request.streams)
            self.respond(request, None, [12, self._lacks(request.method), None])
            return
        request.started = True
        deadline = request.deadline
        context = Context(
            self._peer,
            request.method,
            self._clock,
            None if deadline == INFINITY else deadline,
            request.priority,
            request.depth,
            request.metadata,
        )
        params = request.params if request.params is not None else []
        if handler.mode == "inline":
            self._run_inline(handler, context, params, request)
        else:
            self._start(handler, context, params, request)

    def _serve_notification(self, notification: Notification) -> None:
        handler = self._router.get(notification.method) or self._find(notification.method)
        if handler is None:
            log.debug("no handler for the notification %s", notification.method)
            reset_all(notification.streams)
            return
        context = Context(self._peer, notification.method, self._clock, metadata=notification.metadata)
        params = notification.params if notification.params is not None else []
        if handler.mode == "inline":
            self._run_inline(handler, context, params, None)
        elif self._notifying >= self._notification_limit():
            self.dropped_notifications += 1
            if self.dropped_notifications & (self.dropped_notifications - 1) == 0:
                log.warning("%d notifications dropped so far: their handlers are too slow", self.dropped_notifications)
            reset_all(notification.streams)
        else:
            self._start(handler, context, params, None)

    def _lacks(self, method: str) -> str:
        """Who lacks what, for whoever asked another side than he thought, or an older one."""
        identity = self._peer.options.identity
        who = "" if identity is None else f"{identity.name} ({identity.software})"
        return f"{who or 'this side'} has no method {method!r}"

    def _find(self, method: str) -> Handler | None:
        """A method whose service has yet to be made; a service that cannot be made has no methods."""
        try:
            return self._router.find(method)
        except Exception:
            log.exception("the service of %s cannot be made", method)
            return None

    # -- running -------------------------------------------------------------------------------------------------

    def _run_inline(self, handler: Handler, context: Context, params: Any, request: Request | None) -> None:
        try:
            result = handler.invoke(context, params)
        except Exception as error:
            self._answer_error(context.method, request, error)
        else:
            if request is not None:
                self._answer(request, result)
        now = self._monotonic()
        if now - self._started > BLOCKING:
            log.warning(
                "the handler of %s blocked the event loop for %.0f ms: declare it without inline=True",
                context.method,
                (now - self._started) * 1000,
            )
        self._started = now
        if request is not None and request.streams:
            self._reset_untaken(request)

    def _start(self, handler: Handler, context: Context, params: Any, request: Request | None) -> None:
        running = Running()
        if request is not None:
            request.handle = running
        else:
            self._notifying += 1
        coroutine = self._run(handler, context, params, request, running)
        if sys.version_info >= (3, 12):
            task = asyncio.Task(coroutine, loop=self._loop, name=context.method, eager_start=True)
            self._started = self._monotonic()  # its first step is not the next inline handler's doing
            if task.done():
                return
        else:
            task = asyncio.Task(coroutine, loop=self._loop, name=context.method)
        running.future = task
        self._tasks.add(task)

    async def _run(
        self, handler: Handler, context: Context, params: Any, request: Request | None, running: Running
    ) -> None:
        running.entered = True
        current_context.set(context)
        try:
            if handler.mode == "thread":
                result = await self._run_in_thread(handler, context, params)
            else:
                result = await handler.invoke(context, params)
        except asyncio.CancelledError:
            self._answer_ended(context.method, request, running.ended)
        except Exception as error:
            self._answer_error(context.method, request, error)
        else:
            if request is not None:
                self._answer(request, result)
        finally:
            self._finish(request, running)

    def _finish(self, request: Request | None, running: Running) -> None:
        self._tasks.discard(running.future)  # None if it ended in its first step
        if request is None:
            self._notifying -= 1
        elif request.streams:
            self._reset_untaken(request)
        self._flush()

    async def _run_in_thread(self, handler: Handler, context: Context, params: Any) -> Any:
        """Run a plain function; a thread cannot be cancelled, so its slot stays taken until it ends."""
        if self._threads is None:
            self._threads = PeerThreads(self._most_threads)
        work = self._threads.submit(contextvars.copy_context().run, handler.invoke, context, params)
        try:
            return await asyncio.wrap_future(work)
        except asyncio.CancelledError:
            if not work.cancel() and not work.done():
                self._stuck.add(work)
                log.warning("%s was cancelled, but runs on in its thread until it returns", context.method)
                work.add_done_callback(self._stuck.discard)
            raise

    # -- answering -----------------------------------------------------------------------------------------------

    def _answer(self, request: Request, result: Any) -> None:
        try:
            self.respond(request, result)
        except UsageError as error:
            log.error("%s returned something that cannot be sent: %s", request.method, error)
            self.respond(request, None, [13, f"{request.method}: its result cannot be sent", None])
        except VirtagentError as error:  # the peer takes no more streams (rule T9)
            self.respond(request, None, [8, f"{request.method}: {error}", None])

    def _answer_error(self, method: str, request: Request | None, error: Exception) -> None:
        if not isinstance(error, CallError):
            log.error("the handler of %s failed", method, exc_info=error)
        if request is None:
            return
        try:
            self.respond(request, None, error_to_wire(error))
        except UsageError:
            self.respond(request, None, [error_to_wire(error)[0], str(error)[:256], None])

    def _answer_ended(self, method: str, request: Request | None, ended: RequestEnded | None) -> None:
        if request is None:
            return
        code, text = (
            ENDED_ERRORS.get(ended, (1, "the handler was cancelled")) if ended else (1, "the handler was cancelled")
        )
        self.respond(request, None, [code, f"{method}: {text}", None])

    def _reset_untaken(self, request: Request) -> None:
        """Streams that the handler did not take are nobody's (rule T11)."""
        reset_all([stream for stream in request.streams or () if not getattr(stream, "taken", False)])

    # -- ending --------------------------------------------------------------------------------------------------

    def end(self, request: Request, ended: RequestEnded) -> None:
        """The peer's request ended before its handler: cancel the handler (rules C7, D3, G5)."""
        running = request.handle
        if not isinstance(running, Running):
            if not request.answered and ended in ENDED_ERRORS:
                self._answer_ended(request.method, request, ended)
            return
        running.ended = ended
        if running.future is None:
            return
        running.future.cancel()
        if not running.entered:
            # Nothing of _run() will run, neither its answer (rule C4) nor its clean-up.
            self._answer_ended(request.method, request, ended)
            self._finish(request, running)

    async def wait_idle(self) -> None:
        """Wait until no handler runs but the one that asks."""
        own = asyncio.current_task()
        while True:
            # All of them, not the first: each wait costs as much as there are tasks, and few come meanwhile.
            if tasks := {task for task in self._tasks if task is not own and not task.done()}:
                await asyncio.wait(tasks)
            elif self._backlog:
                await asyncio.sleep(0)
            else:
                return

    async def aclose(self) -> None:
        """Cancel the handlers that still run, and wait for their ``finally`` clauses."""
        self._backlog.clear()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.difference_update(tasks)
