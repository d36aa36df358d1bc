//! Trace ids in the log: each line that is written inside a span names the trace and the span.

use std::fmt;
use std::sync::{Arc, OnceLock};

use opentelemetry::trace::{SpanContext, TraceContextExt};
use tracing::dispatcher::WeakDispatch;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::LogFormat;

/// The process's subscriber, once it is installed: a formatter asks it for the trace of a span.
#[derive(Debug, Clone, Default)]
pub struct Subscribed(Arc<OnceLock<WeakDispatch>>);

impl Subscribed {
    /// Takes the subscriber that is the current one now.
    pub fn set_current(&self) {
        let current = tracing::dispatcher::get_default(tracing::Dispatch::downgrade);
        // Only the first one counts.
        let _ = self.0.set(current);
    }
}

/// Writes an event as `inner` does, and adds `trace_id` and `span_id` if the event is inside a span that has a trace.
pub struct TraceIds<F> {
    inner: F,
    format: LogFormat,
    subscribed: Subscribed,
}

impl<F> TraceIds<F> {
    /// Wraps `inner`, whose lines have this format.
    pub fn new(inner: F, format: LogFormat, subscribed: Subscribed) -> Self {
        Self {
            inner,
            format,
            subscribed,
        }
    }

    fn context(&self, span: &tracing::span::Id) -> Option<SpanContext> {
        let subscriber = self.subscribed.0.get()?.upgrade()?;
        let context = tracing_opentelemetry::get_otel_context(span, &subscriber)?;
        let context = context.span().span_context().clone();
        context.is_valid().then_some(context)
    }
}

impl<S, N, F> FormatEvent<S, N> for TraceIds<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let traced = context.parent_span().and_then(|span| self.context(&span.id()));
        let Some(traced) = traced else {
            return self.inner.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        let (trace, span) = (traced.trace_id(), traced.span_id());
        match (self.format, line.strip_prefix('{')) {
            (LogFormat::Json, Some(rest)) => {
                write!(writer, "{{\"trace_id\":\"{trace}\",\"span_id\":\"{span}\",{rest}")
            }
            _ => writeln!(
                writer,
                "{} trace_id={trace} span_id={span}",
                line.trim_end_matches('\n')
            ),
        }
    }
}
