//! One submission, followed through three daemons by the ids of traces and links.

use qres_tests::collector::environment;
use qres_tests::wait;

use crate::collector::Collector;
use crate::file::{OtlpFile, Span};
use crate::swarm::Three;

/// The trace of the trainer, and its span.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const TRAINER: &str = "b7ad6b7169203331";
/// The gossip of contributions and seals.
const TOPIC: &str = "qres/v1/epiphany";

/// The spans that came so far.
struct Story {
    file: OtlpFile,
}

impl Story {
    async fn find(&self, what: &str, wanted: impl Fn(&Span, &[Span]) -> bool) -> Span {
        wait::until(what, || async {
            let spans = self.file.spans();
            spans.iter().find(|span| wanted(span, &spans)).cloned()
        })
        .await
    }

    /// Follows the trainer's trace on its own node; returns the span that announced the contribution.
    async fn sent(&self, pid: u32) -> Span {
        let of = |span: &Span, name: &str| span.pid == pid && span.name == name && span.trace == TRACE;
        let call = self
            .find("the trainer's call", |span, _| {
                of(span, "qres.v1.WeightsService/SubmitWeights")
            })
            .await;
        assert_eq!(call.parent, TRAINER);
        let store = self.find("its store", |span, _| of(span, "store")).await;
        assert_eq!(store.parent, call.id);
        let encode = self.find("its encode", |span, _| of(span, "encode")).await;
        assert_eq!(encode.parent, call.id);
        let publish = self
            .find("its publish", |span, _| of(span, &format!("publish {TOPIC}")))
            .await;
        assert_eq!(publish.parent, encode.id);
        publish
    }

    /// Follows the contribution on another node: taken in, fetched, checked.
    async fn received(&self, pid: u32, publish: &Span) {
        let process = self
            .find("a receiver that links to it", |span, _| {
                span.pid == pid && span.name == format!("process {TOPIC}") && span.links_to(publish)
            })
            .await;
        assert_ne!(process.trace, TRACE, "a receiver begins a trace of its own");
        for name in ["fetch blob", "check"] {
            let span = self
                .find(&format!("{name} in the receiver's trace"), |span, _| {
                    span.pid == pid && span.name == name && span.trace == process.trace
                })
                .await;
            assert_eq!(span.parent, process.id);
        }
        let of = |name: &'static str| move |span: &Span| span.name == name;
        let (fetch, serve) = (of("fetch blob"), of("serve blob"));
        self.find("a peer that serves the blob and links to the fetch", |span, all| {
            serve(span) && all.iter().any(|other| fetch(other) && span.links_to(other))
        })
        .await;
    }

    /// Follows the contribution into the round on any node: aggregated, and the head.
    async fn counted(&self, pid: u32, publish: &Span) {
        let aggregate = self
            .find("an aggregation that links to it", |span, _| {
                span.pid == pid && span.name == "aggregate" && span.links_to(publish)
            })
            .await;
        let head = self
            .find("a head that links to it", |span, _| {
                span.pid == pid && span.name == "head" && span.links_to(publish)
            })
            .await;
        assert_eq!(head.trace, aggregate.trace, "the head moves in the aggregation's trace");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_submission_is_followed_through_three_daemons() {
    let Some(collector) = Collector::start().await else {
        return;
    };
    let mut three = Three::start(environment(&collector.endpoint())).await;
    collector.scrape(&three.targets());
    three.round(Some(&format!("00-{TRACE}-{TRAINER}-01"))).await;
    let story = Story {
        file: collector.traces(),
    };
    let pids: Vec<_> = three.daemons().iter().map(qres_tests::Daemon::pid).collect();
    let publish = story.sent(pids[0]).await;
    for pid in &pids[1..] {
        story.received(*pid, &publish).await;
    }
    for pid in &pids {
        story.counted(*pid, &publish).await;
    }
    let seal = story
        .find("a seal that links to it", |span, _| {
            span.name == "seal" && span.links_to(&publish)
        })
        .await;
    story
        .find("a head of another node that links to the seal", |span, _| {
            span.name == "head" && span.pid != seal.pid && span.links_to(&seal)
        })
        .await;
    // The same collector scrapes the admin ports.
    let metrics = collector.metrics();
    wait::until("the rounds of all three daemons to be scraped", || async {
        let counts = metrics.metrics();
        counts
            .iter()
            .find(|(name, daemons)| name == "qres_rounds_total" && *daemons == 3)
            .cloned()
    })
    .await;
}
