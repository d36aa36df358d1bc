//! A blob of several segments that is being downloaded, shared by the sessions that fetch it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use qres_fed::id::BlobId;
use qres_store::{Blobs, Owner, Partial, SEGMENT_BYTES, SegmentTree, StoreError};

use crate::fault::TransferError;

/// Time after which a segment that one session fetches may be taken over by another session that has nothing else to do.
const TAKE_OVER_AFTER: Duration = Duration::from_secs(5);
/// Segments that are taken over at once: at most so many are sent twice.
const TAKE_OVER_MAX: usize = 2;

/// State of the segments (here, being fetched, or neither), and the file that they are written to.
pub(crate) struct Assembly {
    bytes: u64,
    state: Mutex<State>,
    /// The file of the blob; `None` once the blob is whole.
    partial: RwLock<Option<Partial>>,
}

struct State {
    /// Segments that are not here and that no session fetches.
    todo: BTreeSet<u32>,
    /// All segments that are not here.
    missing: BTreeSet<u32>,
    /// Segments that a session fetches, and since when.
    claimed: BTreeMap<u32, Instant>,
}

/// Result of [`Assembly::write`] for a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// The segment was written, or the blob was whole already.
    More,
    /// The segment was written, and it was the last one: the blob is in the store.
    Whole,
    /// The bytes are not those that the blob has in this segment.
    Wrong,
}

impl Assembly {
    /// Continues with the segments that the store kept of the blob. The root of `tree` is the blob's id.
    fn open(blobs: &Blobs, blob: &BlobId, tree: SegmentTree) -> Result<Self, StoreError> {
        let bytes = tree.bytes();
        let partial = blobs.partial(*blob, tree)?;
        let missing: BTreeSet<u32> = partial
            .missing()
            .into_iter()
            .filter_map(|index| u32::try_from(index).ok())
            .collect();
        Ok(Self {
            bytes,
            state: Mutex::new(State {
                todo: missing.clone(),
                missing,
                claimed: BTreeMap::new(),
            }),
            partial: RwLock::new(Some(partial)),
        })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the length of a segment in bytes.
    pub(crate) fn length(&self, index: u32) -> usize {
        let offset = u64::from(index) * SEGMENT_BYTES;
        usize::try_from(self.bytes.saturating_sub(offset).min(SEGMENT_BYTES)).unwrap_or(0)
    }

    /// Returns the number of segments that are not here yet.
    pub(crate) fn missing(&self) -> usize {
        self.state.lock().missing.len()
    }

    /// Takes up to `n` segments for a session to fetch: those that no session fetches. If there are none, it takes at
    /// most [`TAKE_OVER_MAX`] that another session has had for [`TAKE_OVER_AFTER`], the last ones first, because that
    /// session comes to them last.
    fn take(&self, n: usize, own: &BTreeSet<u32>, now: Instant) -> Vec<u32> {
        let mut state = self.state.lock();
        let mut taken: Vec<u32> = state.todo.iter().take(n).copied().collect();
        if taken.is_empty() {
            let old = |since: &Instant| now >= *since + TAKE_OVER_AFTER;
            let held = state.claimed.iter().rev();
            let held = held.filter(|(index, since)| old(since) && !own.contains(index));
            taken.extend(held.take(n.min(TAKE_OVER_MAX)).map(|(index, _)| *index));
        }
        for index in &taken {
            state.todo.remove(index);
            state.claimed.insert(*index, now);
        }
        taken
    }

    /// Checks and writes a segment; blocks the thread. Several calls may run at once.
    pub(crate) fn write(&self, index: u32, bytes: &[u8]) -> Result<Written, StoreError> {
        {
            let partial = self.partial.read();
            // The blob is whole already: another session was faster.
            let Some(open) = partial.as_ref() else {
                return Ok(Written::More);
            };
            if !open.write(u64::from(index), bytes)? {
                return Ok(Written::Wrong);
            }
        }
        let last = {
            let mut state = self.state.lock();
            state.claimed.remove(&index);
            state.missing.remove(&index) && state.missing.is_empty()
        };
        if last && self.finish()? {
            return Ok(Written::Whole);
        }
        Ok(Written::More)
    }

    /// Makes the blob from its segments, which must all be here; returns `false` when that is done already. Blocks the
    /// thread. A blob that comes from peers can come again, so it need not be flushed.
    pub(crate) fn finish(&self) -> Result<bool, StoreError> {
        let mut partial = self.partial.write();
        match partial.take() {
            Some(partial) => partial.finish(false).map(|()| true),
            None => Ok(false),
        }
    }
}

/// Segments that one session fetches. When the session ends, for any reason, those that it has not settled go back to the
/// other sessions.
pub(crate) struct Claim {
    assembly: Arc<Assembly>,
    held: BTreeSet<u32>,
}

impl Claim {
    pub(crate) fn new(assembly: Arc<Assembly>) -> Self {
        Self {
            assembly,
            held: BTreeSet::new(),
        }
    }

