"""OpenTelemetry in the agent: where its spans go. Loaded only if ``[telemetry]`` names an exporter."""

from __future__ import annotations

import asyncio
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from virtagent.errors import UsageError
from virtagent.guest.configuration import TelemetrySection
from virtagent.guest.resources import Resources
from virtagent.peer.identity import local_identity

if TYPE_CHECKING:
    from virtagent.service.telemetry import Tracing

__all__ = ["start_tracing"]

EXPORTERS = "opentelemetry_traces_exporter"
"""The entry-point group in which packages name exporters of spans (OpenTelemetry Python)."""


def start_tracing(section: TelemetrySection, resources: Resources) -> Tracing:
    """Spans of served calls, sent in batches by a thread; what is left is sent when the agent goes.

    Raises:
        UsageError: a package is missing, or there is no such exporter; the message tells which to install.
    """
    try:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - an optional package
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        from virtagent.service.telemetry import Tracing  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(f"[telemetry] needs opentelemetry-sdk ({error}); pip install opentelemetry-sdk") from None
    exporters = {each.name: each for each in entry_points(group=EXPORTERS)}
    if section.exporter not in exporters:
        there = f"installed are {', '.join(sorted(exporters))}" if exporters else "none is installed"
        raise UsageError(
            f"[telemetry] exporter = {section.exporter!r}: there is no such exporter ({there});"
            " pip install opentelemetry-exporter-otlp-proto-http brings otlp_proto_http"
        )
    make = exporters[section.exporter].load()
    exporter = make(endpoint=section.endpoint) if section.endpoint else make()
    who = local_identity(role="guest", name=resources.configuration.agent.name)
    provider = TracerProvider(
        resource=Resource.create({"service.name": section.service_name, "host.name": who.name, "host.id": who.machine})
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))

    async def flush(reason: str, message: str) -> None:
        await asyncio.to_thread(provider.shutdown)

    resources.on_stop(flush)
    return Tracing(provider)
