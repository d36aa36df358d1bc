//! Converts the node's views to the messages of the contract.

use prost::Message;
use prost_types::Timestamp;
use qres_fed::record::{Goal, Membership, Metric, RoundPolicy, Rule, TensorKind, TensorSpec};
use qres_fed::round::{ChangeInfo, SubmissionState};
use qres_node::finding::{Finding, Verdict};
use qres_node::view::{
    CheckpointView, ConditionKind, ConditionView, HeardModel, JoinStatus, ListedModel, ModelView, NodeView, PeerState,
    PeerView, PrivacySpent, StateView, SubmissionView,
};

use super::schedule;
use crate::pb;

/// Converts a finding of a diagnosis.
pub(super) fn finding(finding: Finding) -> pb::Finding {
    let verdict = match finding.verdict {
        Verdict::Ok => pb::Verdict::Ok,
        Verdict::Warning => pb::Verdict::Warning,
        Verdict::Failed => pb::Verdict::Failed,
        Verdict::Skipped => pb::Verdict::Skipped,
    };
    pb::Finding {
        check: finding.check.to_owned(),
        verdict: verdict.into(),
        text: finding.text,
        remedy: finding.remedy,
    }
}

/// Converts Unix milliseconds to a [`Timestamp`].
pub(super) fn timestamp(unix_ms: u64) -> Timestamp {
    Timestamp {
        seconds: i64::try_from(unix_ms / 1_000).unwrap_or(i64::MAX),
        // The number is below 10^9, so it fits into an `i32`.
        nanos: (unix_ms % 1_000) as i32 * 1_000_000,
    }
}

pub(super) fn text(id: &impl ToString) -> String {
    id.to_string()
}

pub(super) fn texts<T: ToString>(ids: impl IntoIterator<Item = T>) -> Vec<String> {
    ids.into_iter().map(|id| text(&id)).collect()
}

pub(super) fn optional(id: &Option<impl ToString>) -> String {
    id.as_ref().map(text).unwrap_or_default()
}

fn rule(rule: Rule) -> pb::Rule {
    pb::Rule {
        id: rule.id,
        params: rule.params,
    }
}

pub(super) fn checkpoint(view: CheckpointView) -> pb::Checkpoint {
    pb::Checkpoint {
        id: text(&view.id),
        round: view.round,
        parent: optional(&view.parent),
        weights_digest: text(&view.content.weights),
        optimiser_digest: view.content.optimiser.map_or_else(String::new, |blob| text(&blob)),
        total_bytes: view.bytes,
        confirmed: view.confirmed,
    }
}

fn rounds(policy: RoundPolicy) -> pb::RoundPolicy {
    pb::RoundPolicy {
        min_contributions: policy.min_contributions,
        target: policy.target,
        deadline_ms: policy.deadline_ms,
        deadline_max_ms: policy.deadline_ms_max,
        max_staleness: policy.max_staleness,
    }
}

fn tensor(tensor: TensorSpec, kind: TensorKind) -> pb::TensorSpec {
    let kind = match kind {
        TensorKind::Shared => pb::TensorKind::Shared,
        TensorKind::Frozen => pb::TensorKind::Frozen,
        TensorKind::Personal => pb::TensorKind::Personal,
    };
    pb::TensorSpec {
        name: tensor.name,
        dtype: tensor.dtype.name().to_owned(),
        shape: tensor.shape,
        kind: kind.into(),
    }
}

/// Most bytes of tensors in one message (1 MiB): callers accept 4 MiB by default, and the names of 65,536 tensors may take 32.
const TENSOR_BYTES_MAX: usize = 1 << 20;

/// Converts the first tensors, as many as fit into [`TENSOR_BYTES_MAX`].
pub(super) fn tensors<'a>(all: impl Iterator<Item = (&'a TensorSpec, TensorKind)>) -> Vec<pb::TensorSpec> {
    let mut bytes = 0;
    let fits = |tensor: &pb::TensorSpec| {
        // 8 bytes for the key and the length in front of each tensor.
        bytes += tensor.encoded_len() + 8;
        bytes <= TENSOR_BYTES_MAX
    };
    all.map(|(spec, kind)| tensor(spec.clone(), kind))
        .take_while(fits)
        .collect()
}

