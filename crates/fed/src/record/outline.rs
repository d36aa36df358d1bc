//! Outlines of specs: the part that a node keeps of a spec whose model it has not joined.

use borsh::BorshDeserialize;

use super::schema::{check_kinds, check_tensor, check_tensor_count};
use super::{Canonical, DecodeError, ModelName, Spec, TensorKind, TensorSpec};
use crate::id::{NodeId, SpecId};

/// Name, creator and predecessor of a [`Spec`]. 37,000 tiny tensors are 1 MiB of canonical bytes and 19 MiB once decoded (measured). A
/// node that has only heard of a model therefore checks the spec's tensors one by one and keeps none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// The model's name for people.
    pub name: ModelName,
    /// The node that made the spec and must have signed it.
    pub creator: NodeId,
    /// The spec that this one succeeds, if any.
    pub succeeds: Option<SpecId>,
}

impl Outline {
    /// Reads a spec's canonical bytes with one tensor in memory at a time.
    ///
    /// # Errors
    /// Returns an error for exactly those bytes that [`Spec::from_canonical`] or [`Spec::check`] refuses.
    pub fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        let malformed = |error: &dyn std::fmt::Display| DecodeError::Malformed(error.to_string());
        let tag = Spec::TAG;
        let body = bytes
            .strip_prefix(tag.as_bytes())
            .ok_or(DecodeError::Tag { expected: tag })?;
        let mut reader = body;
        let name = ModelName::deserialize(&mut reader).map_err(|error| malformed(&error))?;
        let count = u32::deserialize(&mut reader).map_err(|error| malformed(&error))?;
        check_tensor_count(count as usize).map_err(|error| malformed(&error))?;
        let (mut previous, mut total, mut shared) = (None::<String>, 0, 0);
        for _ in 0..count {
            let tensor = <(TensorSpec, TensorKind)>::deserialize(&mut reader);
            let (tensor, kind) = tensor.map_err(|error| malformed(&error))?;
            total = check_tensor(previous.as_deref(), total, &tensor).map_err(|error| malformed(&error))?;
            previous = Some(tensor.name);
            shared += usize::from(kind == TensorKind::Shared);
        }
        let spec = without_tensors(name, reader).map_err(|error| malformed(&error))?;
        check_kinds(shared, count as usize - shared, spec.fixed.as_ref())
            .and_then(|()| spec.check_rounds())
            .and_then(|()| spec.check_rules())
            .and_then(|()| spec.check_course())
            .map_err(|error| malformed(&error))?;
        Ok(Self {
            name: spec.name,
            creator: spec.creator,
            succeeds: spec.succeeds,
        })
    }
}

