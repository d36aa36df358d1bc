//! Adds to the metadata of every call the W3C trace context of the current span, and the caller's token.
//!
//! The process chooses the propagator that writes the context (`opentelemetry::global`). Without a propagator no context is
//! sent.

use opentelemetry::propagation::Injector;
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The [`Interceptor`] that adds trace context and token.
#[derive(Debug, Clone)]
pub struct CallMetadata {
    /// The value of `authorization`; `None` without a token.
    pub(super) authorization: Option<MetadataValue<Ascii>>,
}

struct Metadata<'a>(&'a mut MetadataMap);

impl Injector for Metadata<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (MetadataKey::from_bytes(key.as_bytes()), value.parse()) {
            self.0.insert(key, value);
        }
    }
}

impl Interceptor for CallMetadata {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let context = tracing::Span::current().context();
        opentelemetry::global::get_text_map_propagator(|propagator| {
            propagator.inject_context(&context, &mut Metadata(request.metadata_mut()));
        });
        if let Some(value) = &self.authorization {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_metadata_is_left_out() {
        let mut map = MetadataMap::new();
        let mut metadata = Metadata(&mut map);
        metadata.set("traceparent", "00-1-2-01".into());
        metadata.set("trace state", "x".into());
        metadata.set("tracestate", "line\nbreak".into());
        assert_eq!(map.len(), 1);
        assert_eq!(map.get("traceparent").unwrap(), "00-1-2-01");
    }
}
