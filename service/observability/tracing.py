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
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import NoOpTracer

from service.database import DatabaseOptions
from service.lifecycle import TRACES_BOUND
from service.observability.journal import Journal
from service.observability.metrics import Metrics
from service.observability.spans import Spans, TracedJournal
from service.observability.tallies import Tallies, Tally

logger = structlog.get_logger()

PATH = "/v1/traces"  # of OTLP over HTTP, below the endpoint
LIBRARY = "opentelemetry"  # the name of its loggers
REASON = 300  # characters


class Tracing:
    """Of one process: from `async with` on, spans are sent."""

    def __init__(self, endpoint: str, options: DatabaseOptions, version: str) -> None:
        self.spans = Spans(options)
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
        self._exporter = _Exporter(self._url, self._tallies.labels("delivered"))
        processor = _Processor(self._exporter, self._tallies.labels("ended"))
        resource = Resource.create({**self._resource, "process.pid": os.getpid()})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self.spans.tracer = self._provider.get_tracer("holdfast")
        logger.info("traces are sent", endpoint=self._url)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Send what is left, for up to TRACES_BOUND seconds."""
        self.spans.tracer = NoOpTracer()
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()

        def shut_down() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # nobody waits any more
                loop.call_soon_threadsafe(ended.set)

        # No executor's thread: the end of the process would wait for it.
        threading.Thread(target=shut_down, name="traces-end", daemon=True).start()
        try:
            async with asyncio.timeout(TRACES_BOUND):
                await ended.wait()
        except TimeoutError:
            self._exporter.shutdown()


class _Processor(BatchSpanProcessor):
    """The SDK's, which also counts: what did not fit into its queue was not delivered."""

    def __init__(self, exporter: SpanExporter, ended: Tally) -> None:
        super().__init__(exporter)
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
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self._delivered.count += len(spans)
        self._tell(fails=result is not SpanExportResult.SUCCESS)
        return result

    def _tell(self, *, fails: bool) -> None:
        if fails and not self._fails:
            reason = self._session.outcome[:REASON]
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
        except requests.RequestException as error:
            self.outcome = str(error)
            raise
        self.outcome = f"{response.status_code} {response.reason}"
        return response


def _silence_library() -> None:
    """Let the SDK not log each batch that it cannot send, nor each span that has no room."""
    library = logging.getLogger(LIBRARY)
    library.handlers[:] = [logging.NullHandler()]
    library.propagate = False
    library.setLevel(logging.CRITICAL)