    /// Takes up to `n` more segments.
    pub(crate) fn take(&mut self, n: usize, now: Instant) -> Vec<u32> {
        let taken = self.assembly.take(n, &self.held, now);
        self.held.extend(&taken);
        taken
    }

    /// Marks a segment as here, so that it does not go back.
    pub(crate) fn settle(&mut self, index: u32) {
        self.held.remove(&index);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.assembly.state.lock();
        for index in &self.held {
            if state.missing.contains(index) {
                state.claimed.remove(index);
                state.todo.insert(*index);
            }
        }
    }
}

/// The open assembly of each blob.
type Open = BTreeMap<(Owner, BlobId), Weak<Assembly>>;

/// Every [`Assembly`] that sessions have open: a blob of an owner has one at a time, so that two never write one file.
#[derive(Clone, Default)]
pub(crate) struct Assemblies {
    open: Arc<Mutex<Open>>,
}

impl Assemblies {
    /// Returns the open [`Assembly`] of this blob, if there is one.
    pub(crate) fn get(&self, owner: Owner, blob: &BlobId) -> Option<Arc<Assembly>> {
        self.open.lock().get(&(owner, *blob)).and_then(Weak::upgrade)
    }

    /// Returns the open [`Assembly`] of this blob, or opens a new one. Blocks the thread, but not a caller that asks for
    /// another blob.
    pub(crate) fn open(&self, blobs: &Blobs, blob: BlobId, tree: SegmentTree) -> Result<Arc<Assembly>, TransferError> {
        let name = (blobs.owner(), blob);
        if let Some(found) = self.get(name.0, &blob) {
            return Ok(found);
        }
        let new = Arc::new(Assembly::open(blobs, &blob, tree)?);
        let mut open = self.open.lock();
        if let Some(found) = open.get(&name).and_then(Weak::upgrade) {
            return Ok(found);
        }
        open.retain(|_, assembly| assembly.strong_count() > 0);
        open.insert(name, Arc::downgrade(&new));
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use qres_wire::clock;

    use super::*;
    use crate::memory_network::{MemoryProvider, bytes};

    const SEGMENTS: usize = 6;

    fn blob() -> (Vec<u8>, SegmentTree) {
        let blob = bytes(1, SEGMENTS as u64 * SEGMENT_BYTES);
        let tree = SegmentTree::of(&blob);
        (blob, tree)
    }

    #[test]
    fn sessions_share_the_segments_and_give_back_what_they_did_not_fetch() {
        let ((blob, tree), provider, now) = (blob(), MemoryProvider::new(), clock::now());
        let assemblies = Assemblies::default();
        let assembly = assemblies.open(&provider.blobs, tree.root(), tree.clone()).unwrap();
        let mut first = Claim::new(assembly.clone());
        let mut second = Claim::new(assemblies.open(&provider.blobs, tree.root(), tree.clone()).unwrap());
        assert_eq!(first.take(4, now), [0, 1, 2, 3]);
        assert_eq!(second.take(4, now), [4, 5], "one assembly");
        assert!(second.take(4, now).is_empty());
        // Segments that another session has had for long may be taken over, a few at a time.
        assert_eq!(second.take(4, now + TAKE_OVER_AFTER), [3, 2]);
        assert_eq!(second.take(4, now + TAKE_OVER_AFTER), [1, 0], "but not its own");
        assert!(second.take(4, now + TAKE_OVER_AFTER).is_empty());
        drop(first);
        let mut third = Claim::new(assembly.clone());
        assert_eq!(third.take(9, now)[..2], [0, 1]);
        drop((second, third));
        let segments = blob.chunks(SEGMENT_BYTES as usize).zip(0..);
        for (bytes, index) in segments {
            assert_eq!(assembly.write(index, &bytes[1..]).unwrap(), Written::Wrong);
            let kept = assembly.write(index, bytes).unwrap();
            assert_eq!(kept == Written::Whole, index as usize == SEGMENTS - 1);
        }
        assert_eq!(
            assembly.write(0, &blob[..1]).unwrap(),
            Written::More,
            "it is whole already"
        );
        assert!(!assembly.finish().unwrap());
        assert_eq!(provider.read(&tree.root()), blob);
    }
}
