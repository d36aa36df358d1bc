"""The caller's trace context on its way to the node."""

import pytest
from opentelemetry import trace
from qres import tracing

TRACE = 0x4BF92F3577B34DA6A3CE929D0E0E4736
SPAN = 0x00F067AA0BA902B7
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def span():
    context = trace.SpanContext(TRACE, SPAN, is_remote=False, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED))
    with trace.use_span(trace.NonRecordingSpan(context)):
        yield


def test_calls_inside_a_span_carry_its_context(client, node, span):
    from node import LARGE

    client.fetch("m", timeout=60)
    client.submit("m", LARGE, base="c1", samples=1, timeout=60)
    client.model("m", timeout=60)
    assert node.traceparents and set(node.traceparents) == {TRACEPARENT}


def test_calls_outside_of_a_span_carry_nothing(client, node):
    client.fetch("m", timeout=60)
    assert node.traceparents == [None]


def test_without_opentelemetry_calls_go_as_ever(client, node, span, monkeypatch):
    monkeypatch.setattr(tracing, "_PROPAGATOR", None)
    assert client.fetch("m", timeout=60).checkpoint == "c1"
    assert node.traceparents == [None]


def test_what_the_caller_gave_stands(span):
    given = [("traceparent", "mine"), ("authorization", "Bearer x")]
    assert tracing._with_context(given) == given
    assert tracing._with_context(None) == [("traceparent", TRACEPARENT)]
