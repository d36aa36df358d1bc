//! The contributions on each checkpoint, by author. A contribution on a checkpoint is a vote.

use std::collections::BTreeMap;

use crate::id::{CheckpointId, ContributionId, NodeId};
use crate::record::Contribution;

/// A contribution on a checkpoint, as far as votes need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::round) struct Cast {
    pub id: ContributionId,
    /// The round that the contribution declares. The contribution counts as a vote, and as fresh,
    /// only if this is the checkpoint's round plus one.
    pub round: u64,
    /// The vote in the contribution, as in [`Contribution::source`].
    pub source: Option<u64>,
}

/// Votes for a checkpoint by the contributions on it: of one author, or the sum over several authors.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(in crate::round) struct Votes {
    /// Number of authors that stand on the checkpoint; 0 or 1 for one author.
    pub stands: usize,
    /// Number of authors that vote for the checkpoint.
    pub confirms: usize,
    /// Number of authors whose vote links the checkpoint to its parent, which they knew as confirmed.
    pub settles: usize,
}

impl Votes {
    /// Counts the votes of one author. `casts` are the contributions of the author on a checkpoint of round `round`.
    pub fn of(casts: &[Cast], round: u64) -> Self {
        let next = casts.iter().filter(|cast| round.checked_add(1) == Some(cast.round));
        let sources: Vec<_> = next.map(|cast| cast.source).collect();
        Self {
            stands: usize::from(!sources.is_empty()),
            confirms: usize::from(sources.iter().any(Option::is_some)),
            settles: usize::from(round > 0 && sources.contains(&Some(round - 1))),
        }
    }

    /// The votes that are in `self` and not in `before`.
    pub fn beyond(self, before: Self) -> Self {
        Self {
            stands: self.stands - before.stands,
            confirms: self.confirms - before.confirms,
            settles: self.settles - before.settles,
        }
    }

    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl std::iter::Sum for Votes {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            stands: sum.stands + one.stands,
            confirms: sum.confirms + one.confirms,
            settles: sum.settles + one.settles,
        })
    }
}

type Casts = BTreeMap<NodeId, Vec<Cast>>;

/// The held contributions as [`Cast`]s, by the checkpoint they are on and by author.
#[derive(Debug, Default)]
pub(in crate::round) struct Ballots {
    on: BTreeMap<CheckpointId, Casts>,
    by_round: BTreeMap<(u64, NodeId), usize>,
    by_author: BTreeMap<NodeId, usize>,
}

impl Ballots {
    pub fn add(&mut self, id: ContributionId, c: &Contribution) {
        let casts = self.on.entry(c.parent).or_default().entry(c.author).or_default();
        casts.push(Cast {
            id,
            round: c.round,
            source: c.source,
        });
        *self.by_round.entry((c.round, c.author)).or_default() += 1;
        *self.by_author.entry(c.author).or_default() += 1;
    }

    pub fn remove(&mut self, id: ContributionId, c: &Contribution) {
        if let Some(casts) = self.on.get_mut(&c.parent) {
            if let Some(mine) = casts.get_mut(&c.author) {
                mine.retain(|cast| cast.id != id);
                if mine.is_empty() {
                    casts.remove(&c.author);
                }
            }
            if casts.is_empty() {
                self.on.remove(&c.parent);
            }
        }
        if let Some(count) = self.by_round.get_mut(&(c.round, c.author)) {
            *count -= 1;
            if *count == 0 {
                self.by_round.remove(&(c.round, c.author));
            }
        }
        if let Some(count) = self.by_author.get_mut(&c.author) {
            *count -= 1;
            if *count == 0 {
                self.by_author.remove(&c.author);
            }
        }
    }

    /// Returns true if any contribution by this author is held.
    pub fn has(&self, author: &NodeId) -> bool {
        self.by_author.contains_key(author)
    }

    /// All authors of held contributions, ascending.
    pub fn all_authors(&self) -> impl Iterator<Item = &NodeId> {
        self.by_author.keys()
    }

    /// The contributions by `author` on `checkpoint`, each as a [`Cast`].
    pub fn by(&self, checkpoint: &CheckpointId, author: &NodeId) -> &[Cast] {
        let casts = self.on.get(checkpoint).and_then(|casts| casts.get(author));
        casts.map_or(&[], Vec::as_slice)
    }

    /// All contributions on `checkpoint`, ascending by author.
    pub fn on<'a>(&'a self, checkpoint: &CheckpointId) -> impl Iterator<Item = (&'a NodeId, &'a [Cast])> + use<'a> {
        let casts = self.on.get(checkpoint);
        casts
            .into_iter()
            .flatten()
            .map(|(node, casts)| (node, casts.as_slice()))
    }

    /// Number of nodes that contributed on `checkpoint`.
    pub fn authors(&self, checkpoint: &CheckpointId) -> usize {
        self.on.get(checkpoint).map_or(0, BTreeMap::len)
    }

    /// Number of contributions by `author` that declare `round`, on any parent.
    pub fn of_round(&self, round: u64, author: NodeId) -> usize {
        self.by_round.get(&(round, author)).copied().unwrap_or(0)
    }
}
