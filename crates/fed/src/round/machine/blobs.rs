//! Requests for blobs, and what follows when a blob came or is bad.

use std::collections::BTreeSet;

use crate::id::{BlobId, CheckpointId, ContributionId, NodeId};
use crate::record::{BlobRole, Content};
use crate::round::machine::Machine;
use crate::round::table::want::Want;
use crate::round::{Output, Refused};

/// Maximum number of nodes, beside the author, that are named as holders of one update. The driver asks
/// the named holders first, and others by itself.
const HOLDERS_MAX: usize = 16;

impl Machine {
    pub(in crate::round) fn blob_here(&mut self, blob: BlobId, role: BlobRole) {
        if !self.fetching.blobs.answer(&blob, role) {
            return;
        }
        self.dirty.wants = true;
        self.fetching.blobs.known_mut(role).set_here(blob);
        if role == BlobRole::Update {
            for id in self.fetching.blobs.users(&blob) {
                self.heard(&id);
            }
            self.pursued_came(&blob);
            return;
        }
        self.pursued_came(&blob);
        if blob == self.rules.spec.checkpoint0 {
            self.mark_verified(self.rules.zero);
        }
        self.dirty.head = true;
    }

    pub(in crate::round) fn blob_bad(&mut self, blob: BlobId, role: BlobRole) {
        if !self.fetching.blobs.answer(&blob, role) {
            return;
        }
        self.dirty.wants = true;
        self.fetching.blobs.known_mut(role).set_bad(blob);
        if role != BlobRole::Update {
            return;
        }
        self.dirty.round = true;
        for id in self.fetching.blobs.users(&blob) {
            if let Some(signed) = self.history.ledger.contribution(&id) {
                let author = signed.record.author;
                let reason = format!("contribution {id}: its update {blob} is off the schema or not finite");
                self.out.refuse(author, Refused::Update, reason);
            }
            for checkpoint in self.history.named.get(&id).cloned().unwrap_or_default() {
                self.invalidate(
                    &checkpoint,
                    &format!("lists contribution {id}, whose update is no update"),
                );
            }
        }
    }

    fn is_settled(&self, blob: &BlobId, role: BlobRole) -> bool {
        let known = self.fetching.blobs.known(role);
        known.is_here(blob) || known.is_bad(blob)
    }

    /// Makes the [`Want`] for a contribution's update. Returns `None` if the update is known as here or
    /// bad already, or if the contribution is unknown.
    pub(in crate::round) fn want_update(&self, id: &ContributionId, more: &BTreeSet<NodeId>) -> Option<(BlobId, Want)> {
        let c = &self.history.ledger.contribution(id)?.record;
        if self.is_settled(&c.update, BlobRole::Update) {
            return None;
        }
        let mut holders = BTreeSet::from([c.author]);
        holders.extend(more.iter().take(HOLDERS_MAX));
        holders.remove(&self.rules.config.node);
        let want = Want {
            bytes: Some(c.update_bytes),
            role: BlobRole::Update,
            holders,
        };
        Some((c.update, want))
    }

    /// Asks for the blobs of a checkpoint that are not here, for a leaf that waits for them.
    pub(in crate::round) fn pursue_content(
        &mut self,
        leaf: &CheckpointId,
        content: &Content,
        mut holders: BTreeSet<NodeId>,
    ) {
        holders.remove(&self.rules.config.node);
        for (role, blob) in content.blobs() {
            if !self.fetching.blobs.known(role).is_here(&blob) {
                let want = Want {
                    bytes: None,
                    role,
                    holders: holders.clone(),
                };
                self.pursue_blob(leaf, blob, want);
            }
        }
    }

    /// Compares the wanted blobs with the requested ones, and emits the difference as
    /// [`Output::WantBlob`] and [`Output::DropBlob`].
    pub(in crate::round) fn refresh_wants(&mut self) {
        if !std::mem::take(&mut self.dirty.wants) {
            return;
        }
        let mut desired = self.fetching.pursuits.wants().clone();
        // A bad blob stays bad: if it was asked for again, it would be checked again, without end.
        desired.retain(|blob, want| !self.is_settled(blob, want.role));
        let zero = self.rules.spec.checkpoint0;
        if !self.is_settled(&zero, BlobRole::Weights) {
            let holders = BTreeSet::from([self.rules.spec.creator]);
            let want = Want {
                bytes: None,
                role: BlobRole::Weights,
                holders,
            };
            desired.entry(zero).or_insert(want);
        }
        let fresh = self.worth_fetching(self.open_contributions());
        let late = self.worth_fetching(self.late_to_fetch());
        let nobody = BTreeSet::new();
        let updates: Vec<_> = fresh
            .into_iter()
            .chain(late)
            .filter_map(|id| self.want_update(&id, &nobody))
            .collect();
        for (blob, want) in updates {
            desired.entry(blob).or_insert(want);
        }
        let stands = |blob: &BlobId, role: &BlobRole| desired.get(blob).is_some_and(|want| want.role == *role);
        let wanted = self.fetching.blobs.wanted.iter();
        let dropped: Vec<_> = wanted
            .filter(|(blob, role)| !stands(blob, role))
            .map(|(b, _)| *b)
            .collect();
        for blob in dropped {
            self.fetching.blobs.wanted.remove(&blob);
            self.out.act(Output::DropBlob(blob));
        }
        for (blob, want) in desired {
            if self.fetching.blobs.wanted.insert(blob, want.role).is_none() {
                let owed_by = self.contributor(&blob).filter(|_| want.role == BlobRole::Update);
                self.out.act(Output::WantBlob {
                    blob,
                    bytes: want.bytes,
                    role: want.role,
                    holders: want.holders.into_iter().collect(),
                    owed_by,
                });
            }
        }
    }

    /// The author of the open round's contribution with this update.
    fn contributor(&self, update: &BlobId) -> Option<NodeId> {
        let mut open = self
            .open_contributions()
            .filter_map(|id| self.history.ledger.contribution(&id));
        open.find(|c| c.record.update == *update).map(|c| c.record.author)
    }

    /// Contributions on the head that may be listed as fresh: one per member, none by an equivocator, none whose update is bad.
    pub(in crate::round) fn open_contributions(&self) -> impl Iterator<Item = ContributionId> {
        let head = self.history.chain.head();
        let round = self.history.chain.round() + 1;
        let fresh = self
            .history
            .ballots
            .on(&head)
            .filter_map(move |(author, casts)| match casts {
                [cast] if cast.round == round && !self.history.is_excluded(author) => Some(cast.id),
                _ => None,
            });
        fresh.filter(|id| !self.fetching.blobs.updates.is_bad(&self.history.update_of(id)))
    }

    /// Contributions of `listed` whose updates are fetched. In an open model no more are fetched once twice the
    /// target are here, so that strangers cannot fill the disk. Until then all are fetched, so that a node that
    /// withholds its update takes no other node's place.
    fn worth_fetching(&self, listed: impl Iterator<Item = ContributionId>) -> Vec<ContributionId> {
        let (here, away): (Vec<_>, Vec<_>) =
            listed.partition(|id| self.fetching.blobs.updates.is_here(&self.history.update_of(id)));
        let target = self.rules.spec.rounds.target.filter(|_| !self.rules.is_list);
        let enough = target.is_some_and(|target| here.len() >= 2 * target as usize);
        if enough { vec![] } else { away }
    }
}