/// Reads the fields behind the tensors. The bytes must hold these fields and nothing else, in the canonical encoding.
fn without_tensors(name: ModelName, rest: &[u8]) -> std::io::Result<Spec> {
    let mut reader = rest;
    let spec = Spec {
        name,
        tensors: vec![].into(),
        strategy: BorshDeserialize::deserialize(&mut reader)?,
        aggregation: BorshDeserialize::deserialize(&mut reader)?,
        rounds: BorshDeserialize::deserialize(&mut reader)?,
        codec: BorshDeserialize::deserialize(&mut reader)?,
        privacy: BorshDeserialize::deserialize(&mut reader)?,
        membership: BorshDeserialize::deserialize(&mut reader)?,
        checkpoint0: BorshDeserialize::deserialize(&mut reader)?,
        fixed: BorshDeserialize::deserialize(&mut reader)?,
        creator: BorshDeserialize::deserialize(&mut reader)?,
        succeeds: BorshDeserialize::deserialize(&mut reader)?,
        metrics: BorshDeserialize::deserialize(&mut reader)?,
        end: BorshDeserialize::deserialize(&mut reader)?,
        schedules: BorshDeserialize::deserialize(&mut reader)?,
        earlier_rounds: BorshDeserialize::deserialize(&mut reader)?,
    };
    if !reader.is_empty() {
        return Err(std::io::Error::other("bytes behind the last field"));
    }
    // borsh reads sets and maps in any order; only the ascending one is canonical.
    if !spec.to_canonical().ends_with(rest) {
        return Err(std::io::Error::other(
            "not the canonical encoding: a set or map is out of order",
        ));
    }
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::BlobId;
    use crate::record::{
        Curve, Dtype, End, Goal, Membership, Metric, MetricTarget, Point, RoundPolicy, Rule, Schedule, Schema,
    };

    fn spec() -> Spec {
        let tensor = |name: &str| TensorSpec {
            name: name.into(),
            dtype: Dtype::F32,
            shape: vec![2, 3],
        };
        Spec {
            name: "a/b".parse().unwrap(),
            tensors: Schema::of_kinds([
                (tensor("a"), TensorKind::Shared),
                (tensor("b"), TensorKind::Shared),
                (tensor("c"), TensorKind::Personal),
                (tensor("d"), TensorKind::Frozen),
            ]),
            strategy: Rule {
                id: "fedprox/1".into(),
                params: [("mu".to_owned(), 0.5), ("nu".to_owned(), 1.0)].into(),
            },
            aggregation: vec![Rule::new("median/1")],
            rounds: RoundPolicy::default(),
            codec: Rule::new("bf16/1"),
            privacy: Rule::new("none/1"),
            membership: Membership::List([NodeId([1; 32]), NodeId([2; 32])].into()),
            checkpoint0: BlobId([3; 32]),
            fixed: Some(BlobId([4; 32])),
            creator: NodeId([1; 32]),
            succeeds: None,
            metrics: vec![Metric {
                name: "loss".into(),
                goal: Goal::Lowest,
            }],
            end: End {
                max_rounds: Some(9),
                target: Some(MetricTarget {
                    metric: "loss".into(),
                    value: 0.5,
                }),
            },
            schedules: [(
                "mu".to_owned(),
                Schedule {
                    curve: Curve::Linear,
                    points: vec![Point { round: 1, value: 0.5 }, Point { round: 9, value: 0.0 }],
                },
            )]
            .into(),
            earlier_rounds: 0,
        }
    }

    /// Returns the result of reading and checking the whole spec.
    fn whole(bytes: &[u8]) -> Option<(ModelName, NodeId)> {
        let spec = Spec::from_canonical(bytes).ok()?;
        spec.check().ok()?;
        Some((spec.name, spec.creator))
    }

    fn outline(bytes: &[u8]) -> Option<(ModelName, NodeId)> {
        Outline::read(bytes).ok().map(|outline| (outline.name, outline.creator))
    }

    #[test]
    fn an_outline_is_there_exactly_when_the_whole_spec_is_sound() {
        let good = spec().to_canonical();
        assert_eq!(outline(&good), Some((spec().name, spec().creator)));
        let bad: [fn(&mut Spec); 16] = [
            |spec| spec.tensors = vec![].into(),
            |spec| spec.tensors.swap(0, 1),
            |spec| spec.tensors[1].name = "a".into(),
            |spec| spec.tensors[0].shape = vec![1; 17],
            |spec| spec.tensors[0].shape = vec![u64::MAX, 2],
            |spec| spec.rounds.min_contributions = 3,
            |spec| spec.strategy.id = "x".repeat(65),
            |spec| spec.metrics = vec![spec.metrics[0].clone(); 2],
            |spec| spec.metrics[0].name = "a\nb".into(),
            |spec| spec.metrics = vec![],
            |spec| spec.end.max_rounds = Some(0),
            |spec| spec.schedules.values_mut().for_each(|schedule| schedule.points.clear()),
            |spec| spec.earlier_rounds = 1,
            |spec| spec.fixed = None,
            |spec| spec.tensors = spec.tensors.to_vec().into(),
            |spec| {
                spec.tensors = Schema::of_kinds(
                    spec.tensors
                        .all()
                        .map(|(tensor, _)| (tensor.clone(), TensorKind::Frozen)),
                )
            },
        ];
        for (number, spoil) in bad.iter().enumerate() {
            let mut spec = spec();
            spoil(&mut spec);
            let bytes = spec.to_canonical();
            assert_eq!((outline(&bytes), whole(&bytes)), (None, None), "{number}");
        }
    }

    #[test]
    fn cut_bent_and_lengthened_bytes_are_judged_as_the_whole_spec_is() {
        let good = spec().to_canonical();
        for cut in 0..good.len() {
            assert_eq!(outline(&good[..cut]), None, "cut at {cut}");
        }
        assert_eq!(outline(&[&good[..], b"x"].concat()), None);
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bent = good.clone();
                bent[at] ^= 1 << bit;
                assert_eq!(outline(&bent), whole(&bent), "bit {bit} of byte {at}");
            }
        }
        // The bytes name the members in another order.
        let (one, two) = ([1u8; 32], [2u8; 32]);
        let at = good.windows(64).position(|w| w == [one, two].concat()).unwrap();
        let mut turned = good;
        turned[at..at + 64].copy_from_slice(&[two, one].concat());
        assert_eq!((outline(&turned), whole(&turned)), (None, None));
    }
}
