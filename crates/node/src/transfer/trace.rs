//! W3C trace context as it comes from a peer or a record.

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Links the span to a context that came from outside. A context that is none is passed over; its sampling is not adopted.
pub(crate) fn link(span: &tracing::Span, traceparent: &str) {
    if let Some(context) = parse(traceparent) {
        span.add_link(context);
    }
}

/// Makes the span a child of this node's own context.
pub(crate) fn follow(span: &tracing::Span, traceparent: &str) {
    if let Some(context) = parse(traceparent) {
        let parent = opentelemetry::Context::new().with_remote_span_context(context);
        // Fails only when no OpenTelemetry layer is installed, and then nobody looks.
        let _ = span.set_parent(parent);
    }
}

/// The span's own context, for whoever is asked; `None` when nobody traces.
pub(crate) fn traceparent(span: &tracing::Span) -> Option<String> {
    let context = span.context();
    let own = context.span().span_context().clone();
    own.is_valid().then(|| write(&own))
}

fn write(context: &SpanContext) -> String {
    let (trace, span, flags) = (context.trace_id(), context.span_id(), context.trace_flags().to_u8());
    format!("00-{trace}-{span}-{flags:02x}")
}

/// `00-<32 hex>-<16 hex>-<2 hex>`, as in W3C Trace Context, version 00.
fn parse(text: &str) -> Option<SpanContext> {
    if text.len() != 55 || !text.is_ascii() {
        return None;
    }
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || version != "00" || trace.len() != 32 || span.len() != 16 {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_and_what_is_none_is_passed_over() {
        // The example of W3C Trace Context, §3.2.3.1.
        let context = parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id().to_string(), "00f067aa0ba902b7");
        assert_eq!(
            write(&context),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        );
        for none in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-zz",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more-of-it",
            "é0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
        ] {
            assert!(parse(none).is_none(), "{none:?}");
        }
    }
}
