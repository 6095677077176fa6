"""OpenTelemetry, where ENABLE_TRACING: spans of requests and of what they ask Postgres.

Where they go is said by OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT, …). The
packages are an optional extra, and are not even imported where tracing is off.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import propagate
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import Scope

from app.core.exchange import exchange_of
from app.core.middleware.tracing import Finish

_SERVER_ERROR = 500


class Tracing:
    """A tracer of one application.

    Statements are traced as they are written, with their parameters' places and never their values.
    """

    def __init__(self, service: str, version: str, exporter: SpanExporter | None = None) -> None:
        # What the environment says of the resource (OTEL_SERVICE_NAME) goes before.
        named = Resource({SERVICE_NAME: service, SERVICE_VERSION: version})
        self._provider = TracerProvider(resource=named.merge(Resource.create()))
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("oneslot", version)
        self._asyncpg = AsyncPGInstrumentor()  # type: ignore[no-untyped-call]  # it has no types

    def watch(self, engine: AsyncEngine) -> None:
        """Trace what is asked through an engine, and past it through asyncpg."""
        SQLAlchemyInstrumentor().instrument(
            engine=engine.sync_engine, tracer_provider=self._provider
        )
        self._asyncpg.instrument(tracer_provider=self._provider)

    @contextmanager
    def request(self, scope: Scope) -> Iterator[Finish]:
        """The span of a request, which continues the caller's trace (W3C Trace Context)."""
        exchange = exchange_of(scope)
        headers = {
            name: value.decode("latin-1")
            for name in ("traceparent", "tracestate")
            if (value := exchange.one(name.encode())) is not None
        }
        with self._tracer.start_as_current_span(
            scope["method"],
            context=propagate.extract(headers),
            kind=SpanKind.SERVER,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:

            def finish(name: str, status: int) -> None:
                method, _, route = name.partition(" ")
                span.update_name(name)
                span.set_attribute("http.request.method", method)
                span.set_attribute("http.route", route)
                span.set_attribute("http.response.status_code", status)
                if status >= _SERVER_ERROR:
                    span.set_status(Status(StatusCode.ERROR))

            yield finish

    def close(self) -> None:
        """Send what has not been sent."""
        self._asyncpg.uninstrument()
        SQLAlchemyInstrumentor().uninstrument()
        self._provider.shutdown()
