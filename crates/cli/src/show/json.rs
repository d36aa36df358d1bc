//! Formats the contract's messages as JSON: every field is there, under its name in the proto. Enums are the lower-case last
//! word of their name (`joined`), numbers are numbers, points in time are RFC 3339, a message that is unset is null.

use base64::Engine;
use prost_types::Timestamp;
use qres_api::pb;
use serde_json::{Value, json};

use super::text;

/// Converts a repeated field to a JSON array.
pub fn list<T>(items: &[T], each: impl Fn(&T) -> Value) -> Value {
    items.iter().map(each).collect()
}

fn time(at: Option<&Timestamp>) -> Value {
    at.map(ToString::to_string).into()
}

fn rule(rule: Option<&pb::Rule>) -> Value {
    rule.map(|rule| json!({"id": rule.id, "params": rule.params})).into()
}

/// Converts a [`pb::Checkpoint`] to JSON.
pub fn checkpoint(checkpoint: &pb::Checkpoint) -> Value {
    json!({
        "id": checkpoint.id,
        "round": checkpoint.round,
        "parent": checkpoint.parent,
        "weights_digest": checkpoint.weights_digest,
        "optimiser_digest": checkpoint.optimiser_digest,
        "total_bytes": checkpoint.total_bytes,
        "confirmed": checkpoint.confirmed,
    })
}

fn tensor(tensor: &pb::TensorSpec) -> Value {
    let kind = text::tensor_kind(tensor.kind());
    json!({"name": tensor.name, "dtype": tensor.dtype, "shape": tensor.shape, "kind": kind})
}

fn policy(policy: &pb::RoundPolicy) -> Value {
    json!({
        "min_contributions": policy.min_contributions,
        "target": policy.target,
        "deadline_ms": policy.deadline_ms,
        "deadline_max_ms": policy.deadline_max_ms,
        "max_staleness": policy.max_staleness,
    })
}

fn condition(condition: &pb::Condition) -> Value {
    json!({
        "kind": text::condition(condition),
        "text": condition.text,
        "proof": condition.proof,
    })
}

/// Converts a [`pb::Model`] to JSON.
pub fn model(model: &pb::Model) -> Value {
    json!({
        "name": model.name,
        "id": model.id,
        "standing": text::standing(model),
        "member": model.member,
        "head": model.head.as_ref().map(checkpoint),
        "trainer_config": model.trainer_config,
        "warnings": model.warnings,
        "conditions": list(&model.conditions, condition),
        "strategy": rule(model.strategy.as_ref()),
        "aggregation": model.aggregation.iter().map(|given| rule(Some(given))).collect::<Vec<_>>(),
        "codec": rule(model.codec.as_ref()),
        "privacy": rule(model.privacy.as_ref()),
        "rounds": model.rounds.as_ref().map(policy),
        "open": model.open,
        "members": model.members,
        "quorum": model.quorum,
        "tensor_count": model.tensor_count,
        "tensors": list(&model.tensors, tensor),
        "checkpoint0_digest": model.checkpoint0_digest,
        "creator": model.creator,
        "succeeds": model.succeeds,
        "successor": model.successor,
        "changes": list(&model.changes, change),
        "metrics": list(&model.metrics, metric),
        "max_rounds": model.max_rounds,
        "schedules": model.schedules.iter().map(|(name, given)| (name.clone(), schedule(given))).collect::<serde_json::Map<_, _>>(),
        "earlier_rounds": model.earlier_rounds,
        "fixed_digest": model.fixed_digest,
        "privacy_spent": model.privacy_spent.as_ref().map(privacy_spent),
        "until": model.until.as_ref().map(|target| json!({"metric": target.metric, "value": target.value})),
    })
}

fn schedule(schedule: &pb::Schedule) -> Value {
    let point = |point: &pb::SchedulePoint| json!({"round": point.round, "value": point.value});
    json!({"curve": text::curve(schedule), "points": list(&schedule.points, point)})
}

fn privacy_spent(spent: &pb::PrivacySpent) -> Value {
    json!({"releases": spent.releases, "epsilon": spent.epsilon, "delta": spent.delta})
}

fn change(change: &pb::MemberChange) -> Value {
    json!({
        "proposer": change.proposer,
        "add": change.add,
        "remove": change.remove,
        "agreed": change.agreed,
    })
}

