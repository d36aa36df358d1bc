//! The OTLP exporter, as the standard `OTEL_*` variables ask for it. The SDK itself reads the variables for sampling, limits,
//! batches, headers and timeouts; this module handles those that the SDK does not.

use opentelemetry::KeyValue;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SdkTracerProvider};

use super::exporter::Once;
use crate::config::Environment;

const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];

/// Returns the provider that exports spans, `None` if no variable of `env` asks for one, or an error text if the export
/// that the variables ask for is not possible.
///
/// The queue is bounded (2,048 spans unless `OTEL_BSP_MAX_QUEUE_SIZE` says otherwise): when a collector does not keep up,
/// spans are dropped and no caller waits.
pub fn provider(env: &Environment) -> Result<Option<SdkTracerProvider>, String> {
    let Some(endpoint) = endpoint(env)? else {
        return Ok(None);
    };
    // The builder reads endpoint, headers, timeout and compression from the environment; it connects lazily.
    let exporter = SpanExporter::builder()
        .with_tonic()
        .build()
        .map_err(|error| format!("{endpoint}: {error}"))?;
    let batches = BatchSpanProcessor::builder(Once::new(exporter, endpoint)).build();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(batches)
        .with_resource(resource(env))
        .build();
    Ok(Some(provider))
}

/// Returns the collector's endpoint, `None` if traces are off, or an error text for a protocol or an endpoint that is not
/// supported.
pub fn endpoint(env: &Environment) -> Result<Option<String>, String> {
    let get = |name: &str| {
        env.get(name)
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
    };
    let off = get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if off || get("OTEL_TRACES_EXPORTER") == Some("none") {
        return Ok(None);
    }
    let Some((name, endpoint)) = ENDPOINTS.iter().find_map(|name| Some((name, get(name)?))) else {
        return Ok(None);
    };
    if let Some(protocol) = PROTOCOLS.iter().find_map(|name| get(name))
        && protocol != "grpc"
    {
        return Err(format!(
            "OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}, only grpc is spoken (a collector's port 4317)"
        ));
    }
    if !endpoint.starts_with("http://") {
        return Err(format!(
            "{name} is {endpoint}, which asks for TLS; export is in plain text only: say http://HOST:4317, of a collector \
             on this machine or network"
        ));
    }
    Ok(Some(endpoint.to_owned()))
}

/// The sender of the spans: the attributes of the variables, plus a service name, a version and an instance id where the
/// variables give none.
fn resource(env: &Environment) -> Resource {
    let given = env.get("OTEL_RESOURCE_ATTRIBUTES").map_or("", String::as_str);
    let names = |key: &str| {
        given
            .split(',')
            .any(|pair| pair.split('=').next().map(str::trim) == Some(key))
    };
    let mut resource = Resource::builder();
    let named = env.get("OTEL_SERVICE_NAME").is_some_and(|name| !name.is_empty());
    if !named && !names("service.name") {
        resource = resource.with_service_name("qres-daemon");
    }
    if !names("service.version") {
        resource = resource.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    }
    if !names("service.instance.id") {
        let host = env.get("HOSTNAME").map_or("localhost", String::as_str);
        let instance = format!("{host}-{}", std::process::id());
        resource = resource.with_attribute(KeyValue::new("service.instance.id", instance));
    }
    resource.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    #[test]
    fn traces_are_off_unless_an_endpoint_is_named() {
        assert_eq!(endpoint(&env(&[])), Ok(None));
        assert_eq!(endpoint(&env(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")])), Ok(None));
        let on = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317");
        assert_eq!(endpoint(&env(&[on])), Ok(Some("http://a:4317".into())));
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://b:4317");
        assert_eq!(endpoint(&env(&[on, traces])), Ok(Some("http://b:4317".into())));
        assert_eq!(endpoint(&env(&[on, ("OTEL_SDK_DISABLED", "TRUE")])), Ok(None));
        assert_eq!(endpoint(&env(&[on, ("OTEL_TRACES_EXPORTER", "none")])), Ok(None));
    }

    #[test]
    fn what_cannot_be_spoken_is_said_with_a_remedy() {
        let on = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317");
        let error = endpoint(&env(&[on, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")])).unwrap_err();
        assert!(error.contains("only grpc") && error.contains("4317"), "{error}");
        for tls in ["https://a:4317", "a:4317"] {
            let error = endpoint(&env(&[("OTEL_EXPORTER_OTLP_ENDPOINT", tls)])).unwrap_err();
            assert!(error.contains("http://HOST:4317"), "{error}");
        }
    }

    #[test]
    fn the_service_is_called_qres_daemon_unless_told_otherwise() {
        let name = |pairs: &[(&str, &str)]| {
            let resource = resource(&env(pairs));
            resource
                .get(&opentelemetry::Key::new("service.name"))
                .map(|value| value.to_string())
        };
        assert_eq!(name(&[]).as_deref(), Some("qres-daemon"));
        // With these variables the name is left to the SDK's own detectors, which read the process's real environment.
        assert_ne!(name(&[("OTEL_SERVICE_NAME", "x")]).as_deref(), Some("qres-daemon"));
        assert_ne!(
            name(&[("OTEL_RESOURCE_ATTRIBUTES", "a=b, service.name=x")]).as_deref(),
            Some("qres-daemon")
        );
    }
}
