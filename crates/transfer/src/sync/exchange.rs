//! An exchange of records with one peer, seen from the side that asks.

#![warn(clippy::indexing_slicing, reason = "this file reads foreign bytes")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use futures::{AsyncRead, AsyncWrite};
use qres_fed::id::{NodeId, SpecId};
use qres_fed::record::ModelName;
use qres_fed::round::RecordId;
use qres_wire::pb::sync_item::Kind as Item;
use qres_wire::pb::sync_request::Kind as Ask;
use qres_wire::pb::{
    SyncBucket, SyncDigest, SyncItem, SyncKeys, SyncRecords, SyncRequest, SyncSpec, SyncSpecs, SyncStates, SyncStatus,
};
use tokio::sync::mpsc;

use super::bucket::Buckets;
use super::held::{Held, is_compared};
use super::key;
use super::protocol::{
    BUCKETS_PER_ASK_MAX, ITEM_BYTES_MAX, KEYS_AT_ONCE, RECORDS_PER_ASK_MAX, SPECS_MAX, STATE_BYTES_MAX,
    STATES_BYTES_MAX, STATES_MAX,
};
use crate::digest::hash_of;
use crate::fault::TransferError;
use crate::link::Link;
use crate::{Record, SpecOffer};

/// Buckets that a peer may name: 2^22 rounds, which is more than a horizon keeps.
const BUCKETS_MAX: usize = 1 << 16;
/// Records that a peer may name in one bucket: 64 rounds of 512 members with eight records each, 10.25 MiB of entries.
const BUCKET_RECORDS_MAX: u32 = 1 << 18;
/// Requests for records under way at once: the next batch is on its way while this node takes one in.
const ASKS_MAX: usize = 2;

/// The records that this node holds, ready to be compared.
struct Ours {
    buckets: Buckets,
    above: u64,
    refused: BTreeSet<RecordId>,
}

impl Ours {
    fn of(held: Held) -> Self {
        let Held {
            records,
            above,
            refused,
        } = held;
        Self {
            buckets: Buckets::above(records, above),
            above,
            refused,
        }
    }

    /// Returns true if this node wants a record that the peer holds.
    fn lacks(&self, round: u64, id: &RecordId) -> bool {
        let held = self.buckets.contains(round, *id);
        is_compared(round, id, self.above) && !held && !self.refused.contains(id)
    }
}

/// An exchange with a peer over one stream.
pub(super) struct Exchange<S> {
    link: Link<S>,
}

/// Reason why a peer gave no usable answer.
#[derive(Debug)]
pub(super) enum SyncError {
    /// The exchange failed with this error.
    Transfer(TransferError),
    /// The peer has no room for another exchange now.
    Busy,
}

