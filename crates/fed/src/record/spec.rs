//! Specs: a model's immutable description.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};

use super::end::check_end;
use super::metric::check_metrics;
use super::schedule::check_schedules;
use super::schema::{Schema, check_kinds, check_tensor, check_tensor_count};
use super::{Authored, Canonical, End, Metric, Schedule, SpecError, is_name};
use crate::id::{BlobId, CheckpointId, NodeId, SpecId};
use crate::record::Checkpoint;

#[cfg(test)]
pub(crate) mod tests;

/// Largest number of members in a list. A seal of all of them, with as many late contributions, stays below the mesh's 64
/// KiB envelope.
pub const MEMBERS_MAX: usize = 512;
/// Largest length of a model name, in bytes.
const MODEL_NAME_BYTES_MAX: usize = 128;
/// Largest length of a rule's name and of each of its numbers' names, in bytes.
const RULE_NAME_BYTES_MAX: usize = 64;
/// Largest number of rules in an aggregation: three that prepare, and one that combines.
pub const RULES_MAX: usize = 4;
/// Largest number of numbers in a rule.
const RULE_PARAMS_MAX: usize = 32;
/// Largest [`RoundPolicy::max_staleness`]: rounds that a late contribution may be behind.
const STALENESS_MAX: u32 = 64;
/// Largest [`RoundPolicy::deadline_ms_max`], in ms: one day.
const DEADLINE_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Error for a text that is no model name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("model: {got:?} is no model name: 1 to 128 bytes, segments of [a-z0-9._-] joined by single '/'")]
pub struct ModelNameError {
    /// The text that was given, cut to 160 characters.
    pub got: String,
}

/// A model's name: at most 128 bytes, segments of `[a-z0-9._-]` joined by `/`, e.g. `metabrain/v4`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub struct ModelName(String);

impl ModelName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ModelName {
    type Err = ModelNameError;
    fn from_str(text: &str) -> Result<Self, ModelNameError> {
        let segment = |s: &str| {
            !s.is_empty()
                && s.bytes()
                    .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
        };
        if text.len() <= MODEL_NAME_BYTES_MAX && text.split('/').all(segment) {
            return Ok(Self(text.to_owned()));
        }
        Err(ModelNameError {
            got: text.chars().take(160).collect(),
        })
    }
}

impl BorshDeserialize for ModelName {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        String::deserialize_reader(reader)?
            .parse()
            .map_err(|error: ModelNameError| std::io::Error::other(error.to_string()))
    }
}

/// A strategy, codec or privacy mechanism: a versioned name and its numbers. A rule that changes one bit of any result
/// needs a new version.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Rule {
    /// Name and version, e.g. `fedprox/1`.
    pub id: String,
    /// The rule's numbers by name, e.g. `mu`.
    pub params: BTreeMap<String, f64>,
}

impl Eq for Rule {}

impl Rule {
    /// Makes a rule without numbers.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            params: BTreeMap::new(),
        }
    }
}

/// The nodes that may contribute to a model.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Membership {
    /// Only the listed nodes may contribute.
    List(BTreeSet<NodeId>),
    /// Every node may contribute. Because node identities are free to make, an attacker with k of them controls the model.
    Open,
}

impl Membership {
    /// Returns the largest number of nodes that can contribute to one round: the list's length, or [`MEMBERS_MAX`] in an
    /// open model.
    pub fn authors_max(&self) -> usize {
        match self {
            Self::List(members) => members.len(),
            Self::Open => MEMBERS_MAX,
        }
    }
}

/// Conditions on which a round closes.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RoundPolicy {
    /// The number k: a seal needs fresh contributions of at least k distinct members.
    pub min_contributions: u32,
    /// Number of contributions at which a round closes before its deadline. A spec of an open model must give it; for a
    /// list `None` means all members that are expected to contribute.
    pub target: Option<u32>,
    /// Fixed deadline in ms, counted from the round's first contribution. `None` means 3 × the median of the members' pace,
    /// at least 1 s and at most [`RoundPolicy::deadline_ms_max`].
    pub deadline_ms: Option<u64>,
    /// Longest deadline, in ms.
    pub deadline_ms_max: u64,
    /// Rounds that a late contribution may be behind; 0 means that late contributions are not taken.
    pub max_staleness: u32,
}

