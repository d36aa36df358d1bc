//! Parses the fields of requests. An error names the field as the contract does.

#![warn(clippy::indexing_slicing, reason = "this file reads foreign bytes")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;

use qres_fed::id::{NodeId, SpecId};
use qres_fed::record::{
    CHANGE_MAX, Dtype, MEMBERS_MAX, Membership, ModelName, Rule, SAMPLES_MAX, TensorSpec, is_printable,
};
use qres_node::error::NodeError;
use qres_node::handle::{ModelRef, Seeded, UploadOptions};
use qres_node::identity;
use tonic::Status;

use super::status::status;
use crate::pb;

/// Most names and patterns of personal tensors, and of frozen ones.
const TENSOR_PATTERNS_MAX: usize = 64;
/// Most bytes of a pattern: as many as a tensor's name may have.
const TENSOR_PATTERN_BYTES_MAX: usize = 512;
/// Most bytes of an idempotency key, of a trainer's name and of a state's name.
pub(super) const NAME_BYTES_MAX: usize = 128;
/// Most metrics of a submission.
const METRICS_MAX: usize = 64;
/// Most numbers of a [`Rule`], as a spec holds them.
const PARAMS_MAX: usize = 32;
/// Most bytes of the name of a [`Rule`], as a spec holds it.
const RULE_BYTES_MAX: usize = 64;

/// Makes the [`Status`] INVALID_ARGUMENT for a field. Its message begins with the field's name.
pub(super) fn invalid(field: &str, problem: impl Display) -> Status {
    status(NodeError::invalid(field, format!("{field}: {problem}")))
}

/// Parses a model reference: `name` or `name@id`.
pub(super) fn model(field: &str, text: &str) -> Result<ModelRef, Status> {
    if text.is_empty() {
        return Err(invalid(field, "missing: give a model's name, or name@id"));
    }
    let (name, id) = match text.split_once('@') {
        Some((name, id)) => (name, Some(self::id::<SpecId>(field, id)?)),
        None => (text, None),
    };
    let name = model_name(field, name)?;
    Ok(ModelRef { name, id })
}

/// Parses `name` or `name@id`. An empty text gives `None`, which means all models.
pub(super) fn optional_model(field: &str, text: &str) -> Result<Option<ModelRef>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    model(field, text).map(Some)
}

/// Parses a [`ModelName`] without an id.
pub(super) fn model_name(field: &str, text: &str) -> Result<ModelName, Status> {
    text.parse().map_err(|_| {
        let got: String = text.chars().take(160).collect();
        invalid(
            field,
            format!("{got:?} is no model name: 1 to 128 bytes, segments of [a-z0-9._-] joined by single '/'"),
        )
    })
}

/// Parses an id that must be given.
pub(super) fn id<T: FromStr<Err: Display>>(field: &str, text: &str) -> Result<T, Status> {
    text.parse().map_err(|error| invalid(field, error))
}

/// Parses an id that may be left out.
pub(super) fn optional_id<T: FromStr<Err: Display>>(field: &str, text: &str) -> Result<Option<T>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    id(field, text).map(Some)
}

/// Checks that a text has at most `bytes_max` bytes and only characters that a terminal shows as they are. The text may be
/// empty.
pub(super) fn text(field: &str, text: String, bytes_max: usize) -> Result<String, Status> {
    if text.len() > bytes_max {
        return Err(invalid(
            field,
            format!("{} bytes given, at most {bytes_max} are possible", text.len()),
        ));
    }
    printable(field, &text)?;
    Ok(text)
}

pub(super) fn printable(field: &str, text: &str) -> Result<(), Status> {
    match text.chars().find(|c| !is_printable(*c)) {
        None => Ok(()),
        Some(c) => {
            let got: String = text.chars().take(80).collect();
            Err(invalid(
                field,
                format!(
                    "{got:?} has the character U+{:04X}: only printable characters are possible",
                    u32::from(c)
                ),
            ))
        }
    }
}

