"""Spans, exported by OTLP/HTTP if `OTEL_EXPORTER_OTLP_ENDPOINT` is set.

Spans that have ended wait in a bounded queue. A thread exports them in batches; what does not fit is dropped, and the
log has how many. A request never waits for the receiver. The settings are OpenTelemetry's environment variables.
"""

import atexit
import gzip
import logging
import os
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from typing import Final, get_args
from urllib.error import HTTPError
from urllib.parse import unquote
from urllib.request import HTTPSHandler, Request, build_opener

from . import __version__, otlp
from .trace_context import Sampler, SamplerName

SCOPE: Final = "gatehouse"
# Those that OpenTelemetry names; any other is `_OTHER`.
METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "TRACE"})
# Statuses of a receiver that may take the same batch later.
RETRYABLE: Final = frozenset({429, 502, 503, 504})
# Seconds before the first retry; each further one waits twice as long.
FIRST_DELAY: Final = 1.0
# Seconds that the end of a process waits for the last spans to be exported.
LAST_EXPORT: Final = 2.0
# Seconds between two lines of the log on spans for which the queue had no room.
REPORT_INTERVAL: Final = 60.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """How spans are exported. Times are in seconds."""

    url: str
    headers: dict[str, str]
    timeout: float
    compressed: bool
    tls: ssl.SSLContext | None
    delay: float
    queue_size: int
    batch_size: int
    resource: dict[str, str]
    sampler: Sampler