impl<E: Into<TransferError>> From<E> for SyncError {
    fn from(error: E) -> Self {
        Self::Transfer(error.into())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Exchange<S> {
    pub(super) fn new(link: Link<S>) -> Self {
        Self { link }
    }

    /// Ends the exchange and closes its stream.
    pub(super) async fn close(mut self) -> Result<(), TransferError> {
        self.link.close().await
    }

    /// Returns a [`SpecOffer`] for each model that the peer knows.
    pub(super) async fn specs(&mut self) -> Result<Vec<SpecOffer>, SyncError> {
        self.ask(Ask::Specs(SyncSpecs {})).await?;
        let mut offers = Vec::new();
        while let Some(item) = self.item().await? {
            if let Item::Spec(offer) = item {
                limit("models", offers.len() + 1, SPECS_MAX)?;
                offers.push(read_offer(offer)?);
            }
        }
        Ok(offers)
    }

    /// Returns the signed state envelopes of a model.
    pub(super) async fn states(&mut self, spec: SpecId) -> Result<Vec<Vec<u8>>, SyncError> {
        self.ask(Ask::States(SyncStates { spec: spec.0.to_vec() })).await?;
        let (mut states, mut bytes) = (Vec::new(), 0);
        while let Some(item) = self.item().await? {
            if let Item::State(state) = item {
                bytes += state.len();
                limit("state bytes", state.len(), STATE_BYTES_MAX)?;
                limit("bytes of states", bytes, STATES_BYTES_MAX)?;
                limit("states", states.len() + 1, STATES_MAX)?;
                states.push(state);
            }
        }
        Ok(states)
    }

    /// Sends to `batch` each [`Record`] that the peer has and this node does not, ascending by round, until the receiver
    /// closes; returns how many records came.
    pub(super) async fn missing(
        &mut self,
        spec: SpecId,
        held: Held,
        batch: &mpsc::Sender<Vec<Record>>,
    ) -> Result<usize, SyncError> {
        let ours = tokio::task::spawn_blocking(move || Ours::of(held))
            .await
            .map_err(|_| TransferError::Stopping)?;
        let differing = self.differing(spec, &ours).await?;
        let mut total = 0;
        for group in groups(&differing) {
            let wanted = self.keys(spec, group, &ours).await?;
            total += self.records(spec, &wanted, batch).await?;
            if batch.is_closed() {
                break;
            }
        }
        Ok(total)
    }

    /// Returns the index of each bucket that differs from this node's, ascending, and the number of records that the peer
    /// has in it.
    async fn differing(&mut self, spec: SpecId, ours: &Ours) -> Result<Vec<(u64, u32)>, SyncError> {
        let ask = SyncDigest {
            spec: spec.0.to_vec(),
            above: ours.above,
        };
        self.ask(Ask::Digest(ask)).await?;
        let (mut differing, mut last, mut count) = (Vec::new(), None, 0);
        while let Some(item) = self.item().await? {
            let Item::Bucket(bucket) = item else { continue };
            count += 1;
            limit("buckets", count, BUCKETS_MAX)?;
            check_bucket(&bucket, last)?;
            last = Some(bucket.index);
            if ours.buckets.digest(bucket.index) != bucket {
                differing.push((bucket.index, bucket.count));
            }
        }
        Ok(differing)
    }

    /// Returns the records of some buckets that this node does not have, ascending by round.
    async fn keys(&mut self, spec: SpecId, group: &[(u64, u32)], ours: &Ours) -> Result<Vec<RecordId>, SyncError> {
        let buckets: Vec<u64> = group.iter().map(|(index, _)| *index).collect();
        let announced: usize = group.iter().map(|(_, count)| *count as usize).sum();
        let ask = SyncKeys {
            spec: spec.0.to_vec(),
            buckets: buckets.clone(),
            above: ours.above,
        };
        self.ask(Ask::Keys(ask)).await?;
        let (mut wanted, mut last, mut count) = (Vec::new(), 0, 0);
        while let Some(item) = self.item().await? {
            let Item::Keys(bytes) = item else { continue };
            for (round, id) in key::read_entries(&bytes)? {
                count += 1;
                limit("record keys", count, announced)?;
                if round < last || buckets.binary_search(&Buckets::index(round)).is_err() {
                    let why = format!("round {round} was not asked for, or not at this place");
                    return Err(TransferError::malformed("record keys", why).into());
                }
                last = round;
                wanted.extend(id.filter(|id| ours.lacks(round, id)));
            }
        }
        Ok(wanted)
    }

    /// Asks for records, and sends them to `batch` in the order of `wanted`; returns how many records came.
    async fn records(
        &mut self,
        spec: SpecId,
        wanted: &[RecordId],
        batch: &mpsc::Sender<Vec<Record>>,
    ) -> Result<usize, SyncError> {
        let mut asks = wanted.chunks(RECORDS_PER_ASK_MAX);
        let mut under_way = VecDeque::new();
        let mut total = 0;
        loop {
            while under_way.len() < ASKS_MAX
                && let Some(ids) = asks.next()
            {
                let keys: Vec<_> = ids.iter().map(key::key).collect();
                let ask = SyncRecords {
                    spec: spec.0.to_vec(),
                    keys: keys.as_flattened().to_vec(),
                };
                self.ask(Ask::Records(ask)).await?;
                under_way.push_back(ids);
            }
            let Some(ids) = under_way.pop_front() else {
                return Ok(total);
            };
            let records = self.answered(ids).await?;
            total += records.len();
            if !records.is_empty() && batch.send(records).await.is_err() {
                return Ok(total);
            }
        }
    }

    /// Reads the records of one answer and returns them in the order of `ids`.
    async fn answered(&mut self, ids: &[RecordId]) -> Result<Vec<Record>, SyncError> {
        let mut places: BTreeMap<RecordId, usize> = ids.iter().enumerate().map(|(at, id)| (*id, at)).collect();
        let mut found = BTreeMap::new();
        while let Some(item) = self.item().await? {
            let Item::Record(wire) = item else { continue };
            let Some(record) = Record::from_wire(&wire)? else {
                continue;
            };
            let Some(place) = places.remove(&record.id()) else {
                return Err(TransferError::malformed("answer", "a record that was not asked for").into());
            };
            found.insert(place, record);
        }
        Ok(found.into_values().collect())
    }

    /// Asks for any number of records, even above the limit, and waits for the first item.
    #[cfg(test)]
    pub(super) async fn ask_records(&mut self, spec: SpecId, ids: &[RecordId]) -> Result<Option<Item>, SyncError> {
        let keys: Vec<_> = ids.iter().map(key::key).collect();
        let ask = SyncRecords {
            spec: spec.0.to_vec(),
            keys: keys.as_flattened().to_vec(),
        };
        self.ask(Ask::Records(ask)).await?;
        self.item().await
    }

    async fn ask(&mut self, kind: Ask) -> Result<(), TransferError> {
        self.link.send(&SyncRequest { kind: Some(kind) }).await
    }

    /// Reads the next item of an answer; `None` at its end. The answer about a model that the peer does not show to this
    /// node ends at once.
    async fn item(&mut self) -> Result<Option<Item>, SyncError> {
        loop {
            let wait = self.link.pace().idle;
            let item: SyncItem = self
                .link
                .next(ITEM_BYTES_MAX, wait)
                .await?
                .ok_or(TransferError::Closed("an answer"))?;
            match item.kind {
                Some(Item::End(end)) => {
                    return match SyncStatus::try_from(end.status) {
                        Ok(SyncStatus::Ok | SyncStatus::NotFound | SyncStatus::Unknown) => Ok(None),
                        Ok(SyncStatus::Busy) => Err(SyncError::Busy),
                        Ok(SyncStatus::Unspecified) | Err(_) => {
                            Err(TransferError::malformed("answer", format!("status {}", end.status)).into())
                        }
                    };
                }
                Some(item) => return Ok(Some(item)),
                None => {}
            }
        }
    }
}

/// Splits the differing buckets into groups whose keys fit in memory at once ([`KEYS_AT_ONCE`]).
fn groups(mut differing: &[(u64, u32)]) -> impl Iterator<Item = &[(u64, u32)]> {
    std::iter::from_fn(move || {
        let mut sum = 0;
        let fits = differing.iter().take(BUCKETS_PER_ASK_MAX).take_while(|(_, count)| {
            sum += *count as usize;
            sum <= KEYS_AT_ONCE
        });
        // A bucket that has more keys than fit makes a group of its own.
        let n = fits.count().max(1).min(differing.len());
        let (group, rest) = differing.split_at(n);
        differing = rest;
        (!group.is_empty()).then_some(group)
    })
}

fn check_bucket(bucket: &SyncBucket, last: Option<u64>) -> Result<(), TransferError> {
    if last.is_some_and(|last| last >= bucket.index) || bucket.digest.len() != 32 {
        return Err(TransferError::malformed(
            "bucket",
            "out of order, or its digest is none",
        ));
    }
    limit(
        "records in a bucket",
        bucket.count as usize,
        BUCKET_RECORDS_MAX as usize,
    )
}

fn read_offer(offer: SyncSpec) -> Result<SpecOffer, TransferError> {
    let name: ModelName = offer
        .name
        .parse()
        .map_err(|_| TransferError::malformed("spec", "its name is no model name"))?;
    Ok(SpecOffer {
        spec: SpecId(hash_of("spec id", &offer.spec)?),
        bytes: offer.bytes,
        name: name.as_str().to_owned(),
        creator: NodeId(hash_of("creator", &offer.creator)?),
        signature: key::signature(&offer.signature)?,
    })
}

fn limit(what: &'static str, given: usize, limit: usize) -> Result<(), TransferError> {
    if given > limit {
        return Err(TransferError::TooLarge {
            what,
            given: given as u64,
            limit: limit as u64,
        });
    }
    Ok(())
}
