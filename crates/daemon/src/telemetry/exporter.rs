//! An exporter that logs once that the collector is gone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

/// Wraps an exporter and logs its failures: the first failure is one line, later ones are silent until an export succeeds.
#[derive(Debug)]
pub struct Once<E> {
    inner: E,
    endpoint: String,
    failing: AtomicBool,
}

impl<E> Once<E> {
    /// Wraps `inner`; the log lines name `endpoint`.
    pub fn new(inner: E, endpoint: String) -> Self {
        Self {
            inner,
            endpoint,
            failing: AtomicBool::new(false),
        }
    }

    fn note(&self, result: &OTelSdkResult) {
        let was = self.failing.swap(result.is_err(), Ordering::Relaxed);
        match result {
            Err(error) if !was => tracing::warn!(
                endpoint = self.endpoint,
                "the OpenTelemetry collector takes no traces ({error}): spans are dropped, all else goes on; this is said once"
            ),
            Ok(()) if was => tracing::info!(
                endpoint = self.endpoint,
                "the OpenTelemetry collector takes traces again"
            ),
            Ok(()) | Err(_) => {}
        }
    }
}

impl<E: SpanExporter> SpanExporter for Once<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.inner.export(batch).await;
        self.note(&result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use opentelemetry_sdk::error::OTelSdkError;

    use super::*;

    /// An exporter that succeeds while its switch is true, and fails otherwise.
    #[derive(Debug)]
    struct Switch(Arc<AtomicBool>);

    impl SpanExporter for Switch {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            if self.0.load(Ordering::Relaxed) {
                return Ok(());
            }
            Err(OTelSdkError::InternalFailure("refused".into()))
        }
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_dead_collector_is_one_line_and_its_return_another() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        let up = Arc::new(AtomicBool::new(false));
        let exporter = Once::new(Switch(up.clone()), "http://collector:4317".into());
        let export = || drop(futures::executor::block_on(exporter.export(Vec::new())));
        let count = || String::from_utf8(lines.0.lock().clone()).unwrap().lines().count();
        tracing::subscriber::with_default(subscriber, || {
            (0..100).for_each(|_| export());
            assert_eq!(count(), 1);
            up.store(true, Ordering::Relaxed);
            (0..100).for_each(|_| export());
            assert_eq!(count(), 2);
        });
        let text = String::from_utf8(lines.0.lock().clone()).unwrap();
        assert!(
            text.contains("http://collector:4317") && text.contains("refused"),
            "{text}"
        );
    }
}
