//! The spans of a model's rounds, and the trace contexts that join them.

use std::collections::BTreeMap;

use qres_fed::id::{BlobId, CheckpointId, ContributionId, SubmissionId};
use qres_fed::record::{BlobRole, Content, Contribution, Seal};
use qres_fed::round::{AggregateJob, EncodeJob, Input};
use qres_wire::trace;
use tracing::{Span, info_span};

/// The most trace contexts kept of each kind: those of a few rounds.
const KEPT_MAX: usize = 2048;

/// A bounded memory of the traces in which items were written. Losing one loses a line in a picture, nothing else.
pub struct Traces {
    /// The name of the model, an attribute of every span here.
    model: String,
    submissions: BTreeMap<SubmissionId, String>,
    encodings: BTreeMap<CheckpointId, String>,
    contributions: BTreeMap<ContributionId, String>,
    seals: BTreeMap<CheckpointId, String>,
    blobs: BTreeMap<BlobId, String>,
}

fn keep<K: Ord>(map: &mut BTreeMap<K, String>, key: K, traceparent: Option<String>) {
    let Some(traceparent) = traceparent else { return };
    if map.len() >= KEPT_MAX {
        map.clear();
    }
    map.insert(key, traceparent);
    debug_assert!(map.len() <= KEPT_MAX);
}

impl Traces {
    /// Makes an empty memory of the traces of a model.
    pub fn new(model: String) -> Self {
        Self {
            model,
            submissions: BTreeMap::new(),
            encodings: BTreeMap::new(),
            contributions: BTreeMap::new(),
            seals: BTreeMap::new(),
            blobs: BTreeMap::new(),
        }
    }

    /// Remembers the trace context of a trainer's call.
    pub fn submitted(&mut self, id: SubmissionId, traceparent: Option<String>) {
        keep(&mut self.submissions, id, traceparent);
    }

    /// Opens the span of merging and coding: a child of the first trainer's call, linked to the others'.
    pub fn encoding(&mut self, job: &EncodeJob) -> Span {
        let span = info_span!(
            "encode",
            qres.model = self.model,
            qres.checkpoint.parent = %job.parent,
            qres.submissions = job.submissions.len()
        );
        let mut known = job.submissions.iter().filter_map(|item| self.submissions.get(&item.id));
        trace::adopt(&span, known.next().map(String::as_str));
        for other in known {
            trace::link(&span, other);
        }
        keep(&mut self.encodings, job.parent, trace::traceparent(&span));
        span
    }

    /// Opens the span of an aggregation, linked to the traces in which its contributions were published.
    pub fn aggregating(&self, job: &AggregateJob) -> Span {
        let span = info_span!(
            "aggregate",
            qres.model = self.model,
            qres.round = job.proposal.round,
            qres.contributions.fresh = job.fresh.len(),
            qres.contributions.late = job.late.len()
        );
        let late = job.late.iter().map(|late| &late.item);
        self.link_all(&span, job.fresh.iter().chain(late).map(|item| item.id));
        span
    }

    /// Links a span to the traces in which these contributions were published, as far as they are known.
    fn link_all(&self, span: &Span, contributions: impl Iterator<Item = ContributionId>) {
        for id in contributions {
            if let Some(traceparent) = self.contributions.get(&id) {
                trace::link(span, traceparent);
            }
        }
    }

    /// Opens the span of a check of a blob, in the trace that brought the blob.
    pub fn checking(&self, blob: &BlobId, role: BlobRole) -> Span {
        let kind = match role {
            BlobRole::Update => "update",
            BlobRole::Weights => "weights",
            BlobRole::Optimiser => "optimiser",
        };
        let span = info_span!("check", qres.model = self.model, qres.blob.id = %blob, qres.blob.kind = kind);
        trace::adopt(&span, self.blobs.get(blob).map(String::as_str));
        span
    }

    /// Opens the PRODUCER span of an announced [`Contribution`].
    pub fn publishing(&mut self, contribution: &Contribution) -> Span {
        let span = info_span!(
            "publish qres/v1/epiphany",
            otel.kind = "producer",
            messaging.system = "gossipsub",
            messaging.operation.name = "publish",
            messaging.operation.type = "send",
            messaging.destination.name = "qres/v1/epiphany",
            messaging.message.id = %contribution.id(),
            qres.model = self.model,
        );
        trace::adopt(&span, self.encodings.get(&contribution.parent).map(String::as_str));
        keep(&mut self.contributions, contribution.id(), trace::traceparent(&span));
        span
    }