/// Converts a model with its tensors, as many as [`tensors`] returns.
pub(super) fn model(view: ModelView) -> pb::Model {
    let tensors = tensors(view.spec.tensors.all());
    pb::Model {
        tensors,
        ..model_in_brief(view)
    }
}

/// Converts a model that was only announced: name, id and creator are all that is known.
pub(super) fn heard_model(heard: &HeardModel) -> pb::Model {
    pb::Model {
        name: text(&heard.name),
        id: text(&heard.id),
        creator: text(&heard.creator),
        succeeds: optional(&heard.succeeds),
        standing: pb::ModelStanding::Available.into(),
        ..Default::default()
    }
}

/// Converts an entry of the list of models.
pub(super) fn listed_model(listed: ListedModel) -> pb::Model {
    match listed {
        ListedModel::Here(view) => model_in_brief(*view),
        ListedModel::Heard(heard) => heard_model(&heard),
    }
}

/// Converts a model without its tensors, for lists and watches: a model may have 65,536 tensors.
pub(super) fn model_in_brief(view: ModelView) -> pb::Model {
    let quorum = u32::try_from(view.spec.quorum()).unwrap_or(u32::MAX);
    let spec = view.spec;
    let (open, members) = match spec.membership {
        Membership::List(members) => (false, members.iter().map(text).collect()),
        Membership::Open => (true, vec![]),
    };
    let standing = match view.standing {
        JoinStatus::Available => pb::ModelStanding::Available,
        JoinStatus::Syncing => pb::ModelStanding::Syncing,
        JoinStatus::Joined => pb::ModelStanding::Joined,
        JoinStatus::Complete => pb::ModelStanding::Complete,
        JoinStatus::Superseded => pb::ModelStanding::Superseded,
    };
    pb::Model {
        name: text(&spec.name),
        id: text(&view.id),
        standing: standing.into(),
        member: view.member,
        head: view.head.map(checkpoint),
        trainer_config: view.trainer_config,
        warnings: view.warnings,
        conditions: view.conditions.into_iter().map(condition).collect(),
        strategy: Some(rule(spec.strategy)),
        aggregation: spec.aggregation.into_iter().map(rule).collect(),
        codec: Some(rule(spec.codec)),
        privacy: Some(rule(spec.privacy)),
        rounds: Some(rounds(spec.rounds)),
        open,
        members,
        quorum,
        tensor_count: u32::try_from(spec.tensors.count()).unwrap_or(u32::MAX),
        tensors: vec![],
        checkpoint0_digest: text(&spec.checkpoint0),
        creator: text(&spec.creator),
        succeeds: optional(&spec.succeeds),
        successor: optional(&view.successor),
        changes: view.changes.into_iter().map(change).collect(),
        metrics: spec.metrics.into_iter().map(metric).collect(),
        max_rounds: spec.end.max_rounds,
        until: spec.end.target.map(|target| pb::MetricTarget {
            metric: target.metric,
            value: target.value,
        }),
        schedules: spec
            .schedules
            .into_iter()
            .map(|(name, schedule)| (name, schedule::message(schedule)))
            .collect(),
        earlier_rounds: spec.earlier_rounds,
        privacy_spent: view.spent.map(privacy_spent),
        fixed_digest: optional(&spec.fixed),
    }
}

pub(super) fn privacy_spent(spent: PrivacySpent) -> pb::PrivacySpent {
    pb::PrivacySpent {
        releases: spent.releases,
        epsilon: spent.epsilon,
        delta: spent.delta,
    }
}

pub(super) fn metric(metric: Metric) -> pb::Metric {
    let goal = match metric.goal {
        Goal::Lowest => pb::MetricGoal::Lowest,
        Goal::Highest => pb::MetricGoal::Highest,
    };
    pb::Metric {
        name: metric.name,
        goal: goal.into(),
    }
}

fn change(info: ChangeInfo) -> pb::MemberChange {
    pb::MemberChange {
        proposer: text(&info.change.proposer),
        add: texts(&info.change.add),
        remove: texts(&info.change.remove),
        agreed: texts(&info.agreed),
    }
}