impl Default for RoundPolicy {
    fn default() -> Self {
        // The longest deadline is ten minutes: a member ten times slower than a pace of one minute still takes part. The
        // round waits so long for a member that does not contribute only once.
        Self {
            min_contributions: 1,
            target: None,
            deadline_ms: None,
            deadline_ms_max: 600_000,
            max_staleness: 10,
        }
    }
}

/// A model's immutable description. Its id is the BLAKE3 of its canonical bytes, so models with different specs never mix.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Spec {
    /// The model's name for people; each node uses it as an alias for the spec's id.
    pub name: ModelName,
    /// The model's tensors, ascending by name.
    pub tensors: Schema,
    /// Rule by which contributions become a checkpoint, e.g. `fedavg/1`; see [`crate::strategy`].
    pub strategy: Rule,
    /// Rules by which the updates of a round become one, the last one combines them; none is the mean. See
    /// [`crate::aggregation`].
    pub aggregation: Vec<Rule>,
    /// Conditions on which a round closes.
    pub rounds: RoundPolicy,
    /// Rule by which an update is coded, e.g. `bf16/1`; see [`crate::codec`].
    pub codec: Rule,
    /// Rule that changes an update before it leaves its node, e.g. `none/1`; see [`crate::privacy`].
    pub privacy: Rule,
    /// The nodes that may contribute.
    pub membership: Membership,
    /// The shared tensors of checkpoint 0, a canonical safetensors blob.
    pub checkpoint0: BlobId,
    /// The values of the frozen tensors and the first values of the personal ones, a canonical safetensors blob; `None` if the
    /// schema has neither.
    pub fixed: Option<BlobId>,
    /// The node that made and signed the spec.
    pub creator: NodeId,
    /// The spec that this one succeeds, if any: checkpoint 0 of this one is then the head of that one.
    pub succeeds: Option<SpecId>,
    /// The metrics that contributions carry; all others stay on their node.
    pub metrics: Vec<Metric>,
    /// The end of the run.
    pub end: End,
    /// The numbers for trainers that change from round to round, by name: `learning_rate`, `mu`, …
    pub schedules: BTreeMap<String, Schedule>,
    /// The rounds that the specs before this one made: schedules go on from there. 0 if the spec succeeds none.
    pub earlier_rounds: u64,
}

impl Canonical for Spec {
    const TAG: &'static str = "qres/spec/5\n";
}

impl Authored for Spec {
    fn author(&self) -> NodeId {
        self.creator
    }
}

impl Spec {
    /// Returns the [`SpecId`]: the BLAKE3 of the canonical bytes.
    pub fn id(&self) -> SpecId {
        SpecId::of(&self.to_canonical())
    }

    /// Returns checkpoint 0 and its id.
    pub fn zero(&self) -> (CheckpointId, Checkpoint) {
        let zero = Checkpoint::zero(self.id(), self.checkpoint0);
        (zero.id(), zero)
    }

    /// Returns true if the [`Membership`] lets `node` contribute and seal.
    pub fn admits(&self, node: &NodeId) -> bool {
        match &self.membership {
            Membership::List(members) => members.contains(node),
            Membership::Open => true,
        }
    }

    /// Returns the number of contributions on a checkpoint that confirm it. For a list this is the majority of the members,
    /// independent of k; for an open model it is k ([`RoundPolicy::min_contributions`]).
    pub fn quorum(&self) -> usize {
        match &self.membership {
            Membership::List(members) => members.len() / 2 + 1,
            Membership::Open => self.rounds.min_contributions as usize,
        }
    }

    /// Checks that the spec does not contradict itself. The modules [`crate::strategy`], [`crate::codec`] and [`crate::privacy`] check that its
    /// rules are known.
    pub fn check(&self) -> Result<(), SpecError> {
        self.check_tensors()?;
        self.check_rounds()?;
        self.check_rules()?;
        self.check_course()
    }

    fn check_tensors(&self) -> Result<(), SpecError> {
        check_tensor_count(self.tensors.count())?;
        let (mut previous, mut total) = (None, 0);
        for (tensor, _) in self.tensors.all() {
            total = check_tensor(previous, total, tensor)?;
            previous = Some(tensor.name.as_str());
        }
        check_kinds(self.tensors.len(), self.tensors.fixed().len(), self.fixed.as_ref())
    }

