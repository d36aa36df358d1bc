//! Logs to stderr, and traces to a collector when the standard `OTEL_*` variables name one.

mod exporter;
mod otlp;
mod plain;
mod trace_ids;

use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::{LevelFilter, Targets, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{JsonFields, debug_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use qres_api::server::AUDIT_TARGET;

use crate::config::{Config, Environment, LogFormat};
use trace_ids::{Subscribed, TraceIds};

/// Most time for sending the last spans. A collector that is down delays a shutdown by no more than this.
pub const FLUSH_MAX: Duration = Duration::from_secs(2);

/// Returns the endpoint of the collector that the variables of `env` name, `None` if traces are off, or an error text if they cannot
/// be exported.
pub fn collector(env: &Environment) -> Result<Option<String>, String> {
    otlp::endpoint(env)
}

/// The running telemetry. Call [`Telemetry::flush`] before the process ends.
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Installs the process's subscriber and propagator. Must be called inside a Tokio runtime, on which the exporter's
    /// connection lives. A collector that cannot be used is one line in the log, never an error.
    pub fn start(config: &Config, env: &Environment) -> anyhow::Result<Self> {
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        let (traces, problem) = match otlp::provider(env) {
            Ok(provider) => (provider, None),
            Err(problem) => (None, Some(problem)),
        };
        let exporting = traces.as_ref().map(|provider| {
            tracing_opentelemetry::layer()
                .with_tracer(opentelemetry::trace::TracerProvider::tracer(provider, "qres-daemon"))
                .with_location(false)
                .with_threads(false)
                .with_tracked_inactivity(false)
                .with_target(false)
                .with_filter(exported())
        });
        let subscribed = Subscribed::default();
        tracing_subscriber::registry()
            .with(exporting)
            .with(logging(config, &subscribed)?)
            .with(audit(config)?)
            .try_init()?;
        subscribed.set_current();
        if let Some(problem) = problem {
            tracing::warn!("no traces are exported: {problem}");
        }
        Ok(Self { traces })
    }

    /// Sends the spans that are left, and blocks for at most [`FLUSH_MAX`]. A failure is logged at DEBUG only: a collector that
    /// is down has been reported already.
    pub fn flush(self) {
        if let Some(provider) = self.traces
            && let Err(error) = provider.shutdown_with_timeout(FLUSH_MAX)
        {
            tracing::debug!("the last spans were not exported: {error}");
        }
    }
}

/// The filter of exported spans: only this project's own spans leave the process. Spans of h2, hyper, tonic, tower and the
/// exporter would be caused by the export itself, and spans of libp2p are of no use to an operator.
fn exported() -> Targets {
    Targets::new().with_target("qres", LevelFilter::DEBUG)
}

/// Makes the layer that writes the log to stderr.
fn logging<S>(config: &Config, subscribed: &Subscribed) -> anyhow::Result<Box<dyn Layer<S> + Send + Sync>>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let filter = EnvFilter::try_new(with_quiet_libraries(&config.log))?;
    // The exporter library logs the same line for as long as a collector is down; `exporter` logs it once. The library's
    // lines are shown only if the filter names `opentelemetry`.
    let wanted = config.log.contains("opentelemetry");
    // Without a hint this filter would ask for all levels, and each `trace!` of the libraries would reach the filters.
    let quiet = filter_fn(move |metadata| wanted || !metadata.target().starts_with("opentelemetry"))
        .with_max_level_hint(filter.max_level_hint().unwrap_or(LevelFilter::TRACE));
    let colours = std::io::stderr().is_terminal();
    Ok(lines(config.log_format, colours, std::io::stderr, subscribed)
        .with_filter(tracing_subscriber::filter::FilterExt::and(filter, quiet))
        .boxed())
}

/// Makes the layer that writes audit lines to a file of their own. The log's filter does not hold for them.
fn audit<S>(config: &Config) -> anyhow::Result<Option<Box<dyn Layer<S> + Send + Sync>>>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let Some(path) = &config.audit_log else { return Ok(None) };
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("audit_log {} cannot be written", path.display()))?;
    let filter = Targets::new().with_target(AUDIT_TARGET, LevelFilter::INFO);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(plain::Lines::new(Arc::new(file), false))
        .with_ansi(false)
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false);
    Ok(Some(lines.with_filter(filter).boxed()))
}

/// Libraries and the level from which they log. They log an ordinary start too loudly: libp2p at INFO, Kademlia with a
/// warning while it knows no peer, QUIC with a warning if the system cannot send several packets at once.
const QUIET: [(&str, &str); 3] = [("libp2p", "warn"), ("libp2p_kad", "error"), ("quinn_udp", "error")];