fn condition(view: ConditionView) -> pb::Condition {
    let kind = match view.kind {
        ConditionKind::Convicted => pb::ConditionKind::Convicted,
        ConditionKind::IdentityInUse => pb::ConditionKind::IdentityInUse,
        ConditionKind::Comparing => pb::ConditionKind::Comparing,
        ConditionKind::Unsettled => pb::ConditionKind::Unsettled,
        ConditionKind::MembersChange => pb::ConditionKind::MembersChange,
    };
    pb::Condition {
        kind: kind.into(),
        text: view.text,
        proof: optional(&view.proof),
    }
}

pub(super) fn submission(view: SubmissionView) -> pb::Submission {
    use pb::SubmissionState as State;
    let mut message = pb::Submission {
        id: text(&view.id),
        model: text(&view.model),
        spec_id: text(&view.spec),
        trainer: view.trainer,
        base: text(&view.base),
        samples: view.samples,
        metrics: view.metrics,
        total_bytes: view.bytes,
        acknowledged_at: Some(timestamp(view.at_unix_ms)),
        ..pb::Submission::default()
    };
    let state = match view.state {
        SubmissionState::Pending => State::Pending,
        SubmissionState::Merged { contribution } => {
            message.contribution = text(&contribution);
            State::Merged
        }
        SubmissionState::Sealed {
            checkpoint,
            weight_ppm,
            confirmed,
            settled,
        } => {
            message.checkpoint = text(&checkpoint);
            message.weight_ppm = weight_ppm;
            message.confirmed = confirmed;
            message.r#final = settled;
            State::Sealed
        }
        SubmissionState::Carried { round } => {
            message.carried_to_round = round;
            State::Carried
        }
        SubmissionState::Rejected { reason } => {
            message.reason = reason;
            message.r#final = true;
            State::Rejected
        }
        SubmissionState::Superseded { reason } => {
            message.reason = reason;
            message.r#final = true;
            State::Superseded
        }
    };
    message.set_state(state);
    message
}

pub(super) fn state(view: StateView) -> pb::State {
    pb::State {
        model: text(&view.model),
        spec_id: text(&view.spec),
        publisher: text(&view.publisher),
        name: view.name,
        sequence: view.sequence,
        timestamp: Some(timestamp(view.timestamp_unix_ms)),
        fidelity: view.fidelity,
        data: view.tensors,
    }
}

pub(super) fn peer(view: PeerView) -> pb::Peer {
    let (state, reason, banned_until) = match view.state {
        PeerState::Connecting => (pb::PeerState::Connecting, String::new(), None),
        PeerState::Connected => (pb::PeerState::Connected, String::new(), None),
        PeerState::Disconnected => (pb::PeerState::Disconnected, String::new(), None),
        PeerState::Refused(why) => (pb::PeerState::Refused, why, None),
        PeerState::Banned(why, until) => (pb::PeerState::Banned, why, Some(timestamp(until))),
    };
    let head = |(spec, checkpoint, round)| pb::PeerHead {
        spec_id: text(&spec),
        checkpoint: text(&checkpoint),
        round,
    };
    pb::Peer {
        peer_id: view.peer_id,
        node_id: text(&view.node),
        addresses: view.addresses,
        agent: view.agent,
        state: state.into(),
        reason,
        banned_until,
        connected_at: view.connected_unix_ms.map(timestamp),
        rtt_ms: view.rtt_ms,
        score: view.score,
        heads: view.heads.into_iter().map(head).collect(),
        bootstrap: view.bootstrap,
    }
}

