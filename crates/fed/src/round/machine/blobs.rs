//! The state of blobs: here, bad, or on their way.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{BlobId, ContributionId, NodeId};
use crate::record::Contribution;
use crate::round::machine::Machine;
use crate::round::{Output, machine::late};

/// Maximum number of nodes, beside the author, that are named as holders of one update. The driver asks
/// the named holders first, and others by itself.
const HOLDERS_MAX: usize = 16;

/// A blob to fetch, with the nodes that should have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::round) struct Want {
    pub bytes: Option<u64>,
    pub update: bool,
    pub holders: BTreeSet<NodeId>,
}

/// The blobs that are here, and the blobs that were checked and are not what they should be.
#[derive(Debug, Default)]
pub(in crate::round) struct Known {
    here: BTreeSet<BlobId>,
    bad: BTreeSet<BlobId>,
}

impl Known {
    pub fn is_here(&self, blob: &BlobId) -> bool {
        self.here.contains(blob)
    }

    pub fn is_bad(&self, blob: &BlobId) -> bool {
        self.bad.contains(blob)
    }

    /// Notes that a blob is here. Returns true if that is new.
    pub fn set_here(&mut self, blob: BlobId) -> bool {
        self.here.insert(blob)
    }

    /// Notes that a blob is not what it should be.
    fn set_bad(&mut self, blob: BlobId) {
        self.here.remove(&blob);
        self.bad.insert(blob);
    }

    /// Notes that a blob is not here after all. A request that the driver works on stays.
    pub fn set_gone(&mut self, blob: &BlobId) {
        self.here.remove(blob);
    }

    pub fn forget(&mut self, blob: &BlobId) {
        self.here.remove(blob);
        self.bad.remove(blob);
    }
}

/// The state of blobs, in one [`Known`] for updates and one for weights. Any node may name any blob as its update, also the
/// weights of a checkpoint, and a check of a blob as an update says nothing about the blob as weights. The size is bounded by
/// the contributions held and by the checkpoints that might become the head.
#[derive(Debug, Default)]
pub(in crate::round) struct Blobs {
    pub updates: Known,
    pub weights: Known,
    /// The blobs that the driver works on; true if the blob is wanted as an update.
    wanted: BTreeMap<BlobId, bool>,
    users: BTreeMap<BlobId, BTreeSet<ContributionId>>,
}

impl Blobs {
    pub fn add_user(&mut self, id: ContributionId, c: &Contribution) {
        self.users.entry(c.update).or_default().insert(id);
    }

    /// Removes a contribution from the users of its blob. With the last user, the state of the blob as an update is forgotten.
    pub fn remove_user(&mut self, id: &ContributionId, c: &Contribution) {
        if let Some(users) = self.users.get_mut(&c.update) {
            users.remove(id);
            if users.is_empty() {
                self.users.remove(&c.update);
                self.updates.forget(&c.update);
            }
        }
    }

    /// All blobs that are believed to be here, as updates or as weights.
    pub fn here(&self) -> impl Iterator<Item = &BlobId> {
        self.updates.here.iter().chain(&self.weights.here)
    }

    /// Contributions with this update.
    pub fn users(&self, blob: &BlobId) -> Vec<ContributionId> {
        self.users.get(blob).into_iter().flatten().copied().collect()
    }

    /// Ends a request with its answer. Returns true if the blob was requested in this role.
    fn answer(&mut self, blob: &BlobId, update: bool) -> bool {
        let asked = self.wanted.get(blob) == Some(&update);
        if asked {
            self.wanted.remove(blob);
        }
        asked
    }
}

impl Machine {
    pub(in crate::round) fn blob_here(&mut self, blob: BlobId, update: bool) {
        if !self.blobs.answer(&blob, update) {
            return;
        }
        self.wants_dirty = true;
        if update {
            self.blobs.updates.set_here(blob);
            for id in self.blobs.users(&blob) {
                self.heard(&id);
            }
            self.pursued_came(&blob);
            return;
        }
        self.blobs.weights.set_here(blob);
        self.pursued_came(&blob);
        if blob == self.spec.checkpoint0 {
            self.mark_verified(self.zero);
        }
        self.head_dirty = true;
    }

    pub(in crate::round) fn blob_bad(&mut self, blob: BlobId, update: bool) {
        if !self.blobs.answer(&blob, update) {
            return;
        }
        self.wants_dirty = true;
        if !update {
            self.blobs.weights.set_bad(blob);
            return;
        }
        self.blobs.updates.set_bad(blob);
        self.round_dirty = true;
        for id in self.blobs.users(&blob) {
            if let Some(signed) = self.ledger.contribution(&id) {
                let author = signed.record.author;
                let reason = format!("contribution {id}: its update {blob} is off the schema or not finite");
                self.out.refuse(author, reason);
            }
            for checkpoint in self.named.get(&id).cloned().unwrap_or_default() {
                self.invalidate(
                    &checkpoint,
                    &format!("lists contribution {id}, whose update is no update"),
                );
            }
        }
    }