/// Parses a [`Rule`] that may be left out. Its numbers must be finite.
pub(super) fn rule(field: &str, rule: Option<pb::Rule>) -> Result<Option<Rule>, Status> {
    let Some(pb::Rule { id, params }) = rule else {
        return Ok(None);
    };
    if id.is_empty() || id.len() > RULE_BYTES_MAX {
        return Err(invalid(
            &format!("{field}.id"),
            format!(
                "{} bytes given, a name like `fedavg/1` has 1 to {RULE_BYTES_MAX}",
                id.len()
            ),
        ));
    }
    printable(&format!("{field}.id"), &id)?;
    let field = format!("{field}.params");
    let params = numbers(&field, params, PARAMS_MAX)?;
    match params.iter().find(|(_, value)| !value.is_finite()) {
        Some((name, value)) => Err(invalid(
            &field,
            format!("{name} is {value}: only finite numbers are possible"),
        )),
        None => Ok(Some(Rule { id, params })),
    }
}

/// Checks a list of rules; each one must have a name. The spec's own check limits their number.
pub(super) fn rules(field: &str, rules: Vec<pb::Rule>) -> Result<Vec<Rule>, Status> {
    let read = |(i, given)| Ok(rule(&format!("{field}[{i}]"), Some(given))?.unwrap_or_else(|| Rule::new("")));
    rules.into_iter().enumerate().map(read).collect()
}

/// Checks the metrics of a trainer. A value need not be finite: a loss of NaN is taken, too.
pub(super) fn metrics(field: &str, metrics: BTreeMap<String, f64>) -> Result<BTreeMap<String, f64>, Status> {
    numbers(field, metrics, METRICS_MAX)
}

fn numbers(field: &str, numbers: BTreeMap<String, f64>, max: usize) -> Result<BTreeMap<String, f64>, Status> {
    if numbers.len() > max {
        return Err(invalid(
            field,
            format!("{} numbers given, at most {max} are possible", numbers.len()),
        ));
    }
    for name in numbers.keys() {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(invalid(
                field,
                format!("a name has {} bytes, 1 to {NAME_BYTES_MAX} are possible", name.len()),
            ));
        }
        printable(field, name)?;
    }
    Ok(numbers)
}

/// Checks the number of training samples of a submission, which is its weight: 1 to [`SAMPLES_MAX`].
pub(super) fn samples(field: &str, samples: u64) -> Result<u64, Status> {
    if (1..=SAMPLES_MAX).contains(&samples) {
        return Ok(samples);
    }
    Err(invalid(
        field,
        format!("{samples} is no sample count: give the training samples behind the weights, 1 to {SAMPLES_MAX}"),
    ))
}

/// Parses the nodes that may contribute to a model. Returns `None` if this node alone may.
pub(super) fn membership(members: &[String], open: bool) -> Result<Option<Membership>, Status> {
    if open && !members.is_empty() {
        return Err(invalid("open", "an open model has no members: give one or the other"));
    }
    if open {
        return Ok(Some(Membership::Open));
    }
    if members.is_empty() {
        return Ok(None);
    }
    if members.len() > MEMBERS_MAX {
        return Err(invalid(
            "members",
            format!("{} given, a list has at most {MEMBERS_MAX}", members.len()),
        ));
    }
    let mut list = BTreeSet::new();
    for (i, member) in members.iter().enumerate() {
        if !list.insert(node(&format!("members[{i}]"), member)?) {
            return Err(invalid(&format!("members[{i}]"), format!("{member} comes twice")));
        }
    }
    Ok(Some(Membership::List(list)))
}