def read_settings() -> Settings | None:
    """Return the settings, or `None` if no spans are exported; raise `ValueError` that names a bad one."""
    base, own = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", ""), os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if not (base or own) or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    url = own or f"{base.rstrip('/')}/v1/traces"
    if not url.startswith(("http://", "https://")):
        raise ValueError("OTEL_EXPORTER_OTLP_ENDPOINT: expected a URL that begins with http:// or https://")
    compression = _of_exporter("COMPRESSION")[1] or "none"
    if compression not in {"none", "gzip"}:
        raise ValueError(f"OTEL_EXPORTER_OTLP_COMPRESSION: expected gzip or none, got {compression!r}")
    name = os.environ.get("OTEL_SERVICE_NAME")
    return Settings(
        url=url,
        headers=_pairs(*_of_exporter("HEADERS")),
        timeout=_number(*_of_exporter("TIMEOUT"), 10_000) / 1000,
        compressed=compression == "gzip",
        tls=_tls() if url.startswith("https:") else None,
        delay=_number_of("OTEL_BSP_SCHEDULE_DELAY", 5_000) / 1000,
        queue_size=_number_of("OTEL_BSP_MAX_QUEUE_SIZE", 2_048),
        batch_size=_number_of("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512),
        resource={
            **_pairs("OTEL_RESOURCE_ATTRIBUTES", os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")),
            **({"service.name": name} if name else {}),
        },
        sampler=_sampler(),
    )


def _of_exporter(name: str) -> tuple[str, str]:
    """Return the variable of an exporter's setting and its value: that for spans alone wins."""
    for variable in (f"OTEL_EXPORTER_OTLP_TRACES_{name}", f"OTEL_EXPORTER_OTLP_{name}"):
        if value := os.environ.get(variable):
            return variable, value
    return variable, ""


def _number_of(variable: str, default: int) -> int:
    return _number(variable, os.environ.get(variable, ""), default)


def _number(variable: str, value: str, default: int) -> int:
    if not value:
        return default
    if not (value.isascii() and value.isdigit() and int(value)):
        raise ValueError(f"{variable}: expected a whole number above 0, got {value!r}")
    return int(value)


def _pairs(variable: str, value: str) -> dict[str, str]:
    """Return `name=value,name=value`; values may be percent-encoded."""
    found = {}
    for pair in filter(None, (part.strip() for part in value.split(","))):
        name, separator, content = pair.partition("=")
        if not (separator and name.strip()):
            # Without the value, which may be a secret.
            raise ValueError(f"{variable}: expected name=value, separated by commas")
        found[name.strip()] = unquote(content.strip())
    return found


def _tls() -> ssl.SSLContext:
    (variable, authorities), certificate = _of_exporter("CERTIFICATE"), _of_exporter("CLIENT_CERTIFICATE")[1]
    try:
        context = ssl.create_default_context(cafile=authorities or None)
        if certificate:
            variable = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"
            context.load_cert_chain(certificate, _of_exporter("CLIENT_KEY")[1] or None)
    except OSError as exc:
        raise ValueError(f"{variable}: expected a file of certificates: {exc}") from exc
    return context


def _sampler() -> Sampler:
    name, ratio = os.environ.get("OTEL_TRACES_SAMPLER") or "parentbased_always_on", 1.0
    if name not in get_args(SamplerName):
        raise ValueError(f"OTEL_TRACES_SAMPLER: expected one of {', '.join(get_args(SamplerName))}, got {name!r}")
    if value := os.environ.get("OTEL_TRACES_SAMPLER_ARG"):
        try:
            ratio = float(value)
        except ValueError:
            ratio = -1.0
        if not 0 <= ratio <= 1:
            raise ValueError(f"OTEL_TRACES_SAMPLER_ARG: expected a number from 0 to 1, got {value!r}")
    return Sampler(name, ratio)


class Exporter:
    """The spans of a process that have ended, and the thread that exports them.

    `service` is the name of the process without OTEL_SERVICE_NAME. A process that forks keeps its own spans; in the
    child the queue is empty, and the thread starts with its first span.
    """

    def __init__(self, settings: Settings, service: str) -> None:
        self.settings = settings
        self.resource = otlp.resource(
            {
                "service.name": service,
                **settings.resource,
                "telemetry.sdk.language": "python",
                "telemetry.sdk.name": SCOPE,
                "telemetry.sdk.version": __version__,
            }
        )
        self.batch_size = min(settings.batch_size, settings.queue_size)
        self.opener = build_opener(*([HTTPSHandler(context=settings.tls)] if settings.tls else []))
        self.begin()
        os.register_at_fork(after_in_child=self.begin)
        atexit.register(self.close)

    def begin(self) -> None:
        self.queue: deque[tuple[Callable[..., bytes], tuple[object, ...]]] = deque(maxlen=self.settings.queue_size)
        self.thread: threading.Thread | None = None
        self.starting = threading.Lock()
        # Set when a batch is complete, and at the end.
        self.wake = threading.Event()
        self.closing = threading.Event()
        # What was dropped since the last line of the log on it.
        self.dropped = 0
        self.reported_at = -REPORT_INTERVAL
        self.fails = False

    def add(self, encode: Callable[..., bytes], *parts: object) -> None:
        """Take a span that has ended; the oldest gives way if there is no room.

        The thread has it encoded, by `encode(*parts)`: many in a row take less time than each within its request.
        """
        queue = self.queue
        if len(queue) == queue.maxlen:
            self.dropped += 1
        queue.append((encode, parts))
        if self.thread is None:
            self.start()
        elif len(queue) >= self.batch_size and not self.wake.is_set():
            self.wake.set()

    def start(self) -> None:
        with self.starting:
            if self.thread is None and not self.closing.is_set():
                self.thread = threading.Thread(target=self.run, name="spans", daemon=True)
                self.thread.start()

    def run(self) -> None:
        while not self.closing.is_set():
            # At the end of the delay all that is there, and before it only complete batches.
            least = self.batch_size if self.wake.wait(self.settings.delay) else 1
            self.wake.clear()
            self.export_queue(least)
        self.export_queue(1)

    def export_queue(self, least: int) -> None:
        """Export batches while there are as many spans as `least`, and after the first while they are complete."""
        queue = self.queue
        while len(queue) >= least:
            taken = [queue.popleft() for _ in range(min(len(queue), self.batch_size))]
            batch = [encode(*parts) for encode, parts in taken]
            self.report(len(batch), taken=self.send(batch))
            least = 1 if self.closing.is_set() else self.batch_size

    def send(self, batch: Sequence[bytes]) -> bool:
        """Post a batch, again if the receiver may recover in time; return whether it took it."""
        settings = self.settings
        content = otlp.request(self.resource, SCOPE, batch)
        headers = {"User-Agent": f"{SCOPE}/{__version__}", "Content-Type": "application/x-protobuf"}
        if settings.compressed:
            content = gzip.compress(content)
            headers["Content-Encoding"] = "gzip"
        request = Request(settings.url, content, headers | settings.headers)  # noqa: S310  # checked in the settings
        give_up, delay = time.monotonic() + settings.timeout, FIRST_DELAY
        while True:
            try:
                with self.opener.open(request, timeout=settings.timeout) as response:
                    response.read()
            except HTTPError as exc:
                exc.close()
                if exc.code not in RETRYABLE:
                    return False
            except (OSError, HTTPException, ValueError):
                pass
            else:
                return True
            if self.closing.is_set() or time.monotonic() + delay > give_up:
                return False
            self.closing.wait(delay)
            delay *= 2

    def report(self, number: int, *, taken: bool) -> None:
        """Log once that exports fail, and once that they succeed again; what finds no room, once a minute."""
        now = time.monotonic()
        if not taken:
            self.dropped += number
            if not self.fails:
                log.warning("Spans cannot be exported and are dropped. Check OTEL_EXPORTER_OTLP_ENDPOINT.")
        elif self.fails:
            log.info("Spans are exported again. %d were dropped.", self.dropped)
            self.dropped = 0
        elif self.dropped and now >= self.reported_at + REPORT_INTERVAL:
            log.warning(
                "%d spans were dropped: the receiver takes fewer than end. Record fewer (OTEL_TRACES_SAMPLER), or"
                " raise OTEL_BSP_MAX_QUEUE_SIZE.", self.dropped
            )  # fmt: skip
            self.dropped, self.reported_at = 0, now
        self.fails = not taken

    def close(self) -> None:
        """Export the last spans; a receiver that does not respond must not delay the end of the process."""
        self.closing.set()
        self.wake.set()
        if self.thread is not None:
            self.thread.join(LAST_EXPORT)


@contextmanager
def current(traceparent: str) -> Iterator[None]:
    """Make a span OpenTelemetry's current one, if the project uses OpenTelemetry itself: its spans are within it."""
    if "opentelemetry.context" not in sys.modules:
        yield
        return
    from opentelemetry import context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    token = context.attach(TraceContextTextMapPropagator().extract({"traceparent": traceparent}))
    try:
        yield
    finally:
        context.detach(token)