/// Adds the levels of [`QUIET`] to `filter`, except for libraries that the filter itself names, in full or by the beginning
/// of their name.
fn with_quiet_libraries(filter: &str) -> String {
    let named: Vec<_> = filter
        .split(',')
        .filter_map(|part| part.trim().split(['=', '[']).next())
        .collect();
    let quiet = |(library, level): &(&str, &str)| {
        let said = named.iter().any(|name| !name.is_empty() && library.starts_with(name));
        (!said).then(|| format!(",{library}={level}"))
    };
    let quiet: String = QUIET.iter().filter_map(quiet).collect();
    format!("{filter}{quiet}")
}

/// Makes a layer that writes one line per event to `writer`. Control characters in quoted text are escaped, so that no
/// quoted text can command a terminal.
fn lines<S, W>(format: LogFormat, colours: bool, writer: W, subscribed: &Subscribed) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // JSON lines have no colours.
    let colours = colours && format == LogFormat::Text;
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(plain::Lines::new(writer, colours))
        .with_ansi(colours);
    let plain = tracing_subscriber::fmt::format().with_ansi(colours);
    match format {
        LogFormat::Text => layer
            .fmt_fields(debug_fn(plain::field).delimited(" "))
            .event_format(TraceIds::new(plain, format, subscribed.clone()))
            .boxed(),
        LogFormat::Json => {
            let json = plain.json().flatten_event(true);
            layer
                .fmt_fields(JsonFields::new())
                .event_format(TraceIds::new(json, format, subscribed.clone()))
                .boxed()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    const HOSTILE: &str = "gone\u{1b}[2J\u{9b}31m\u{7f}\r\nINFO \u{202e}forged\u{2028}\u{200b}";

    fn logged(format: LogFormat, colours: bool) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber =
            tracing_subscriber::registry().with(lines(format, colours, move || writer.clone(), &Subscribed::default()));
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("call", peer = %HOSTILE);
            let _in = span.enter();
            tracing::warn!(software = %HOSTILE, why = HOSTILE, error = ?HOSTILE, "peer said {HOSTILE}");
        });
        let bytes = kept.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_inside_a_span_names_its_trace() {
        use opentelemetry::trace::TracerProvider;
        let provider = SdkTracerProvider::builder().build();
        for format in [LogFormat::Text, LogFormat::Json] {
            let (kept, subscribed) = (Kept::default(), Subscribed::default());
            let writer = kept.clone();
            let subscriber = tracing_subscriber::registry()
                .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("test")))
                .with(lines(format, false, move || writer.clone(), &subscribed));
            tracing::subscriber::with_default(subscriber, || {
                subscribed.set_current();
                tracing::info!("outside");
                tracing::info_span!("call").in_scope(|| tracing::info!("inside"));
            });
            let text = String::from_utf8(kept.0.lock().clone()).unwrap();
            let line = |word| text.lines().find(|line| line.contains(word)).unwrap();
            assert!(!line("outside").contains("trace_id"), "{text}");
            let inside = line("inside");
            let id = inside.split("trace_id").nth(1).unwrap();
            let id = id.trim_start_matches(['=', ':', '"']);
            assert!(id[..32].bytes().all(|b| b.is_ascii_hexdigit()), "{text}");
            assert_eq!(inside.ends_with('}'), format == LogFormat::Json, "{text}");
        }
    }

    #[test]
    fn libraries_stay_quiet_unless_the_filter_names_them() {
        for (said, becomes) in [
            ("info", "info,libp2p=warn,libp2p_kad=error,quinn_udp=error"),
            ("info,libp2p=debug", "info,libp2p=debug,quinn_udp=error"),
            (
                "warn,libp2p_kad=info",
                "warn,libp2p_kad=info,libp2p=warn,quinn_udp=error",
            ),
            ("quinn=trace,debug", "quinn=trace,debug,libp2p=warn,libp2p_kad=error"),
        ] {
            let filter = with_quiet_libraries(said);
            assert_eq!(filter, becomes);
            EnvFilter::try_new(filter).unwrap();
        }
    }

    #[test]
    fn what_a_stranger_said_stays_in_its_line_of_the_log_and_is_escaped() {
        for (format, colours) in [
            (LogFormat::Text, false),
            (LogFormat::Text, true),
            (LogFormat::Json, false),
            (LogFormat::Json, true),
        ] {
            let text = logged(format, colours);
            let line = text.strip_suffix('\n').unwrap();
            assert!(line.contains("peer said gone"), "{line:?}");
            let own = |c| c == '\u{1b}' && colours && format == LogFormat::Text;
            assert!(line.chars().all(|c| own(c) || qres_api::is_printable(c)), "{line:?}");
            // The formatter's own colours are there, the terminal command of the hostile text is not.
            assert!(!line.contains("\u{1b}[2J"), "{line:?}");
            assert_eq!(line.contains('\u{1b}'), colours && format == LogFormat::Text);
        }
    }
}