/// Parses a schema and the seed of its first weights. Both must be given, or neither.
pub(super) fn seeded(
    tensors: Vec<pb::TensorSpec>,
    seed: Option<u64>,
    succeeds: &str,
) -> Result<Option<Seeded>, Status> {
    let Some(seed) = seed else {
        return match tensors.is_empty() {
            true => Ok(None),
            false => Err(invalid(
                "tensors",
                "are given without a seed: a file with the first weights says itself which tensors it has",
            )),
        };
    };
    if !succeeds.is_empty() {
        return Err(invalid(
            "seed",
            "is given with succeeds: the first weights are the old model's head then",
        ));
    }
    if tensors.is_empty() {
        return Err(invalid("tensors", "missing: a seed needs to know of which tensors"));
    }
    let tensor = |(i, tensor): (usize, pb::TensorSpec)| {
        if !matches!(tensor.kind(), pb::TensorKind::Unspecified | pb::TensorKind::Shared) {
            let problem = "is said by the request's personal and frozen";
            return Err(invalid(&format!("tensors[{i}].kind"), problem));
        }
        let dtype = Dtype::from_name(&tensor.dtype).ok_or_else(|| {
            let got: String = tensor.dtype.chars().take(80).collect();
            invalid(
                &format!("tensors[{i}].dtype"),
                format!("{got:?} is no element type of safetensors, e.g. F32"),
            )
        })?;
        Ok(TensorSpec {
            name: tensor.name,
            dtype,
            shape: tensor.shape,
        })
    };
    let tensors = tensors
        .into_iter()
        .enumerate()
        .map(tensor)
        .collect::<Result<_, Status>>()?;
    Ok(Some(Seeded { tensors, seed }))
}

/// Checks names and patterns of tensors.
pub(super) fn tensor_patterns(field: &str, patterns: Vec<String>, succeeds: &str) -> Result<Vec<String>, Status> {
    if !patterns.is_empty() && !succeeds.is_empty() {
        return Err(invalid(
            field,
            "is given with succeeds: a successor keeps the kinds of the old model's tensors",
        ));
    }
    if patterns.len() > TENSOR_PATTERNS_MAX {
        let problem = format!("{} patterns given, at most {TENSOR_PATTERNS_MAX}", patterns.len());
        return Err(invalid(field, problem));
    }
    let named = patterns.into_iter().enumerate();
    let named = named.map(|(i, pattern)| text(&format!("{field}[{i}]"), pattern, TENSOR_PATTERN_BYTES_MAX));
    named.collect()
}

/// Parses a node like [`node`], if one is given.
pub(super) fn optional_node(field: &str, text: &str) -> Result<Option<NodeId>, Status> {
    (!text.is_empty()).then(|| node(field, text)).transpose()
}

/// Parses several nodes, each given like [`node`]; a list that names one twice is refused.
pub(super) fn nodes(field: &str, texts: &[String]) -> Result<BTreeSet<NodeId>, Status> {
    if texts.len() > CHANGE_MAX {
        return Err(invalid(
            field,
            format!("{} nodes given, at most {CHANGE_MAX}", texts.len()),
        ));
    }
    let nodes: BTreeSet<_> = texts.iter().map(|text| node(field, text)).collect::<Result<_, _>>()?;
    match nodes.len() == texts.len() {
        true => Ok(nodes),
        false => Err(invalid(field, "one node is named twice")),
    }
}

/// Parses a [`NodeId`], given as a node id or as a libp2p peer id.
pub(super) fn node(field: &str, text: &str) -> Result<NodeId, Status> {
    identity::parse(text).ok_or_else(|| {
        let got: String = text.chars().take(80).collect();
        invalid(
            field,
            format!("{got:?} is neither a node id (64 lowercase hex digits) nor an Ed25519 peer id (12D3Koo…)"),
        )
    })
}

/// Parses a peer, given as a libp2p peer id or as a node id. Returns the peer id.
pub(super) fn peer(field: &str, text: &str) -> Result<String, Status> {
    let node = node(field, text)?;
    identity::peer_id(&node)
        .map(|peer| peer.to_string())
        .ok_or_else(|| invalid(field, "is no Ed25519 key"))
}