    pub(super) fn check_rounds(&self) -> Result<(), SpecError> {
        let policy = &self.rounds;
        let k = policy.min_contributions;
        let fail = |field, problem: String| Err(SpecError { field, problem });
        if k == 0 {
            return fail(
                "min_contributions",
                "must be at least 1: a round without contributions has no result".into(),
            );
        }
        match &self.membership {
            Membership::List(members) => {
                let n = members.len();
                if n == 0 || n > MEMBERS_MAX {
                    return fail("members", format!("{n} members given, a list has 1 to {MEMBERS_MAX}"));
                }
                if k as usize > n {
                    return fail(
                        "min_contributions",
                        format!("{k} of {n} members can never contribute: at most {n}"),
                    );
                }
            }
            Membership::Open => {
                if policy.target.is_none() {
                    return fail(
                        "target",
                        "an open model must say at how many contributions a round closes".into(),
                    );
                }
                if k as usize > MEMBERS_MAX {
                    return fail("min_contributions", format!("{k} is above the limit of {MEMBERS_MAX}"));
                }
            }
        }
        let most = self.membership.authors_max();
        if let Some(target) = policy.target
            && (target < k || target as usize > most)
        {
            return fail(
                "target",
                format!("{target} is outside min_contributions ({k}) to {most}"),
            );
        }
        let deadline = policy.deadline_ms.unwrap_or(policy.deadline_ms_max);
        if deadline == 0 || deadline > policy.deadline_ms_max || policy.deadline_ms_max > DEADLINE_MS_MAX {
            return fail(
                "deadline_ms",
                format!(
                    "needs 0 < deadline ({deadline} ms) <= ceiling ({} ms) <= {DEADLINE_MS_MAX} ms",
                    policy.deadline_ms_max
                ),
            );
        }
        if policy.max_staleness > STALENESS_MAX {
            return fail(
                "max_staleness",
                format!("{} rounds is above the limit of {STALENESS_MAX}", policy.max_staleness),
            );
        }
        Ok(())
    }

    pub(super) fn check_course(&self) -> Result<(), SpecError> {
        check_metrics(&self.metrics)?;
        check_end(&self.end, &self.metrics)?;
        check_schedules(&self.schedules)?;
        if self.succeeds.is_none() && self.earlier_rounds > 0 {
            return Err(SpecError {
                field: "earlier_rounds",
                problem: format!("{} rounds before the first spec of a run", self.earlier_rounds),
            });
        }
        Ok(())
    }

    pub(super) fn check_rules(&self) -> Result<(), SpecError> {
        if self.aggregation.len() > RULES_MAX {
            return Err(SpecError {
                field: "aggregation",
                problem: format!("{} rules given, at most {RULES_MAX} are taken", self.aggregation.len()),
            });
        }
        let named = [
            ("strategy", &self.strategy),
            ("codec", &self.codec),
            ("privacy", &self.privacy),
        ];
        let aggregation = self.aggregation.iter().map(|rule| ("aggregation", rule));
        for (field, rule) in named.into_iter().chain(aggregation) {
            let names = std::iter::once(&rule.id).chain(rule.params.keys());
            if let Some(name) = names.into_iter().find(|name| !is_name(name, RULE_NAME_BYTES_MAX)) {
                let start: String = name.chars().take(160).collect();
                return Err(SpecError {
                    field,
                    problem: format!(
                        "{start:?} is no name of a rule or of its number: 1 to {RULE_NAME_BYTES_MAX} bytes, printable \
                         characters only"
                    ),
                });
            }
            if rule.params.len() > RULE_PARAMS_MAX {
                return Err(SpecError {
                    field,
                    problem: format!(
                        "{} numbers given, a rule has at most {RULE_PARAMS_MAX}",
                        rule.params.len()
                    ),
                });
            }
            if let Some((name, value)) = rule.params.iter().find(|(_, v)| !v.is_finite()) {
                return Err(SpecError {
                    field,
                    problem: format!("{name} = {value} is not a finite number"),
                });
            }
        }
        Ok(())
    }
}
