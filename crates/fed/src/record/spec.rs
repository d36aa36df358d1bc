//! A model's immutable description.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};

use super::schema::{Schema, check_tensor, check_tensor_count};
use super::{Authored, Canonical, is_name};
use crate::id::{BlobId, CheckpointId, NodeId, SpecId};
use crate::record::Checkpoint;

#[cfg(test)]
mod tests;

/// Members a list may name: a seal of all of them, with as many late ones, stays below the mesh's 64 KiB envelope.
pub const MEMBERS_MAX: usize = 512;
/// Bytes of a model name.
const MODEL_NAME_BYTES_MAX: usize = 128;
/// Bytes of a rule's name and of the names of its numbers.
const RULE_NAME_BYTES_MAX: usize = 64;
/// Numbers of a rule.
const RULE_PARAMS_MAX: usize = 32;
/// Rounds a late contribution may be behind.
const STALENESS_MAX: u32 = 64;
/// The longest deadline: a day.
const DEADLINE_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// A text that is no model name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("model: {got:?} is no model name: 1 to 128 bytes, segments of [a-z0-9._-] joined by single '/'")]
pub struct ModelNameError {
    /// What was given, cut to 160 characters.
    pub got: String,
}

/// A model's name: at most 128 bytes, segments of `[a-z0-9._-]` joined by `/`, e.g. `metabrain/v4`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub struct ModelName(String);

impl ModelName {
    /// The text.
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

/// A strategy, codec or privacy mechanism: a versioned name and its numbers. One changed result bit is a new version.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Rule {
    /// Name and version, e.g. `fedprox/1`.
    pub id: String,
    /// Its numbers, e.g. `mu`.
    pub params: BTreeMap<String, f64>,
}

impl Eq for Rule {}

impl Rule {
    /// A rule without numbers.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            params: BTreeMap::new(),
        }
    }
}

/// Who may contribute.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Membership {
    /// These nodes and no others.
    List(BTreeSet<NodeId>),
    /// Anyone: k identities own the model.
    Open,
}

impl Membership {
    /// So many can contribute to one round.
    pub(crate) fn authors_max(&self) -> usize {
        match self {
            Self::List(members) => members.len(),
            Self::Open => MEMBERS_MAX,
        }
    }
}

/// When a round closes.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RoundPolicy {
    /// k: fresh contributions of distinct members that a seal needs at least.
    pub min_contributions: u32,
    /// Contributions at which an open model's round closes early; for a list `None` means all expected members.
    pub target: Option<u32>,
    /// A fixed deadline from the first contribution, in ms; `None` = 3 × the members' median pace, below the ceiling.
    pub deadline_ms: Option<u64>,
    /// The longest deadline, in ms.
    pub deadline_ms_max: u64,
    /// Rounds a late contribution may be behind, 0 = none is taken.
    pub max_staleness: u32,
}

impl Default for RoundPolicy {
    fn default() -> Self {
        // Ten minutes: a straggler ten times slower than a one-minute pace is still in; the wait it costs is paid once.
        Self {
            min_contributions: 1,
            target: None,
            deadline_ms: None,
            deadline_ms_max: 600_000,
            max_staleness: 10,
        }
    }
}

/// Why a spec contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct SpecError {
    /// The field at fault, as the gRPC contract names it.
    pub field: &'static str,
    /// What is wrong, the limit and the remedy.
    pub problem: String,
}

/// A model's immutable description. Its id is the BLAKE3 of its canonical bytes: nodes with different specs never mix.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Spec {
    /// What people call it; a node's alias for the id.
    pub name: ModelName,
    /// The schema, ascending by name.
    pub tensors: Schema,
    /// How contributions become a checkpoint, e.g. `fedavg/1`.
    pub strategy: Rule,
    /// When a round closes.
    pub rounds: RoundPolicy,
    /// How an update is coded, e.g. `bf16/1`.
    pub codec: Rule,
    /// What is done to an update before it leaves, e.g. `none/1`.
    pub privacy: Rule,
    /// Who may contribute.
    pub membership: Membership,
    /// The first weights, a canonical safetensors blob.
    pub checkpoint0: BlobId,
    /// Who made it.
    pub creator: NodeId,
    /// The spec that this one takes over from; its checkpoint 0 is then that one's head.
    pub succeeds: Option<SpecId>,
}

impl Canonical for Spec {
    const TAG: &'static str = "qres/spec/1\n";
}

impl Authored for Spec {
    fn author(&self) -> NodeId {
        self.creator
    }
}

impl Spec {
    /// BLAKE3 of the canonical bytes.
    pub fn id(&self) -> SpecId {
        SpecId::of(&self.to_canonical())
    }

    /// Checkpoint 0 and its id.
    pub fn zero(&self) -> (CheckpointId, Checkpoint) {
        let zero = Checkpoint::zero(self.id(), self.checkpoint0);
        (zero.id(), zero)
    }

    /// Whether `node` may contribute and seal.
    pub fn admits(&self, node: &NodeId) -> bool {
        match &self.membership {
            Membership::List(members) => members.contains(node),
            Membership::Open => true,
        }
    }

    /// Contributions on a checkpoint that confirm it: a list's majority whatever k is, an open model's k.
    pub fn quorum(&self) -> usize {
        match &self.membership {
            Membership::List(members) => members.len() / 2 + 1,
            Membership::Open => self.rounds.min_contributions as usize,
        }
    }

    /// Checks that the spec agrees with itself. Whether its rules are known is [`crate::strategy`]'s and
    /// [`crate::codec`]'s to say.
    pub fn check(&self) -> Result<(), SpecError> {
        self.check_tensors()?;
        self.check_rounds()?;
        self.check_rules()
    }

    fn check_tensors(&self) -> Result<(), SpecError> {
        check_tensor_count(self.tensors.len())?;
        let (mut previous, mut total) = (None, 0);
        for tensor in &self.tensors {
            total = check_tensor(previous, total, tensor)?;
            previous = Some(tensor.name.as_str());
        }
        Ok(())
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

    pub(super) fn check_rules(&self) -> Result<(), SpecError> {
        for (field, rule) in [
            ("strategy", &self.strategy),
            ("codec", &self.codec),
            ("privacy", &self.privacy),
        ] {
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