/// Parses the fields by which an upload's first message announces the stream.
pub(super) fn upload(
    idempotency_key: String,
    offset: u64,
    total_bytes: Option<u64>,
    digest: &str,
) -> Result<UploadOptions, Status> {
    let key = text("idempotency_key", idempotency_key, NAME_BYTES_MAX)?;
    let key = (!key.is_empty()).then_some(key);
    if offset > 0 && key.is_none() {
        return Err(invalid(
            "offset",
            format!("{offset} without an idempotency_key: only a keyed upload can go on"),
        ));
    }
    if let Some(total) = total_bytes
        && offset > total
    {
        return Err(invalid("offset", format!("{offset} is above total_bytes ({total})")));
    }
    Ok(UploadOptions {
        key,
        offset,
        bytes: total_bytes,
        digest: optional_id("digest", digest)?,
    })
}

/// Parses a point in time that may be left out. Returns Unix milliseconds.
pub(super) fn unix_ms(field: &str, time: Option<prost_types::Timestamp>) -> Result<Option<u64>, Status> {
    let Some(time) = time else {
        return Ok(None);
    };
    let seconds = u64::try_from(time.seconds).ok();
    let nanos = u64::try_from(time.nanos).ok().filter(|&nanos| nanos < 1_000_000_000);
    let ms = seconds
        .zip(nanos)
        .and_then(|(s, n)| s.checked_mul(1_000)?.checked_add(n / 1_000_000));
    // The limit is the end of the year 9999, where protobuf's timestamps end.
    ms.filter(|&ms| ms < 253_402_300_800_000)
        .map(Some)
        .ok_or_else(|| invalid(field, "is no time between 1970 and 9999"))
}

#[cfg(test)]
mod tests {
    use qres_node::identity::Identity;
    use tonic::Code;
    use tonic_types::StatusExt;

    use super::*;

    /// Returns the field that the [`Status`] blames. Checks that its message names the field, too.
    fn blamed<T>(result: Result<T, Status>) -> String {
        let status = result.err().expect("must be refused");
        assert_eq!(status.code(), Code::InvalidArgument);
        let field = status.get_details_bad_request().unwrap().field_violations[0]
            .field
            .clone();
        assert!(status.message().starts_with(&field), "{}", status.message());
        field
    }

    #[test]
    fn a_model_is_a_name_or_a_name_with_an_id() {
        let id = "ab".repeat(32);
        assert_eq!(model("model", "metabrain/v4").unwrap().id, None);
        let with_id = model("model", &format!("digits-mlp@{id}")).unwrap();
        assert_eq!(with_id.name.as_str(), "digits-mlp");
        assert_eq!(with_id.id.unwrap().to_string(), id);
        for bad in ["", "Digits", "a//b", "a@", "a@ABC", "@", &"a".repeat(129), "a@b@c"] {
            assert_eq!(blamed(model("model", bad)), "model", "{bad}");
        }
        assert_eq!(optional_model("model", "").unwrap(), None);
    }

    #[test]
    fn a_node_goes_by_both_of_its_names() {
        let identity = Identity::ephemeral();
        let peer_id = identity.keypair().public().to_peer_id().to_string();
        let node_id = identity.node();
        assert_eq!(node("peer", &peer_id).unwrap(), node_id);
        assert_eq!(node("peer", &node_id.to_string()).unwrap(), node_id);
        assert_eq!(peer("peer", &node_id.to_string()).unwrap(), peer_id);
        for bad in [
            "",
            "12D3Koo",
            "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
            &"zz".repeat(32),
        ] {
            assert_eq!(blamed(node("peer", bad)), "peer", "{bad}");
        }
    }

    #[test]
    fn membership_is_a_list_or_open_or_this_node_alone() {
        let a = Identity::ephemeral();
        let a_peer = a.keypair().public().to_peer_id().to_string();
        assert_eq!(membership(&[], false).unwrap(), None);
        assert_eq!(membership(&[], true).unwrap(), Some(Membership::Open));
        let list = membership(std::slice::from_ref(&a_peer), false).unwrap();
        assert_eq!(list, Some(Membership::List(BTreeSet::from([a.node()]))));
        assert_eq!(blamed(membership(std::slice::from_ref(&a_peer), true)), "open");
        assert_eq!(blamed(membership(&[a_peer, a.node().to_string()], false)), "members[1]");
        assert_eq!(blamed(membership(&vec![String::new(); 513], false)), "members");
    }