    /// Opens the CONSUMER span of an announcement: a trace of its own, linked to the sender's.
    pub fn received(&mut self, input: &Input, traceparent: Option<String>) {
        let Some(sender) = traceparent else { return };
        let id = match input {
            Input::Contribution(signed) => signed.record.id().to_string(),
            Input::Seal(signed) => signed.record.id().to_string(),
            _ => return,
        };
        let span = info_span!(
            "process qres/v1/epiphany",
            otel.kind = "consumer",
            messaging.system = "gossipsub",
            messaging.operation.name = "process",
            messaging.operation.type = "process",
            messaging.destination.name = "qres/v1/epiphany",
            messaging.message.id = id,
            qres.model = self.model,
        );
        trace::link(&span, &sender);
        match input {
            Input::Contribution(signed) => {
                keep(&mut self.contributions, signed.record.id(), Some(sender));
                keep(&mut self.blobs, signed.record.update, trace::traceparent(&span));
            }
            Input::Seal(signed) => {
                keep(&mut self.seals, signed.record.checkpoint().id(), Some(sender));
                // If the seal comes after this node's own aggregation, the seal did not bring the blobs.
                for (_, blob) in signed.record.result.blobs() {
                    if !self.blobs.contains_key(&blob) {
                        keep(&mut self.blobs, blob, trace::traceparent(&span));
                    }
                }
            }
            _ => {}
        }
    }

    /// Returns the trace in which a blob is fetched.
    pub fn of_blob(&self, blob: &BlobId) -> Option<String> {
        self.blobs.get(blob).cloned()
    }

    /// Remembers the trace of the aggregation that made these blobs.
    pub fn aggregated(&mut self, result: Content, traceparent: Option<String>) {
        for (_, blob) in result.blobs() {
            keep(&mut self.blobs, blob, traceparent.clone());
        }
    }

    /// Opens the span of a [`Seal`] that this node announces: a child of its aggregation, linked to the contributions in the
    /// seal. Returns its trace context.
    pub fn sealed(&mut self, seal: &Seal) -> Option<String> {
        let checkpoint = seal.checkpoint().id();
        let span = info_span!(
            "seal",
            otel.kind = "producer",
            qres.model = self.model,
            qres.round = seal.round,
            qres.checkpoint.id = %checkpoint
        );
        trace::adopt(&span, self.blobs.get(&seal.result.weights).map(String::as_str));
        self.link_all(&span, seal.fresh.iter().chain(&seal.late).copied());
        let traceparent = trace::traceparent(&span);
        keep(&mut self.seals, checkpoint, traceparent.clone());
        traceparent
    }

    /// Opens the span of a head that moves: a child of the aggregation (or the fetch) that brought its weights, linked to the
    /// seal and to the contributions in the round.
    pub fn head_moved(
        &mut self,
        checkpoint: CheckpointId,
        round: u64,
        weights: &BlobId,
        contributions: impl Iterator<Item = ContributionId>,
    ) -> Span {
        let span = info_span!("head", qres.model = self.model, qres.round = round, qres.checkpoint.id = %checkpoint);
        trace::adopt(&span, self.blobs.get(weights).map(String::as_str));
        if let Some(seal) = self.seals.get(&checkpoint) {
            trace::link(&span, seal);
        }
        self.link_all(&span, contributions);
        span
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use qres_wire::identity::Identity;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::tests::seal_by;

    const SEALER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const AGGREGATION: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn trace_id(traceparent: &str) -> String {
        traceparent.split('-').nth(1).expect("a trace").to_owned()
    }

    /// Returns the trace in which a head moves that stands on the seal's result.
    fn trace_of_head(traces: &mut Traces, seal: &Seal) -> String {
        let span = traces.head_moved(
            seal.checkpoint().id(),
            seal.round,
            &seal.result.weights,
            std::iter::empty(),
        );
        trace_id(&trace::traceparent(&span).expect("a context"))
    }

    #[test]
    fn a_head_moves_in_the_trace_of_the_own_aggregation_whenever_the_seal_is_heard() {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let _exported = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        let signed = seal_by(&Identity::ephemeral());
        let seal = &signed.record;
        let hear = |traces: &mut Traces| traces.received(&Input::Seal(signed.clone()), Some(SEALER.into()));
        let aggregate = |traces: &mut Traces| traces.aggregated(seal.result, Some(AGGREGATION.into()));

        let mut late = Traces::new("m".into());
        aggregate(&mut late);
        hear(&mut late);
        assert_eq!(trace_of_head(&mut late, seal), trace_id(AGGREGATION));

        let mut early = Traces::new("m".into());
        hear(&mut early);
        let fetch = early.of_blob(&seal.result.weights).expect("the trace of the fetch");
        assert_eq!(trace_of_head(&mut early, seal), trace_id(&fetch));
        aggregate(&mut early);
        assert_eq!(trace_of_head(&mut early, seal), trace_id(AGGREGATION));
    }
}
