//! The page docs/telemetry.md lists each span and attribute that daemons export, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::trace::v1::Span;
use qres_api::pb;
use qres_tests::collector::{Collector, environment};
use qres_tests::weights::vector;
use qres_tests::{Options, Swarm, wait};

use crate::rounds::node_ids;
use crate::{head, vector_model};

/// The name in the page for the span of a call, of which there is one for each method.
const CALL: &str = "package.Service/Method";

/// The attributes of each span in the page; true for those that each span of that name has.
fn described() -> BTreeMap<(String, String), bool> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/telemetry.md");
    let text = std::fs::read_to_string(path).expect("docs/telemetry.md is there");
    let attributes = text.split("## Attributes").nth(1).expect("the table of attributes");
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let name = |cell: &str| cell.trim_matches('`').to_owned();
        let (span, attribute, when) = (cells.next()?, cells.next()?, cells.next()?);
        Some(((name(span), name(attribute)), when == "always"))
    };
    attributes.lines().filter_map(row).collect()
}

fn name(span: &Span) -> String {
    match span.name.contains('/') && !span.name.contains(' ') {
        true => CALL.into(),
        false => span.name.clone(),
    }
}

fn attributes(span: &Span) -> BTreeSet<String> {
    span.attributes.iter().map(|attribute| attribute.key.clone()).collect()
}

/// Lets three daemons make two rounds of two models, of which one refuses a contribution that comes too late.
async fn run(swarm: &Swarm) {
    let nodes = swarm.nodes();
    let request = pb::CreateModelRequest {
        members: node_ids(&nodes).await,
        ..vector_model("listed", &[0.0])
    };
    let mut base = head(&nodes[0].create(request).await.unwrap());
    for node in &nodes[1..] {
        node.join("listed").await;
        node.wait_for_round("listed", 0).await;
    }
    for round in 1..=2 {
        for (node, value) in nodes.iter().zip([1.0, 2.0, 3.0]) {
            node.submit("listed", &base, 1, &vector(&[value + round as f32]))
                .await
                .unwrap();
        }
        for node in &nodes {
            base = node.wait_for_round("listed", round).await.id();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_span_and_attribute_is_described_and_every_description_is_emitted() {
    let (collector, endpoint) = Collector::start().await;
    let options = Options {
        environment: environment(&endpoint),
        ..Options::default()
    };
    let swarm = Swarm::start_with(3, &options).await;
    run(&swarm).await;
    let described = described();
    let emitted = || {
        let spans = collector.spans();
        let pairs = spans
            .iter()
            .flat_map(|span| attributes(span).into_iter().map(|attribute| (name(span), attribute)));
        pairs.collect::<BTreeSet<_>>()
    };
    wait::until("every attribute in docs/telemetry.md to be emitted", || async {
        let emitted = emitted();
        let waits_for: Vec<_> = described.keys().filter(|pair| !emitted.contains(*pair)).collect();
        if !waits_for.is_empty() {
            println!("not emitted yet: {waits_for:?}");
        }
        waits_for.is_empty().then_some(())
    })
    .await;
    let undescribed: Vec<_> = emitted()
        .into_iter()
        .filter(|pair| !described.contains_key(pair))
        .collect();
    assert!(
        undescribed.is_empty(),
        "docs/telemetry.md does not list {undescribed:?}"
    );
    for span in collector.spans() {
        let (name, has) = (name(&span), attributes(&span));
        let of_span = described.iter().filter(|((span, _), always)| *span == name && **always);
        let lacks: Vec<_> = of_span.filter(|((_, attribute), _)| !has.contains(attribute)).collect();
        assert!(lacks.is_empty(), "a span {name:?} lacks {lacks:?}: {span:?}");
    }
}