    #[test]
    fn numbers_have_limits() {
        assert_eq!(samples("samples", 1 << 40).unwrap(), 1 << 40);
        assert_eq!(blamed(samples("samples", 0)), "samples");
        assert_eq!(blamed(samples("samples", (1 << 40) + 1)), "samples");
        let nan = BTreeMap::from([("loss".to_owned(), f64::NAN)]);
        assert!(metrics("metrics", nan).unwrap()["loss"].is_nan());
        let many: BTreeMap<_, _> = (0..65).map(|i| (i.to_string(), 0.0)).collect();
        assert_eq!(blamed(metrics("metrics", many)), "metrics");
    }

    #[test]
    fn a_rule_is_named_with_finite_numbers() {
        assert!(rule("strategy", None).unwrap().is_none());
        let fedprox = pb::Rule {
            id: "fedprox/1".into(),
            params: BTreeMap::from([("mu".into(), 0.1)]),
        };
        assert_eq!(
            rule("strategy", Some(fedprox.clone())).unwrap().unwrap().params["mu"],
            0.1
        );
        let nameless = pb::Rule::default();
        assert_eq!(blamed(rule("strategy", Some(nameless))), "strategy.id");
        let infinite = pb::Rule {
            params: BTreeMap::from([("mu".into(), f64::INFINITY)]),
            ..fedprox
        };
        assert_eq!(blamed(rule("strategy", Some(infinite))), "strategy.params");
    }

    #[test]
    fn texts_and_names_have_no_characters_that_a_terminal_would_obey() {
        for bad in ["a\u{1b}[31m", "a\nb", "a\u{9b}", "a\u{202e}b", "a\u{200b}"] {
            assert_eq!(blamed(text("trainer", bad.into(), NAME_BYTES_MAX)), "trainer");
            assert_eq!(blamed(upload(bad.into(), 0, None, "")), "idempotency_key");
            assert_eq!(blamed(metrics("metrics", [(bad.to_owned(), 0.5)].into())), "metrics");
            let named = |id: &str, number: &str| pb::Rule {
                id: id.into(),
                params: [(number.to_owned(), 0.1)].into(),
            };
            assert_eq!(blamed(rule("codec", Some(named(bad, "a")))), "codec.id");
            assert_eq!(blamed(rule("codec", Some(named("a/1", bad)))), "codec.params");
        }
        assert_eq!(
            text("trainer", "größe 重み".into(), NAME_BYTES_MAX).unwrap(),
            "größe 重み"
        );
        let shown = text("trainer", "a\u{1b}".into(), 2).unwrap_err();
        assert!(
            shown.message().contains("\"a\\u{1b}\" has the character U+001B"),
            "{shown:?}"
        );
    }

    #[test]
    fn an_upload_goes_on_only_with_a_key_and_within_its_length() {
        let plain = upload(String::new(), 0, None, "").unwrap();
        assert!(plain.key.is_none() && plain.digest.is_none() && plain.bytes.is_none());
        assert_eq!(upload("k".into(), 5, Some(9), &"00".repeat(32)).unwrap().offset, 5);
        assert_eq!(blamed(upload(String::new(), 5, None, "")), "offset");
        assert_eq!(blamed(upload("k".into(), 10, Some(9), "")), "offset");
        assert_eq!(blamed(upload("k".repeat(129), 0, None, "")), "idempotency_key");
        assert_eq!(blamed(upload(String::new(), 0, None, "xyz")), "digest");
    }

    #[test]
    fn times_are_between_1970_and_9999() {
        let time = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
        assert_eq!(unix_ms("timestamp", None).unwrap(), None);
        assert_eq!(unix_ms("timestamp", time(1, 500_000_000)).unwrap(), Some(1_500));
        for bad in [time(-1, 0), time(0, -1), time(0, 1_000_000_000), time(i64::MAX, 0)] {
            assert_eq!(blamed(unix_ms("timestamp", bad)), "timestamp");
        }
    }
}
