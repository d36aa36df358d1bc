//! Who contributed on which checkpoint: to contribute is to vote.

use std::collections::BTreeMap;

use crate::id::{CheckpointId, ContributionId, NodeId};
use crate::record::Contribution;

/// One contribution on a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cast {
    pub id: ContributionId,
    /// The round it declares; it counts as a vote, and as fresh, only where that is the checkpoint's plus one.
    pub round: u64,
    /// Its vote, as in [`Contribution::source`].
    pub source: Option<u64>,
}

/// What the contributions by one author say of the checkpoint that they are on.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Votes {
    /// It stands on the checkpoint: 0 or 1 an author.
    pub stands: usize,
    /// It votes for the checkpoint.
    pub confirms: usize,
    /// Its vote links the checkpoint to the parent, as one that was confirmed.
    pub settles: usize,
}

impl Votes {
    /// Of one author, whose contributions on a checkpoint of round `round` these are.
    pub fn of(casts: &[Cast], round: u64) -> Self {
        let next = casts.iter().filter(|cast| round.checked_add(1) == Some(cast.round));
        let sources: Vec<_> = next.map(|cast| cast.source).collect();
        Self {
            stands: usize::from(!sources.is_empty()),
            confirms: usize::from(sources.iter().any(Option::is_some)),
            settles: usize::from(round > 0 && sources.contains(&Some(round - 1))),
        }
    }

    /// What these say and `before` did not.
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

/// The held contributions, by the checkpoint they are on and by author.
#[derive(Debug, Default)]
pub(super) struct Ballots {
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

    /// Whether any contribution by this author is held.
    pub fn has(&self, author: &NodeId) -> bool {
        self.by_author.contains_key(author)
    }

    /// All whose contributions are held, ascending.
    pub fn all_authors(&self) -> impl Iterator<Item = &NodeId> {
        self.by_author.keys()
    }

    /// What `author` contributed on `checkpoint`.
    pub fn by(&self, checkpoint: &CheckpointId, author: &NodeId) -> &[Cast] {
        let casts = self.on.get(checkpoint).and_then(|casts| casts.get(author));
        casts.map_or(&[], Vec::as_slice)
    }

    /// All that is on `checkpoint`, ascending by author.
    pub fn on<'a>(&'a self, checkpoint: &CheckpointId) -> impl Iterator<Item = (&'a NodeId, &'a [Cast])> + use<'a> {
        let casts = self.on.get(checkpoint);
        casts
            .into_iter()
            .flatten()
            .map(|(node, casts)| (node, casts.as_slice()))
    }

    /// How many nodes contributed on `checkpoint`.
    pub fn authors(&self, checkpoint: &CheckpointId) -> usize {
        self.on.get(checkpoint).map_or(0, BTreeMap::len)
    }

    /// How many contributions by `author` declare `round`, on whatever parent.
    pub fn of_round(&self, round: u64, author: NodeId) -> usize {
        self.by_round.get(&(round, author)).copied().unwrap_or(0)
    }
}
