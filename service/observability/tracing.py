"""Traces, sent by OpenTelemetry's SDK to a collector: in batches, by a thread of its own.

Imported only with OTEL_EXPORTER_OTLP_ENDPOINT. A collector that is away or slow costs what waits
in memory, up to a bound, and then spans; never a request. What the SDK and its exporter complain of
is told once, when it begins, and once when it is over. The SDK's own variables hold as well
(OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS, OTEL_BSP_SCHEDULE_DELAY ...).
"""

import asyncio
import logging
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

import requests
import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import NoOpTracer

from service.database import DatabaseOptions
from service.lifecycle import TRACES_BOUND
from service.observability.journal import Journal
from service.observability.metrics import Metrics
from service.observability.spans import Spans, TracedJournal
from service.observability.tallies import Tallies, Tally
from service.settings import TraceSettings

logger = structlog.get_logger()

PATH = "/v1/traces"  # of OTLP over HTTP, below the endpoint
LIBRARY = "opentelemetry"  # the name of its loggers
REASON = 300  # characters


class Tracing:
    """Of one process: from `async with` on, spans are sent."""

    def __init__(
        self, endpoint: str, options: DatabaseOptions, version: str, settings: TraceSettings
    ) -> None:
        """Take what it needs. Raises ValueError, which names the variable of a wrong bound."""
        self.spans = Spans(options)
        self._settings = settings
        self._limits = SpanLimits()
        self._exporter: _Exporter | None = None
        self._provider: TracerProvider | None = None
        self._url = endpoint.rstrip("/") + PATH
        self._resource = {
            SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME") or "holdfast",
            SERVICE_INSTANCE_ID: options.application_name,
            SERVICE_VERSION: version,
        }
        self._tallies = Tallies(
            "holdfast_trace_spans", "Spans that ended, and of these the delivered ones.", "state"
        )

    def journal(self, metrics: Metrics) -> Journal:
        """Return a journal that has a span for each request; count spans in the metrics."""
        metrics.registry.register(self._tallies)
        return TracedJournal(metrics, self.spans)

    async def __aenter__(self) -> Self:
        # Not before: it starts a thread, and workers are forked from what is there by then.
        try:
            self._begin()
        except Exception as error:  # noqa: BLE001 - whatever it is: requests are served without
            logger.warning("traces are not sent", endpoint=self._url, reason=_reason(error))
        else:
            logger.info("traces are sent", endpoint=self._url)
        return self

    def _begin(self) -> None:
        exporter = _Exporter(self._url, self._tallies.labels("delivered"))
        resource = Resource.create({**self._resource, "process.pid": os.getpid()})
        provider = TracerProvider(
            resource=resource, shutdown_on_exit=False, span_limits=self._limits
        )
        tracer = provider.get_tracer("holdfast")
        # Last, as it starts the thread.
        processor = _Processor(exporter, self._tallies.labels("ended"), self._settings)
        provider.add_span_processor(processor)
        self._exporter, self._provider, self.spans.tracer = exporter, provider, tracer

    async def __aexit__(self, *_: object) -> None:
        """Send what is left, for up to TRACES_BOUND seconds."""
        if (provider := self._provider) is None or (exporter := self._exporter) is None:
            return
        self.spans.tracer = NoOpTracer()
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()

        def shut_down() -> None:
            provider.shutdown()
            with suppress(RuntimeError):  # nobody waits any more
                loop.call_soon_threadsafe(ended.set)

        # No executor's thread: the end of the process would wait for it.
        threading.Thread(target=shut_down, name="traces-end", daemon=True).start()
        try:
            async with asyncio.timeout(TRACES_BOUND):
                await ended.wait()
        except TimeoutError:
            exporter.shutdown()


class _Processor(BatchSpanProcessor):
    """The SDK's, which also counts: what did not fit into its queue was not delivered."""

    def __init__(self, exporter: SpanExporter, ended: Tally, settings: TraceSettings) -> None:
        queue = settings.otel_bsp_max_queue_size
        super().__init__(
            exporter,
            max_queue_size=queue,
            schedule_delay_millis=settings.otel_bsp_schedule_delay,
            # The SDK refuses a batch larger than the queue.
            max_export_batch_size=min(settings.otel_bsp_max_export_batch_size, queue),
        )
        self._ended = ended

    def on_end(self, span: ReadableSpan) -> None:
        self._ended.count += 1
        super().on_end(span)


class _Exporter(SpanExporter):
    """The SDK's exporter, which says what is wrong once, and what works again once."""

    def __init__(self, url: str, delivered: Tally) -> None:
        self._session = _Session()
        self._exporter = OTLPSpanExporter(url, session=self._session)
        self._url = url
        self._delivered = delivered
        self._fails = False
        self._closed = False
        _silence_library()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch; called by one thread alone."""
        self._session.outcome = "nothing was sent"  # unless the exporter gets that far
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self._delivered.count += len(spans)
        self._tell(fails=result is not SpanExportResult.SUCCESS)
        return result

    def _tell(self, *, fails: bool) -> None:
        if fails and not self._fails:
            reason = self._session.outcome
            logger.warning("traces are not delivered", endpoint=self._url, reason=reason)
        elif self._fails and not fails:
            logger.info("traces are delivered again", endpoint=self._url)
        self._fails = fails

    def shutdown(self) -> None:
        """Give up what is being sent. The SDK calls it, too."""
        if not self._closed:
            self._closed = True
            self._exporter.shutdown()  # type: ignore[no-untyped-call]


class _Session(requests.Session):
    """Keeps what became of the last request: the exporter does not tell."""

    outcome = ""

    def request(self, *args: Any, **options: Any) -> requests.Response:  # noqa: ANN401 - passed on
        try:
            response = super().request(*args, **options)
        except Exception as error:
            self.outcome = _reason(error)
            raise
        self.outcome = f"{response.status_code} {response.reason}"
        return response


def _reason(error: Exception) -> str:
    """Return what went wrong; a ValueError's message may have a header's value: a key."""
    name = type(error).__name__
    told = isinstance(error, OSError) and not isinstance(error, ValueError)
    return f"{name}: {error}"[:REASON] if told else name


def _silence_library() -> None:
    """Let the SDK not log each batch that it cannot send, nor each span that has no room."""
    library = logging.getLogger(LIBRARY)
    library.handlers[:] = [logging.NullHandler()]
    library.propagate = False
    library.setLevel(logging.CRITICAL)
