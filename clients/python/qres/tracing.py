"""The caller's trace: calls carry its W3C trace context, if the package `opentelemetry-api` is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import grpc

try:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:
    _PROPAGATOR = None
else:
    _PROPAGATOR = TraceContextTextMapPropagator()

Metadata = Iterable[tuple[str, "str | bytes"]]


def context() -> list[tuple[str, str]]:
    """`traceparent` and `tracestate` of the caller's current span; nothing without one, or without OpenTelemetry."""
    carrier: dict[str, str] = {}
    if _PROPAGATOR is not None:
        _PROPAGATOR.inject(carrier)
    return list(carrier.items())


class TracedChannel:
    """A channel whose calls carry the trace context of the moment at which they are made."""

    def __init__(self, channel: grpc.Channel):
        self._channel = channel

    def unary_unary(self, *args: Any, **options: Any) -> Callable:
        """A callable for a call of one request and one answer."""
        return _Traced(self._channel.unary_unary(*args, **options))

    def unary_stream(self, *args: Any, **options: Any) -> Callable:
        """A callable for a call of one request and a stream of answers."""
        return _Traced(self._channel.unary_stream(*args, **options))

    def stream_unary(self, *args: Any, **options: Any) -> Callable:
        """A callable for a call of a stream of requests and one answer."""
        return _Traced(self._channel.stream_unary(*args, **options))

    def stream_stream(self, *args: Any, **options: Any) -> Callable:
        """A callable for a call of two streams."""
        return _Traced(self._channel.stream_stream(*args, **options))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


class _Traced:
    """One method of a channel."""

    def __init__(self, call: Callable):
        self._call = call

    def __call__(self, request: Any, *args: Any, metadata: Metadata | None = None, **options: Any) -> Any:
        return self._call(request, *args, metadata=_with_context(metadata), **options)

    def future(self, request: Any, *args: Any, metadata: Metadata | None = None, **options: Any) -> Any:
        """The call, not waited for."""
        return self._call.future(request, *args, metadata=_with_context(metadata), **options)

    def with_call(self, request: Any, *args: Any, metadata: Metadata | None = None, **options: Any) -> Any:
        """The answer, and the call with its metadata."""
        return self._call.with_call(request, *args, metadata=_with_context(metadata), **options)


def _with_context(metadata: Metadata | None) -> list[tuple[str, str | bytes]] | None:
    # What the caller gave stands: a second `traceparent` would contradict it.
    given = list(metadata or ())
    named = {key for key, _ in given}
    return [*given, *(pair for pair in context() if pair[0] not in named)] or None