/// Converts a [`pb::Node`] to JSON.
pub fn node(node: &pb::Node) -> Value {
    json!({
        "peer_id": node.peer_id,
        "node_id": node.node_id,
        "version": node.version,
        "protocol": node.protocol,
        "mode": match node.mode() {
            pb::NodeMode::Unspecified => "unknown",
            pb::NodeMode::Node => "node",
            pb::NodeMode::Bootstrap => "bootstrap",
        },
        "listen_addresses": node.listen_addresses,
        "uptime_ms": node.uptime_ms,
        "connected_peers": node.connected_peers,
        "draining": node.draining,
        "revision": node.revision,
        "blob_bytes": node.blob_bytes,
        "disk": node.disk.map(|disk| json!({
            "used_bytes": disk.used_bytes,
            "quota_bytes": disk.quota_bytes,
            "free_bytes": disk.free_bytes,
            "upload_bytes": disk.upload_bytes,
            "upload_quota_bytes": disk.upload_quota_bytes,
        })),
        "descriptors": node.descriptors.map(|found| json!({"used": found.used, "limit": found.limit})),
    })
}

fn peer_head(head: &pb::PeerHead) -> Value {
    json!({"spec_id": head.spec_id, "checkpoint": head.checkpoint, "round": head.round})
}

/// Converts a [`pb::Peer`] to JSON.
pub fn peer(peer: &pb::Peer) -> Value {
    json!({
        "peer_id": peer.peer_id,
        "node_id": peer.node_id,
        "addresses": peer.addresses,
        "agent": peer.agent,
        "state": text::peer_state(peer),
        "reason": peer.reason,
        "banned_until": time(peer.banned_until.as_ref()),
        "connected_at": time(peer.connected_at.as_ref()),
        "rtt_ms": peer.rtt_ms,
        "score": peer.score,
        "heads": list(&peer.heads, peer_head),
        "bootstrap": peer.bootstrap,
    })
}

fn contribution(contribution: &pb::Contribution) -> Value {
    json!({
        "id": contribution.id,
        "author": contribution.author,
        "samples": contribution.samples,
        "fidelity": contribution.fidelity,
        "total_bytes": contribution.total_bytes,
        "late": contribution.late,
        "verdict": contribution.verdict.as_ref().map(verdict),
        "steps": contribution.steps,
        "privacy_spent": contribution.privacy_spent.as_ref().map(privacy_spent),
    })
}

fn verdict(verdict: &pb::ContributionVerdict) -> Value {
    json!({
        "claimed": verdict.claimed,
        "weight": verdict.weight,
        "clipped": verdict.clipped,
        "distance": verdict.distance,
        "rejected": text::rejection(verdict.rejected()),
    })
}

fn losing_seal(seal: &pb::LosingSeal) -> Value {
    json!({"checkpoint": seal.checkpoint, "sealer": seal.sealer})
}

/// Converts a [`pb::Round`] to JSON.
pub fn round(round: &pb::Round) -> Value {
    json!({
        "model": round.model,
        "spec_id": round.spec_id,
        "round": round.round,
        "state": text::round_state(round),
        "parent": round.parent,
        "checkpoint": round.checkpoint.as_ref().map(checkpoint),
        "sealers": round.sealers,
        "contributions": list(&round.contributions, contribution),
        "missing": round.missing,
        "min_contributions": round.min_contributions,
        "deadline_in_ms": round.deadline_in_ms,
        "losing_seals": list(&round.losing_seals, losing_seal),
        "evaluation": list(&round.evaluation, evaluation),
        "closing": round.closing,
    })
}

fn evaluation(evaluation: &pb::Evaluation) -> Value {
    json!({
        "metric": evaluation.metric.as_ref().map(metric),
        "members": evaluation.members,
        "samples": evaluation.samples,
        "mean": evaluation.mean,
        "min": evaluation.min,
        "max": evaluation.max,
        "middle": evaluation.middle,
    })
}

fn metric(metric: &pb::Metric) -> Value {
    json!({"name": metric.name, "goal": text::goal(metric)})
}

/// Converts a number to JSON. NaN and the infinities, which JSON has no numbers for, become the names of protobuf's JSON.
fn number(value: f64) -> Value {
    match value {
        _ if value.is_finite() => json!(value),
        _ if value.is_nan() => json!("NaN"),
        _ if value > 0.0 => json!("Infinity"),
        _ => json!("-Infinity"),
    }
}

