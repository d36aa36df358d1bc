//! W3C trace context: one trace shows the way of a submission through several nodes.
//!
//! The context of a trainer is adopted, because its node works for it. The context of another node is only linked to, and
//! its sampling flag is never believed: the OpenTelemetry messaging conventions ask for a link, and the sender is not
//! trusted.

#![warn(clippy::indexing_slicing, reason = "this file reads foreign bytes")]

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Returns the `traceparent` of a [`Span`], version 00; `None` when nothing is exported.
pub fn traceparent(span: &Span) -> Option<String> {
    let context = span.context();
    let context = context.span().span_context().clone();
    context.is_valid().then(|| {
        format!(
            "00-{}-{}-{:02x}",
            context.trace_id(),
            context.span_id(),
            context.trace_flags().to_u8()
        )
    })
}

/// Reads a `traceparent`, strictly: any text that is not version 00 in lowercase hex with a valid [`SpanContext`] gives
/// `None`. The sampling flag is read only if `trust_sampling` is true.
fn parse(text: &str, trust_sampling: bool) -> Option<SpanContext> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lower_hex = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if parts.next().is_some()
        || version != "00"
        || !lower_hex(trace, 32)
        || !lower_hex(span, 16)
        || !lower_hex(flags, 2)
    {
        return None;
    }
    let sampled = trust_sampling && u8::from_str_radix(flags, 16).is_ok_and(|f| f & 1 == 1);
    let flags = if sampled {
        TraceFlags::SAMPLED
    } else {
        TraceFlags::default()
    };
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        flags,
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

/// Links a span to the context of another node. A text that is no `traceparent` is ignored.
pub fn link(span: &Span, traceparent: &str) {
    if let Some(context) = parse(traceparent, false) {
        span.add_link(context);
    }
}

/// Reads a peer's context as [`link`] does, for the fuzz targets.
#[doc(hidden)]
pub fn link_text(traceparent: &str) {
    link(&Span::none(), traceparent);
}

/// Makes a span a child of an earlier span of this node, or of its trainer's span.
pub fn adopt(span: &Span, traceparent: Option<&str>) {
    if let Some(context) = traceparent.and_then(|t| parse(t, true)) {
        let parent = opentelemetry::Context::new().with_remote_span_context(context);
        // This fails only when the span has started already or nothing is exported: then there is nothing to show.
        let _ = span.set_parent(parent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_context_is_read_strictly_and_its_sampling_is_not_believed() {
        // This is the example of the W3C recommendation.
        let example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = parse(example, false).unwrap();
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(!context.is_sampled());
        assert!(parse(example, true).unwrap().is_sampled());
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert!(parse(bad, false).is_none(), "{bad}");
        }
    }
}
