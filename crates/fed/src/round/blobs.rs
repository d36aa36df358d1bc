//! Which blobs are here, bad, or on their way.

use std::collections::{BTreeMap, BTreeSet};

use super::machine::Machine;
use super::{Output, late};
use crate::id::{BlobId, ContributionId, NodeId};
use crate::record::Contribution;

/// Nodes named as holders of one blob: the first to ask; the driver asks others by itself.
const HOLDERS_MAX: usize = 16;

/// A blob to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Want {
    pub bytes: Option<u64>,
    pub update: bool,
    pub holders: BTreeSet<NodeId>,
}

/// What is known of blobs. Bounded by the contributions held and the checkpoints that might be the head.
#[derive(Debug, Default)]
pub(super) struct Blobs {
    here: BTreeSet<BlobId>,
    bad: BTreeSet<BlobId>,
    wanted: BTreeSet<BlobId>,
    users: BTreeMap<BlobId, BTreeSet<ContributionId>>,
}

impl Blobs {
    pub fn is_here(&self, blob: &BlobId) -> bool {
        self.here.contains(blob)
    }

    pub fn is_bad(&self, blob: &BlobId) -> bool {
        self.bad.contains(blob)
    }

    /// Notes a blob; says whether that is news.
    pub fn set_here(&mut self, blob: BlobId) -> bool {
        self.wanted.remove(&blob);
        self.here.insert(blob)
    }

    /// Notes that a blob is no update; says whether that is news.
    pub fn set_bad(&mut self, blob: BlobId) -> bool {
        self.wanted.remove(&blob);
        self.here.remove(&blob);
        self.bad.insert(blob)
    }

    /// The blob is not here after all; a wish that the driver works on stands.
    pub fn set_gone(&mut self, blob: &BlobId) {
        self.here.remove(blob);
    }

    pub fn add_user(&mut self, id: ContributionId, c: &Contribution) {
        self.users.entry(c.update).or_default().insert(id);
    }

    /// A contribution was forgotten: when it was the last one, so is what was known of its blob.
    pub fn remove_user(&mut self, id: &ContributionId, c: &Contribution) {
        if let Some(users) = self.users.get_mut(&c.update) {
            users.remove(id);
            if users.is_empty() {
                self.users.remove(&c.update);
                self.here.remove(&c.update);
                self.bad.remove(&c.update);
            }
        }
    }

    /// Everything that is believed to be here.
    pub fn here(&self) -> impl Iterator<Item = &BlobId> {
        self.here.iter()
    }

    /// Whether a contribution that is held names it.
    pub fn is_update(&self, blob: &BlobId) -> bool {
        self.users.contains_key(blob)
    }

    /// Contributions with this update.
    pub fn users(&self, blob: &BlobId) -> Vec<ContributionId> {
        self.users.get(blob).into_iter().flatten().copied().collect()
    }

    /// Whether someone asked for it, or a contribution names it.
    pub fn concerns(&self, blob: &BlobId) -> bool {
        self.wanted.contains(blob) || self.users.contains_key(blob)
    }
}

impl Machine {
    pub(super) fn blob_here(&mut self, blob: BlobId) {
        let weights = self.pursued.contains_key(&blob) || blob == self.spec.checkpoint0;
        if !(weights || self.blobs.concerns(&blob)) || self.blobs.is_bad(&blob) || !self.blobs.set_here(blob) {
            return;
        }
        self.wants_dirty = true;
        if blob == self.spec.checkpoint0 {
            self.mark_verified(self.zero);
        }
        if weights {
            self.head_dirty = true;
        }
        for id in self.blobs.users(&blob) {
            self.heard(&id);
        }
    }

    pub(super) fn blob_bad(&mut self, blob: BlobId) {
        if !self.blobs.concerns(&blob) || self.blobs.is_here(&blob) || !self.blobs.set_bad(blob) {
            return;
        }
        self.wants_dirty = true;
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

    /// The wish for a contribution's update.
    pub(super) fn want_update(&self, id: &ContributionId, more: &BTreeSet<NodeId>) -> Option<(BlobId, Want)> {
        let c = &self.ledger.contribution(id)?.record;
        if self.blobs.is_here(&c.update) || self.blobs.is_bad(&c.update) {
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

    /// Compares what is wanted with what was asked for, and says the difference.
    pub(super) fn refresh_wants(&mut self) {
        if !std::mem::take(&mut self.wants_dirty) {
            return;
        }
        let mut desired = self.pursued.clone();
        // What is bad stays so: asked for again it would be looked at again, without end.
        desired.retain(|blob, _| !self.blobs.is_here(blob) && !self.blobs.is_bad(blob));
        let zero = &self.spec.checkpoint0;
        if !self.blobs.is_here(zero) && !self.blobs.is_bad(zero) {
            let holders = BTreeSet::from([self.spec.creator]);
            desired.entry(self.spec.checkpoint0).or_insert(Want {
                bytes: None,
                update: false,
                holders,
            });
        }
        let wanted = self.open_contributions().chain(late::wanted(self));
        let nobody = BTreeSet::new();
        let updates: Vec<_> = wanted.filter_map(|id| self.want_update(&id, &nobody)).collect();
        for (blob, want) in updates {
            desired.entry(blob).or_insert(want);
        }
        let dropped: Vec<_> = self
            .blobs
            .wanted
            .iter()
            .filter(|b| !desired.contains_key(b))
            .copied()
            .collect();
        for blob in dropped {
            self.blobs.wanted.remove(&blob);
            self.out.act(Output::DropBlob(blob));
        }
        for (blob, want) in desired {
            if self.blobs.wanted.insert(blob) {
                self.out.act(Output::WantBlob {
                    blob,
                    bytes: want.bytes,
                    update: want.update,
                    holders: want.holders.into_iter().collect(),
                });
            }
        }
    }

    /// Contributions on the head that may be listed as fresh: one a member, no equivocator's; in an open model only so
    /// many more than the target that strangers cannot fill the disk.
    pub(super) fn open_contributions(&self) -> impl Iterator<Item = ContributionId> {
        let head = self.chain.head();
        let round = self.chain.round() + 1;
        let limit = self
            .spec
            .rounds
            .target
            .filter(|_| !self.is_list)
            .map_or(usize::MAX, |t| 2 * t as usize);
        let fresh = self.ballots.on(&head).filter_map(move |(author, casts)| match casts {
            [cast] if cast.round == round && !self.is_excluded(author) => Some(cast.id),
            _ => None,
        });
        let bad = |id: &ContributionId| {
            self.ledger
                .contribution(id)
                .is_some_and(|c| self.blobs.is_bad(&c.record.update))
        };
        fresh.filter(move |id| !bad(id)).take(limit)
    }
}
