//! The collector of traces: does it answer?

use std::time::Duration;

use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::trace::SpanExporter as _;
use qres_node::finding::Finding;

use super::seeds::connect;

const CHECK: &str = "collector";
/// Most time for an export without a span.
const EXPORT_MAX: Duration = Duration::from_secs(5);

/// Judges the collector that the variables name: `None` if traces are off, an error text if they cannot be exported.
pub async fn finding(endpoint: Result<Option<String>, String>) -> Finding {
    let endpoint = match endpoint {
        Ok(Some(endpoint)) => endpoint,
        Ok(None) => {
            let remedy = "set OTEL_EXPORTER_OTLP_ENDPOINT to export traces";
            return Finding::skipped(CHECK, "no traces are exported: no collector is configured", remedy);
        }
        Err(problem) => {
            let text = format!("no traces are exported: {problem}");
            return Finding::warning(CHECK, text, "correct the OTEL_* variables, then start the node again");
        }
    };
    match answers(&endpoint).await {
        Ok(()) => Finding::ok(CHECK, format!("the collector at {endpoint} takes traces")),
        // The node drops spans then, and does all else as usual.
        Err(problem) => Finding::warning(
            CHECK,
            format!("the collector at {endpoint} takes no traces ({problem}): spans are dropped"),
            "check that it runs and takes OTLP over gRPC there (port 4317), and the firewalls between",
        ),
    }
}

async fn answers(endpoint: &str) -> Result<(), String> {
    // A plain connection first: its errors say more than those of gRPC.
    let (host, port) = host_and_port(endpoint).ok_or("no host in it")?;
    connect(host, port).await?;
    // The builder reads the same variables as the exporter of the running node.
    let exporter = SpanExporter::builder()
        .with_tonic()
        .build()
        .map_err(|error| error.to_string())?;
    match tokio::time::timeout(EXPORT_MAX, exporter.export(vec![])).await {
        Ok(exported) => exported.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", EXPORT_MAX.as_secs())),
    }
}

/// Returns host and port of `http://HOST[:PORT][/PATH]`.
fn host_and_port(endpoint: &str) -> Option<(&str, u16)> {
    let rest = endpoint.strip_prefix("http://")?;
    let authority = rest.split('/').next()?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, 80),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use qres_node::finding::Verdict;

    use super::*;

    #[test]
    fn host_and_port_are_read_from_an_endpoint() {
        for (endpoint, want) in [
            ("http://collector:4317", Some(("collector", 4317))),
            ("http://127.0.0.1:4317/x", Some(("127.0.0.1", 4317))),
            ("http://[::1]:4317", Some(("::1", 4317))),
            ("http://[::1]", Some(("::1", 80))),
            ("http://collector", Some(("collector", 80))),
            ("http://:1", None),
            ("collector:4317", None),
        ] {
            assert_eq!(host_and_port(endpoint), want, "{endpoint}");
        }
    }

    #[tokio::test]
    async fn a_collector_that_is_gone_or_cannot_be_spoken_to_is_a_warning() {
        assert_eq!(finding(Ok(None)).await.verdict, Verdict::Skipped);
        assert_eq!(finding(Err("TLS".into())).await.verdict, Verdict::Warning);
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", gone.local_addr().unwrap());
        drop(gone);
        let found = finding(Ok(Some(endpoint))).await;
        assert_eq!(found.verdict, Verdict::Warning);
        assert!(found.text.contains("refused"), "{found:?}");
    }
}
