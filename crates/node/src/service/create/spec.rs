//! The spec that a request asks for, its errors, and the digest of the request.

use qres_fed::aggregation::defaults;
use qres_fed::id::{BlobId, NodeId};
use qres_fed::record::{Membership, RoundPolicy, Schema, Spec, SpecError};
use qres_fed::{privacy, strategy};

use crate::error::NodeError;
use crate::request::CreateModel;

/// The largest file of initial weights that this node takes: 256 GiB.
pub const WEIGHTS_BYTES_MAX: u64 = 256 << 30;

/// Returns the error for a bad spec, with the field of the request that is at fault.
pub fn spec_refused(create: &CreateModel, error: SpecError) -> NodeError {
    let field = match error.field {
        "tensors" if create.seeded.is_none() => "data",
        // The ceiling is at fault where no deadline was given.
        "deadline_ms" if create.deadline_ms.is_none() => "deadline_max_ms",
        field => field,
    };
    NodeError::invalid(field, error.to_string())
}

/// Returns the BLAKE3 of everything that a key stands for; `first` is what came with the request. The spec's id would not do: a spec names the head of its
/// predecessor, which is another one when the same request comes again.
pub fn request_digest(create: &CreateModel, first: Option<First>) -> [u8; 32] {
    let CreateModel {
        name,
        strategy,
        aggregation,
        codec,
        min_contributions,
        target,
        deadline_ms,
        deadline_ms_max,
        max_staleness,
        membership,
        metrics,
        end,
        privacy,
        schedules,
        personal,
        frozen,
        succeeds,
        // The digest of the weights covers the seed.
        seeded: _,
        upload: _,
    } = create;
    let policy = (min_contributions, target, deadline_ms, deadline_ms_max, max_staleness);
    let request = (
        name,
        (strategy, aggregation),
        (codec, metrics, end),
        (privacy, schedules),
        (personal, frozen),
        policy,
        membership,
        succeeds,
        first.map(|first| (first.weights, first.fixed)),
    );
    let mut bytes = b"qres/create/4\n".to_vec();
    // Writing into a Vec cannot fail, and a rule's numbers were checked to be finite.
    borsh::to_writer(&mut bytes, &request).expect("a request of finite numbers always encodes");
    *blake3::hash(&bytes).as_bytes()
}

/// The files that a model begins with.
#[derive(Debug, Clone, Copy)]
pub struct First {
    /// The shared tensors of checkpoint 0.
    pub weights: BlobId,
    /// The frozen tensors and the first values of the personal ones, if there are some.
    pub fixed: Option<BlobId>,
    /// The rounds before this model: 0 unless the model succeeds another one.
    pub earlier_rounds: u64,
}

impl First {
    /// Returns the files of a first model without other tensors than shared ones.
    pub fn of_weights(weights: BlobId) -> Self {
        Self {
            weights,
            fixed: None,
            earlier_rounds: 0,
        }
    }
}

/// Returns the [`Spec`] that a request asks for. Without members its creator is the only one: no node becomes a member by being
/// connected. A list gets a limit on shares and aggregation rules for its length, unless the request names some.
pub fn spec_of(creator: NodeId, create: &CreateModel, tensors: Schema, first: First) -> Spec {
    let alone = || Membership::List([creator].into());
    let membership = create.membership.clone().unwrap_or_else(alone);
    let majority = match &membership {
        Membership::List(members) => members.len() / 2 + 1,
        Membership::Open => 1,
    };
    let k = create
        .min_contributions
        .unwrap_or(u32::try_from(majority).unwrap_or(u32::MAX));
    let distributed = privacy::is_distributed(&create.privacy);
    let (mut strategy, mut aggregation) = (create.strategy.clone(), create.aggregation.clone());
    if let Membership::List(members) = &membership {
        if strategy::max_share(&strategy).is_none() {
            strategy::set_max_share(&mut strategy, defaults::max_share(members.len()));
        }
        // q-FedAvg combines the updates itself, and the sum of a round has the distributed noise.
        let combined = strategy::fairness(&strategy).is_some() || distributed;
        if aggregation.is_empty() && !combined {
            aggregation = defaults::rules(members.len(), k as usize);
        }
    }
    // The other members of a buffered round are late by design.
    let buffered = strategy::is_buffered(&strategy).then_some(k);
    let defaults = RoundPolicy::default();
    let staleness = if distributed { 0 } else { defaults.max_staleness };
    Spec {
        name: create.name.clone(),
        tensors,
        strategy,
        aggregation,
        rounds: RoundPolicy {
            min_contributions: k,
            target: create.target.or(buffered),
            deadline_ms: create.deadline_ms,
            deadline_ms_max: create
                .deadline_ms_max
                .unwrap_or(defaults.deadline_ms_max.max(create.deadline_ms.unwrap_or(0))),
            max_staleness: create.max_staleness.unwrap_or(staleness),
        },
        codec: create.codec.clone(),
        privacy: create.privacy.clone(),
        membership,
        checkpoint0: first.weights,
        fixed: first.fixed,
        creator,
        succeeds: create.succeeds,
        metrics: create.metrics.clone(),
        end: create.end.clone(),
        schedules: create.schedules.clone(),
        earlier_rounds: first.earlier_rounds,
    }
}