    fn is_settled(&self, blob: &BlobId, update: bool) -> bool {
        let known = if update {
            &self.blobs.updates
        } else {
            &self.blobs.weights
        };
        known.is_here(blob) || known.is_bad(blob)
    }

    /// Makes the [`Want`] for a contribution's update. Returns `None` if the update is known as here or
    /// bad already, or if the contribution is unknown.
    pub(in crate::round) fn want_update(&self, id: &ContributionId, more: &BTreeSet<NodeId>) -> Option<(BlobId, Want)> {
        let c = &self.ledger.contribution(id)?.record;
        if self.is_settled(&c.update, true) {
            return None;
        }
        let mut holders = BTreeSet::from([c.author]);
        holders.extend(more.iter().take(HOLDERS_MAX));
        holders.remove(&self.config.node);
        let want = Want {
            bytes: Some(c.update_bytes),
            update: true,
            holders,
        };
        Some((c.update, want))
    }

    /// Compares the wanted blobs with the requested ones, and emits the difference as
    /// [`Output::WantBlob`] and [`Output::DropBlob`].
    pub(in crate::round) fn refresh_wants(&mut self) {
        if !std::mem::take(&mut self.wants_dirty) {
            return;
        }
        let mut desired = self.pursuits.wants().clone();
        // A bad blob stays bad: if it was asked for again, it would be checked again, without end.
        desired.retain(|blob, want| !self.is_settled(blob, want.update));
        let zero = self.spec.checkpoint0;
        if !self.is_settled(&zero, false) {
            let holders = BTreeSet::from([self.spec.creator]);
            let want = Want {
                bytes: None,
                update: false,
                holders,
            };
            desired.entry(zero).or_insert(want);
        }
        let fresh = self.worth_fetching(self.open_contributions());
        let late = self.worth_fetching(late::next(self));
        let nobody = BTreeSet::new();
        let updates: Vec<_> = fresh
            .into_iter()
            .chain(late)
            .filter_map(|id| self.want_update(&id, &nobody))
            .collect();
        for (blob, want) in updates {
            desired.entry(blob).or_insert(want);
        }
        let stands = |blob: &BlobId, update: &bool| desired.get(blob).is_some_and(|want| want.update == *update);
        let wanted = self.blobs.wanted.iter();
        let dropped: Vec<_> = wanted.filter(|(b, u)| !stands(b, u)).map(|(b, _)| *b).collect();
        for blob in dropped {
            self.blobs.wanted.remove(&blob);
            self.out.act(Output::DropBlob(blob));
        }
        for (blob, want) in desired {
            if self.blobs.wanted.insert(blob, want.update).is_none() {
                let owed_by = self.contributor(&blob).filter(|_| want.update);
                self.out.act(Output::WantBlob {
                    blob,
                    bytes: want.bytes,
                    update: want.update,
                    holders: want.holders.into_iter().collect(),
                    owed_by,
                });
            }
        }
    }

    /// The author of the open round's contribution with this update.
    fn contributor(&self, update: &BlobId) -> Option<NodeId> {
        let mut open = self.open_contributions().filter_map(|id| self.ledger.contribution(&id));
        open.find(|c| c.record.update == *update).map(|c| c.record.author)
    }

    /// Contributions on the head that may be listed as fresh: one per member, none by an equivocator, none whose update is bad.
    pub(in crate::round) fn open_contributions(&self) -> impl Iterator<Item = ContributionId> {
        let head = self.chain.head();
        let round = self.chain.round() + 1;
        let fresh = self.ballots.on(&head).filter_map(move |(author, casts)| match casts {
            [cast] if cast.round == round && !self.is_excluded(author) => Some(cast.id),
            _ => None,
        });
        fresh.filter(|id| !self.blobs.updates.is_bad(&self.update_of(id)))
    }

    /// Contributions of `listed` whose updates are fetched. In an open model no more are fetched once twice the
    /// target are here, so that strangers cannot fill the disk. Until then all are fetched, so that a node that
    /// withholds its update takes no other node's place.
    fn worth_fetching(&self, listed: impl Iterator<Item = ContributionId>) -> Vec<ContributionId> {
        let (here, away): (Vec<_>, Vec<_>) = listed.partition(|id| self.blobs.updates.is_here(&self.update_of(id)));
        let target = self.spec.rounds.target.filter(|_| !self.is_list);
        let enough = target.is_some_and(|target| here.len() >= 2 * target as usize);
        if enough { vec![] } else { away }
    }
}