pub(super) fn node(view: NodeView) -> pb::Node {
    let mode = match view.mode.as_str() {
        "node" => pb::NodeMode::Node,
        "bootstrap" => pb::NodeMode::Bootstrap,
        _ => pb::NodeMode::Unspecified,
    };
    pb::Node {
        peer_id: view.peer_id,
        node_id: text(&view.node),
        version: view.version,
        protocol: view.protocol,
        mode: mode.into(),
        listen_addresses: view.listen,
        uptime_ms: view.uptime_ms,
        connected_peers: view.peers,
        draining: view.draining,
        revision: view.revision,
        blob_bytes: view.blob_bytes,
        disk: Some(pb::Disk {
            used_bytes: view.disk.held.saturating_add(view.disk.pending),
            quota_bytes: view.disk.limit,
            free_bytes: view.disk.free,
            upload_bytes: view.disk.uploads,
            upload_quota_bytes: view.disk.uploads_limit,
        }),
        descriptors: Some(pb::Descriptors {
            used: view.descriptors.used,
            limit: view.descriptors.limit,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use qres_fed::id::{BlobId, CheckpointId, ContributionId, NodeId, SpecId, SubmissionId};
    use qres_fed::record::{Dtype, End, Spec};

    use super::*;

    fn model_view() -> ModelView {
        let spec = Spec {
            name: "digits-mlp".parse().unwrap(),
            tensors: vec![TensorSpec {
                name: "w".into(),
                dtype: Dtype::Bf16,
                shape: vec![2, 3],
            }]
            .into(),
            strategy: Rule::new("fedavg/1"),
            aggregation: vec![],
            rounds: RoundPolicy {
                min_contributions: 2,
                target: None,
                deadline_ms: Some(5),
                deadline_ms_max: 10,
                max_staleness: 1,
            },
            codec: Rule::new("bf16/1"),
            privacy: Rule::new("none/1"),
            membership: Membership::List(BTreeSet::from([NodeId([1; 32]), NodeId([2; 32]), NodeId([3; 32])])),
            checkpoint0: BlobId([7; 32]),
            fixed: None,
            creator: NodeId([1; 32]),
            succeeds: None,
            metrics: vec![],
            end: End::default(),
            schedules: Default::default(),
            earlier_rounds: 0,
        };
        ModelView {
            id: spec.id(),
            spec,
            standing: JoinStatus::Joined,
            member: true,
            head: None,
            trainer_config: BTreeMap::new(),
            spent: None,
            warnings: vec![],
            conditions: vec![],
            successor: None,
            changes: vec![],
        }
    }

    #[test]
    fn only_a_whole_model_has_its_tensors() {
        let brief = model_in_brief(model_view());
        assert_eq!((brief.tensor_count, brief.tensors.len(), brief.quorum), (1, 0, 2));
        assert_eq!(brief.members.len(), 3);
        assert_eq!(brief.checkpoint0_digest, "07".repeat(32));
        let whole = model(model_view());
        assert_eq!(
            (whole.tensors[0].dtype.as_str(), &whole.tensors[0].shape[..]),
            ("BF16", &[2, 3][..])
        );
        assert_eq!(
            pb::Model {
                tensors: vec![],
                ..whole
            },
            brief
        );
    }

    #[test]
    fn each_state_of_a_submission_fills_its_own_fields() {
        let message = |state| {
            submission(SubmissionView {
                id: SubmissionId([1; 32]),
                spec: SpecId([2; 32]),
                model: "m".parse().unwrap(),
                trainer: "default".into(),
                base: CheckpointId([3; 32]),
                samples: 9,
                metrics: BTreeMap::new(),
                bytes: 4,
                at_unix_ms: 1_500,
                state,
            })
        };
        let pending = message(SubmissionState::Pending);
        assert_eq!(pending.state(), pb::SubmissionState::Pending);
        assert_eq!(
            pending.acknowledged_at,
            Some(Timestamp {
                seconds: 1,
                nanos: 500_000_000
            })
        );
        let contribution = ContributionId([4; 32]);
        let merged = message(SubmissionState::Merged { contribution });
        assert_eq!(
            (merged.state(), merged.contribution),
            (pb::SubmissionState::Merged, "04".repeat(32))
        );
        let sealed = message(SubmissionState::Sealed {
            checkpoint: CheckpointId([5; 32]),
            weight_ppm: 333_333,
            confirmed: true,
            settled: false,
        });
        assert_eq!(
            (sealed.state(), sealed.weight_ppm, sealed.confirmed, sealed.r#final),
            (pb::SubmissionState::Sealed, 333_333, true, false)
        );
        assert_eq!(sealed.checkpoint, "05".repeat(32));
        assert_eq!(message(SubmissionState::Carried { round: 8 }).carried_to_round, 8);
        let rejected = message(SubmissionState::Rejected { reason: "old".into() });
        assert_eq!(
            (rejected.state(), rejected.reason.as_str(), rejected.r#final),
            (pb::SubmissionState::Rejected, "old", true)
        );
        let superseded = message(SubmissionState::Superseded { reason: "x".into() });
        assert_eq!(superseded.state(), pb::SubmissionState::Superseded);
    }
}
