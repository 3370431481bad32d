"""OpenTelemetry spans of calls, on either side; one trace goes across both (W3C trace context, rule C10).

Nothing here is loaded unless it is asked for: ``virtagent.connect(..., tracing=True)`` on the calling side,
``[telemetry]`` in the agent's configuration on the called one, or :meth:`Tracing.handlers` for a listener of one's own.
Needs ``opentelemetry-api`` (extra ``otel``); without its SDK, spans are made and go nowhere.

Spans hold no arguments and no messages of errors, which may be secret: an error is told by its class and its code.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from virtagent import __version__
from virtagent.errors import CallError
from virtagent.peer.context import Context
from virtagent.peer.handler import Handler, Params
from virtagent.peer.options import CallOptions
from virtagent.peer.stream import OutgoingStream, StreamCall

__all__ = ["TracedStream", "Tracing"]

SYSTEM = "virtagent"
"""The value of ``rpc.system`` (OpenTelemetry semantic conventions for RPC)."""

Send = Callable[[str, Any, CallOptions | None], Coroutine[Any, Any, Any]]

_carrier = TraceContextTextMapPropagator()


class Tracing:
    """Makes spans.

    Args:
        provider: where they go; None: the process's own (``opentelemetry.trace.set_tracer_provider``).
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer(SYSTEM, __version__, tracer_provider=provider)

    # -- calls that are made --------------------------------------------------------------------------------------

    async def call(self, send: Send, method: str, payload: Any, options: CallOptions | None) -> Any:
        """Make a call within a span, and tell the peer of it."""
        with self._span(method, SpanKind.CLIENT):
            return await send(method, payload, with_span(options))

    def notify(
        self,
        send: Callable[[str, Any, CallOptions | None], None],
        method: str,
        payload: Any,
        options: CallOptions | None,
    ) -> None:
        """Send a notification within a span, and tell the peer of it."""
        with self._span(method, SpanKind.PRODUCER):
            send(method, payload, with_span(options))

    def stream(self, call: StreamCall, method: str) -> TracedStream:
        """A stream call whose span lasts until the stream ends; the call that opens it has one within that."""
        return TracedStream(call, lambda: self._begin(method, SpanKind.INTERNAL))

    # -- calls that are served ------------------------------------------------------------------------------------

    def handlers(self, handlers: Iterable[Handler]) -> list[Handler]:
        """Handlers with a span around each of their calls; a handler keeps its mode."""
        return [self.handler(each) for each in handlers]

    def handler(self, handler: Handler) -> Handler:
        """One of them."""

        def direct(context: Context, params: Params) -> Any:
            with self._serving(context) as span:
                return self._answer(span, handler.invoke(context, params))

        async def awaited(context: Context, params: Params) -> Any:
            with self._serving(context) as span:
                return self._answer(span, await handler.invoke(context, params))

        return Handler(
            handler.name,
            handler.mode,
            awaited if handler.mode == "task" else direct,
            handler.idempotent,
            handler.description,
            handler.role,
            handler.secrets,
        )

    @contextmanager
    def _serving(self, context: Context) -> Iterator[Span]:
        """The span of a served call; calls that its handler makes belong to it. It ends unless a stream goes on."""
        metadata = context.metadata
        carrier = {key: value for key in ("traceparent", "tracestate") if isinstance(value := metadata.get(key), str)}
        span = self._begin(context.method, SpanKind.SERVER, parent=_carrier.extract(carrier))
        with trace.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
            context.metadata = {**metadata, **injected()}
            try:
                yield span
            except BaseException as error:
                finish(span, error)
                raise

    def _answer(self, span: Span, result: Any) -> Any:
        if type(result) is OutgoingStream:
            result.source = _TracedSource(result.source, span)
        else:
            finish(span, None)
        return result

    # -- spans ----------------------------------------------------------------------------------------------------

    def _begin(self, method: str, kind: SpanKind, parent: Any = None) -> Span:
        service, _, name = method.rpartition(".")
        attributes = {"rpc.system": SYSTEM, "rpc.service": service, "rpc.method": name}
        return self._tracer.start_span(method, context=parent, kind=kind, attributes=attributes)

    @contextmanager
    def _span(self, method: str, kind: SpanKind) -> Iterator[Span]:
        span = self._begin(method, kind)
        with trace.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
            try:
                yield span
            except BaseException as error:
                finish(span, error)
                raise
            finish(span, None)


def finish(span: Span, error: BaseException | None) -> None:
    """End a span with the outcome of what it is of."""
    if error is not None:
        name = type(error).__name__
        span.set_attribute("error.type", name)
        if isinstance(error, CallError):
            span.set_attribute("virtagent.code", error.code)
        span.set_status(Status(StatusCode.ERROR, name))
    span.end()


def injected() -> dict[str, str]:
    """The current span as the wire has it."""
    carrier: dict[str, str] = {}
    _carrier.inject(carrier)
    return carrier


def with_span(options: CallOptions | None) -> CallOptions:
    """Options that tell the peer of the current span, unless they tell of another one."""
    base = options or CallOptions()
    if base.traceparent is not None:
        return base
    return CallOptions(deadline=base.deadline, priority=base.priority, retry=base.retry, key=base.key, **injected())


class _TracedSource(AsyncIterator[Any]):
    """What is sent as a stream; its end is that of the call's span."""

    def __init__(self, source: AsyncIterable[Any], span: Span) -> None:
        self._source = source
        self._iterator = aiter(source)
        self._span: Span | None = span

    async def __anext__(self) -> Any:
        try:
            return await anext(self._iterator)
        except StopAsyncIteration:
            self._finish(None)
            raise
        except BaseException as error:
            self._finish(error)
            raise

    def _finish(self, error: BaseException | None) -> None:
        span, self._span = self._span, None
        if span is not None:
            finish(span, error)

    async def aclose(self) -> None:
        """The stream is over, however that came."""
        try:
            aclose = getattr(self._source, "aclose", None)
            if aclose is not None:
                await aclose()
        finally:
            if self._span is not None:
                self._span.add_event("the reader left before the end")
            self._finish(None)

    def __del__(self) -> None:
        self._finish(None)


class TracedStream(AsyncIterator[Any]):
    """A stream call within a span, which begins at the first use. It has the methods of the stream call, too."""

    def __init__(self, call: StreamCall, begin: Callable[[], Span]) -> None:
        self._call = call
        self._begin = begin
        self._span: Span | None = None
        self._finished = False

    @contextmanager
    def _within(self, *, last: bool = False) -> Iterator[None]:
        if self._finished:
            yield
            return
        if self._span is None:
            self._span = self._begin()
        with trace.use_span(self._span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
            try:
                yield
            except StopAsyncIteration:
                self._finish(None)
                raise
            except BaseException as error:
                self._finish(error)
                raise
        if last:
            self._finish(None)

    def _finish(self, error: BaseException | None) -> None:
        if self._span is not None and not self._finished:
            self._finished = True
            finish(self._span, error)

    async def __anext__(self) -> Any:
        with self._within():
            return await anext(self._call)

    async def read_all(self, limit: int | None = 64 * 1024 * 1024) -> bytes:
        """All bytes until the end; see :meth:`StreamCall.read_all`."""
        with self._within(last=True):
            return await self._call.read_all(limit)

    async def aclose(self) -> None:
        """End the stream; a no-op if the call was not made."""
        await self._call.aclose()
        self._finish(None)

    async def __aenter__(self) -> TracedStream:
        with self._within():
            await self._call.open()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)