/// Converts a [`pb::Submission`] to JSON.
pub fn submission(submission: &pb::Submission) -> Value {
    json!({
        "id": submission.id,
        "model": submission.model,
        "spec_id": submission.spec_id,
        "trainer": submission.trainer,
        "base": submission.base,
        "samples": submission.samples,
        "metrics": submission.metrics.iter().map(|(name, value)| (name.clone(), number(*value))).collect::<serde_json::Map<_, _>>(),
        "total_bytes": submission.total_bytes,
        "acknowledged_at": time(submission.acknowledged_at.as_ref()),
        "state": text::submission_state(submission),
        "contribution": submission.contribution,
        "checkpoint": submission.checkpoint,
        "weight_ppm": submission.weight_ppm,
        "confirmed": submission.confirmed,
        "final": submission.r#final,
        "carried_to_round": submission.carried_to_round,
        "reason": submission.reason,
    })
}

/// Converts a [`pb::State`] to JSON, with its data in base64.
pub fn state(state: &pb::State) -> Value {
    json!({
        "model": state.model,
        "spec_id": state.spec_id,
        "publisher": state.publisher,
        "name": state.name,
        "sequence": state.sequence,
        "timestamp": time(state.timestamp.as_ref()),
        "fidelity": state.fidelity,
        "data": base64::engine::general_purpose::STANDARD.encode(&state.data),
    })
}

/// Returns the name of a [`pb::WatchKind`].
pub fn watch_kind(kind: pb::WatchKind) -> &'static str {
    match kind {
        pb::WatchKind::Unspecified => "unknown",
        pb::WatchKind::Snapshot => "snapshot",
        pb::WatchKind::SnapshotEnd => "snapshot_end",
        pb::WatchKind::Change => "change",
        pb::WatchKind::TooOld => "too_old",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    /// Returns the fields of a message, as the contract names them.
    fn fields(message: &str) -> BTreeSet<String> {
        let set = FileDescriptorSet::decode(qres_api::FILE_DESCRIPTOR_SET).unwrap();
        let ours = set.file.iter().filter(|file| file.package() == "qres.v1");
        let found = ours
            .flat_map(|file| &file.message_type)
            .find(|found| found.name() == message);
        let found = found.unwrap_or_else(|| panic!("the contract has no {message}"));
        found.field.iter().map(|field| field.name().to_owned()).collect()
    }

    #[test]
    fn every_message_has_every_field_of_the_contract_and_no_other() {
        let rule_of = |value: &pb::Rule| rule(Some(value));
        for (name, value) in [
            ("Checkpoint", checkpoint(&pb::Checkpoint::default())),
            ("TensorSpec", tensor(&pb::TensorSpec::default())),
            ("RoundPolicy", policy(&pb::RoundPolicy::default())),
            ("Rule", rule_of(&pb::Rule::default())),
            ("Model", model(&pb::Model::default())),
            ("Node", node(&pb::Node::default())),
            ("PeerHead", peer_head(&pb::PeerHead::default())),
            ("Peer", peer(&pb::Peer::default())),
            ("Contribution", contribution(&pb::Contribution::default())),
            ("ContributionVerdict", verdict(&pb::ContributionVerdict::default())),
            ("LosingSeal", losing_seal(&pb::LosingSeal::default())),
            ("Round", round(&pb::Round::default())),
            ("Submission", submission(&pb::Submission::default())),
            ("State", state(&pb::State::default())),
        ] {
            let shown: BTreeSet<String> = value.as_object().unwrap().keys().cloned().collect();
            assert_eq!(shown, fields(name), "{name}");
        }
    }

    #[test]
    fn values_read_as_documented() {
        let model = model(&pb::Model {
            standing: pb::ModelStanding::Joined.into(),
            ..Default::default()
        });
        assert_eq!((&model["standing"], &model["head"]), (&json!("joined"), &Value::Null));
        let submission = submission(&pb::Submission {
            acknowledged_at: Some(Timestamp {
                seconds: 1_700_000_000,
                nanos: 5_000_000,
            }),
            samples: 1 << 40,
            ..Default::default()
        });
        assert_eq!(submission["acknowledged_at"], "2023-11-14T22:13:20.005Z");
        assert_eq!(submission["samples"], 1_u64 << 40);
        let state = state(&pb::State {
            data: b"abc".as_slice().into(),
            ..Default::default()
        });
        assert_eq!(state["data"], "YWJj");
    }
}
