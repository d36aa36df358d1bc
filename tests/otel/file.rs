//! The files of OTLP in JSON that the collector writes: one line for each batch.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

/// A span in the file.
#[derive(Debug, Clone)]
pub struct Span {
    /// Name of the span.
    pub name: String,
    /// Process id of the daemon that made the span.
    pub pid: u32,
    /// Id of the trace, in hex.
    pub trace: String,
    /// Id of the span, in hex.
    pub id: String,
    /// Id of the parent, empty without one.
    pub parent: String,
    /// The traces and spans of the links.
    pub links: Vec<(String, String)>,
}

impl Span {
    /// Returns true if the span has a link to another one.
    pub fn links_to(&self, other: &Self) -> bool {
        self.links
            .iter()
            .any(|(trace, id)| *trace == other.trace && *id == other.id)
    }
}

/// A file of OTLP in JSON.
#[derive(Debug, Clone)]
pub struct OtlpFile(pub PathBuf);

impl OtlpFile {
    /// Returns all lines that are whole.
    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Returns all spans.
    pub fn spans(&self) -> Vec<Span> {
        let mut spans = vec![];
        for line in self.lines() {
            for resource in array(&line, "resourceSpans") {
                let pid = pid(resource);
                for scope in array(resource, "scopeSpans") {
                    spans.extend(array(scope, "spans").iter().map(|span| span_of(span, pid)));
                }
            }
        }
        spans
    }

    /// Returns the names of all metrics, with the number of instances that sent each.
    pub fn metrics(&self) -> Vec<(String, usize)> {
        let mut pairs = BTreeSet::new();
        for line in self.lines() {
            for resource in array(&line, "resourceMetrics") {
                let instance = attribute(resource, "service.instance.id");
                for scope in array(resource, "scopeMetrics") {
                    let names = array(scope, "metrics").iter().map(|metric| text(metric, "name"));
                    pairs.extend(names.map(|name| (name, instance.clone())));
                }
            }
        }
        let names: BTreeSet<_> = pairs.iter().map(|(name, _)| name.clone()).collect();
        let count = |name: &String| pairs.iter().filter(|pair| pair.0 == *name).count();
        names.into_iter().map(|name| (name.clone(), count(&name))).collect()
    }
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn attribute(resource: &Value, key: &str) -> String {
    let attributes = array(resource.get("resource").unwrap_or(&Value::Null), "attributes");
    let found = attributes.iter().find(|attribute| text(attribute, "key") == key);
    found
        .and_then(|attribute| attribute.get("value"))
        .map(|value| text(value, "stringValue"))
        .unwrap_or_default()
}

/// The name of an instance is "host-pid".
fn pid(resource: &Value) -> u32 {
    let instance = attribute(resource, "service.instance.id");
    instance
        .rsplit('-')
        .next()
        .and_then(|pid| pid.parse().ok())
        .unwrap_or(0)
}

fn span_of(span: &Value, pid: u32) -> Span {
    let links = array(span, "links").iter();
    Span {
        name: text(span, "name"),
        pid,
        trace: text(span, "traceId"),
        id: text(span, "spanId"),
        parent: text(span, "parentSpanId"),
        links: links
            .map(|link| (text(link, "traceId"), text(link, "spanId")))
            .collect(),
    }
}
