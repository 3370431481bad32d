"""A guest whose calls leave OpenTelemetry spans; loaded by ``virtagent.connect(..., tracing=...)`` only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from virtagent.errors import UsageError
from virtagent.host.guest import Guest, GuestWithOptions
from virtagent.peer.options import CallOptions
from virtagent.peer.stream import StreamCall
from virtagent.peer.with_options import make_options

try:
    from virtagent.service.telemetry import Tracing
except ImportError as error:
    raise UsageError(f"tracing needs opentelemetry-api ({error}); pip install virtagent[otel]") from None

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

__all__ = ["TracedGuest"]


class TracedGuest(Guest):
    """A guest whose calls, notifications and streams are spans, of which the guest is told.

    Args:
        provider: where the spans go; None: the process's own.
    """

    def __init__(self, *args: Any, provider: TracerProvider | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tracing = Tracing(provider)

    async def _call(self, method: str, payload: Any, options: CallOptions | None) -> Any:
        return await self._tracing.call(super()._call, method, payload, options)

    def _notify(self, method: str, payload: Any, options: CallOptions | None) -> None:
        self._tracing.notify(super()._notify, method, payload, options)

    def stream(self, method: str, /, *args: Any, **params: Any) -> StreamCall:
        return cast(StreamCall, self._tracing.stream(super().stream(method, *args, **params), method))

    def with_options(self, **options: Any) -> GuestWithOptions:
        return _TracedGuestWithOptions(self._tracing, self, make_options(options))


class _TracedGuestWithOptions(GuestWithOptions):
    """The same with other options for the calls made through it."""

    def __init__(self, tracing: Tracing, guest: TracedGuest, options: CallOptions) -> None:
        super().__init__(guest._call, guest._notify, options)
        self._tracing = tracing

    def stream(self, method: str, /, *args: Any, **params: Any) -> StreamCall:
        return cast(StreamCall, self._tracing.stream(super().stream(method, *args, **params), method))
