"""Spans, exported by OTLP/HTTP if `OTEL_EXPORTER_OTLP_ENDPOINT` is set; OpenTelemetry's SDK is imported only then.

The SDK reads the other standard variables itself: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER,
OTEL_EXPORTER_OTLP_HEADERS, OTEL_BSP_MAX_QUEUE_SIZE and more. Spans wait in a bounded queue and are exported in a thread
of their own; what does not fit is dropped. A request never waits for the receiver.
"""

import atexit
import logging
import os
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
SCOPE: Final = "gatehouse"
# Those that OpenTelemetry names; any other is `_OTHER`.
METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "TRACE"})
# Seconds that the end of a process waits for the last spans to be exported.
LAST_EXPORT: Final = 2.0

log = logging.getLogger(__name__)


def is_on() -> bool:
    """Return whether spans are exported; raise `ImproperlyConfigured` if the packages for it are missing."""
    endpoint = next((name for name in ENDPOINTS if os.environ.get(name)), None)
    if endpoint is None or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if not is_installed():
        raise ImproperlyConfigured(missing(endpoint))
    return True


def missing(endpoint: str) -> str:
    """Return what to do about missing packages."""
    return f"{endpoint}: expected the packages of requirements/telemetry.txt; install them, or remove the setting"


def is_installed() -> bool:
    """Return whether OpenTelemetry's SDK and its exporter are installed."""
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False


def make_provider(service: str, **options: Any) -> "TracerProvider":  # noqa: ANN401  # TracerProvider's own
    """Return what makes the spans of a process and exports them; `service` is its name without OTEL_SERVICE_NAME."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class LoggedExporter(SpanExporter):  # type: ignore[misc, unused-ignore]  # Any if the packages are missing
        """Exports, and logs once that exports fail, and once that they succeed again."""

        def __init__(self) -> None:
            self.exporter = OTLPSpanExporter()
            self.fails = False

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            result = self.exporter.export(spans)
            fails = result is not SpanExportResult.SUCCESS
            if fails and not self.fails:
                log.warning("Spans cannot be exported and are dropped. Check OTEL_EXPORTER_OTLP_ENDPOINT.")
            elif self.fails and not fails:
                log.info("Spans are exported again.")
            self.fails = fails
            return result

        def shutdown(self) -> None:
            self.exporter.shutdown()  # type: ignore[no-untyped-call, unused-ignore]  # not typed

    # Their lines, one for each try and each batch, say the same.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    logging.getLogger("opentelemetry.sdk._shared_internal").setLevel(logging.ERROR)
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": service}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False, **options)
    provider.add_span_processor(BatchSpanProcessor(LoggedExporter()))
    atexit.register(shut_down, provider)
    return provider


def shut_down(provider: "TracerProvider") -> None:
    """Export the last spans; a receiver that does not respond must not delay the end of the process."""
    closing = threading.Thread(target=provider.shutdown, daemon=True)
    closing.start()
    closing.join(LAST_EXPORT)


def installed_provider(service: str) -> "TracerProvider":
    """Return OpenTelemetry's provider of this process: the project's own, or one that is installed here."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        trace.set_tracer_provider(make_provider(service))
    provider = trace.get_tracer_provider()
    assert isinstance(provider, TracerProvider)  # noqa: S101  # for mypy
    return provider
