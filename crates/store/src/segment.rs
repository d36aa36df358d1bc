//! The BLAKE3 tree of a blob, cut into segments that can be checked alone.

use std::io::Read;

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use qres_fed::id::BlobId;
use rayon::prelude::*;

/// Bytes of a verifiable segment: the unit in which blobs are hashed, moved and resumed. A power of two times BLAKE3's 1
/// KiB chunk, so that each segment is a subtree of the blob's BLAKE3 tree.
pub const SEGMENT_BYTES: u64 = 1 << 20;

/// [`SEGMENT_BYTES`] as a length in memory.
pub(super) const SEGMENT_LEN: usize = SEGMENT_BYTES as usize;

/// Number of segments read and hashed at once: 4 MiB of memory, and work for four cores.
pub(super) const SEGMENTS_AT_ONCE: usize = 4;

/// The upper part of a blob's BLAKE3 tree: one value for each segment.
///
/// A receiver checks the list of values against the blob's id ([`SegmentTree::root`]), then each segment alone against
/// its value ([`SegmentTree::verify`]), in any order. The value of a segment is the chaining value of that subtree. A
/// blob of at most one segment (the empty blob included) has one segment, whose value is the root itself, `blake3::hash`
/// of the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentTree {
    bytes: u64,
    values: Vec<ChainingValue>,
}

impl SegmentTree {
    /// Hashes all bytes of `reader`, to its end. Takes a constant amount of memory, a few MiB.
    pub fn build(mut reader: impl Read) -> std::io::Result<Self> {
        let mut builder = SegmentTreeBuilder::default();
        let mut buffer = Vec::new();
        loop {
            buffer.clear();
            let limit = SEGMENT_BYTES * SEGMENTS_AT_ONCE as u64;
            reader.by_ref().take(limit).read_to_end(&mut buffer)?;
            builder.push(&buffer);
            if buffer.len() as u64 != limit {
                return Ok(builder.finish());
            }
        }
    }

    /// Returns the tree of a blob in memory.
    pub fn of(bytes: &[u8]) -> Self {
        let mut builder = SegmentTreeBuilder::default();
        builder.push(bytes);
        builder.finish()
    }

    /// Returns the tree of a blob of `bytes` bytes as a peer states it; `None` when the number of values does not match
    /// that length. The values are the blob's only if [`SegmentTree::root`] is its id.
    pub fn from_values(bytes: u64, values: Vec<[u8; 32]>) -> Option<Self> {
        (values.len() as u64 == Self::count_for(bytes)).then_some(Self { bytes, values })
    }

    /// Returns the number of segments of a blob of `bytes` bytes, at least one. Check a stated length against a limit
    /// before you allocate for this number.
    pub fn count_for(bytes: u64) -> u64 {
        bytes.div_ceil(SEGMENT_BYTES).max(1)
    }

    /// Returns the blob's id: the root of the tree.
    pub fn root(&self) -> BlobId {
        match self.values.as_slice() {
            [only] => BlobId(*only),
            values => {
                let (left, right) = values.split_at(left_len(values.len()));
                BlobId(*merge_subtrees_root(&merge(left), &merge(right), Mode::Hash).as_bytes())
            }
        }
    }

    /// Returns the blob's length, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the number of the blob's segments, at least one.
    pub fn count(&self) -> u64 {
        self.values.len() as u64
    }

    /// Returns the values of the segments, in order.
    pub fn values(&self) -> &[[u8; 32]] {
        &self.values
    }

    /// Returns the length of a segment in bytes; 0 past the end.
    pub fn len_of(&self, index: u64) -> usize {
        let start = index.saturating_mul(SEGMENT_BYTES);
        self.bytes.saturating_sub(start).min(SEGMENT_BYTES) as usize
    }

    /// Returns true if `bytes` are the bytes of that segment.
    pub fn verify(&self, index: u64, bytes: &[u8]) -> bool {
        if index >= self.count() || bytes.len() != self.len_of(index) {
            return false;
        }
        let value = match self.values.as_slice() {
            [_] => *blake3::hash(bytes).as_bytes(),
            _ => hasher(index, bytes).finalize_non_root(),
        };
        value == self.values[index as usize]
    }
}

/// A [`SegmentTree`] in the making. Every slice but the last must be whole segments.
#[derive(Debug, Default)]
pub(super) struct SegmentTreeBuilder {
    bytes: u64,
    values: Vec<ChainingValue>,
    /// The hasher of the first segment, kept until it is known whether the blob has more than one.
    first: blake3::Hasher,
}

impl SegmentTreeBuilder {
    /// Returns the number of bytes hashed so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Hashes the next segments, in parallel.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        debug_assert_eq!(
            self.bytes % SEGMENT_BYTES,
            0,
            "only the last slice may end within a segment"
        );
        self.bytes += bytes.len() as u64;
        if self.values.is_empty() && !bytes.is_empty() {
            let (first, rest) = bytes.split_at(bytes.len().min(SEGMENT_LEN));
            self.first.update(first);
            self.values.push(self.first.finalize_non_root());
            bytes = rest;
        }
        let next = self.values.len() as u64;
        if bytes.len() <= SEGMENT_LEN {
            if !bytes.is_empty() {
                self.values.push(hasher(next, bytes).finalize_non_root());
            }
            return;
        }
        let segments = bytes.par_chunks(SEGMENT_LEN).enumerate();
        self.values
            .par_extend(segments.map(|(i, segment)| hasher(next + i as u64, segment).finalize_non_root()));
    }

    /// Returns the tree of all bytes pushed.
    pub(super) fn finish(mut self) -> SegmentTree {
        if self.values.len() <= 1 {
            self.values = vec![*self.first.finalize().as_bytes()];
        }
        SegmentTree {
            bytes: self.bytes,
            values: self.values,
        }
    }
}

/// Returns a hasher that has taken in one segment at its place in the blob.
fn hasher(index: u64, segment: &[u8]) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(index * SEGMENT_BYTES).update(segment);
    hasher
}

/// Returns the number of segments below the left child of a node over `count` segments: the largest power of two below
/// `count`.
fn left_len(count: usize) -> usize {
    count.div_ceil(2).next_power_of_two()
}

/// Returns the chaining value over some segments (never all of a blob). Recursion is as deep as the tree: at most 44
/// calls for 2^64 bytes.
fn merge(values: &[ChainingValue]) -> ChainingValue {
    match values {
        [only] => *only,
        _ => {
            let (left, right) = values.split_at(left_len(values.len()));
            merge_subtrees_non_root(&merge(left), &merge(right), Mode::Hash)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns bytes that differ from place to place.
    fn bytes(len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new().update(b"segment").finalize_xof().fill(&mut out);
        out
    }

    #[test]
    fn the_root_is_the_plain_digest_at_every_boundary() {
        let mib = SEGMENT_LEN;
        let all = bytes(9 * mib + 1);
        let mut lens = vec![0, 1, 1023, 1024, 1025, 65_536];
        for segments in [1, 2, 3, 4, 5, 7, 8, 9] {
            lens.extend([segments * mib - 1, segments * mib, segments * mib + 1]);
        }
        lens.push(3 * mib + 5);
        for len in lens {
            let blob = &all[..len];
            let tree = SegmentTree::of(blob);
            assert_eq!(tree.root(), BlobId::of(blob), "{len} bytes");
            assert_eq!(SegmentTree::build(blob).unwrap(), tree, "{len} bytes");
            assert_eq!(tree.count(), len.div_ceil(mib).max(1) as u64);
            let whole: usize = (0..tree.count()).map(|i| tree.len_of(i)).sum();
            assert_eq!(whole, len);
        }
    }

    #[test]
    fn a_segment_is_checked_alone_and_only_in_its_place() {
        for len in [0, 5, SEGMENT_LEN, SEGMENT_LEN + 1, 3 * SEGMENT_LEN + 5] {
            let blob = bytes(len);
            let stated = SegmentTree::of(&blob);
            let tree = SegmentTree::from_values(len as u64, stated.values().to_vec()).unwrap();
            assert_eq!(tree.root(), BlobId::of(&blob));
            for index in 0..tree.count() {
                let start = index as usize * SEGMENT_LEN;
                let segment = &blob[start..start + tree.len_of(index)];
                assert!(tree.verify(index, segment));
                assert!(!tree.verify(index + 1, segment));
                assert!(!tree.verify(u64::MAX, segment));
                if let Some((_, short)) = segment.split_last() {
                    assert!(!tree.verify(index, short));
                    let mut wrong = segment.to_vec();
                    wrong[short.len() / 2] ^= 1;
                    assert!(!tree.verify(index, &wrong));
                }
            }
        }
    }

    #[test]
    fn a_count_that_does_not_fit_is_refused() {
        assert!(SegmentTree::from_values(0, vec![]).is_none());
        assert!(SegmentTree::from_values(0, vec![[0; 32]]).is_some());
        assert!(SegmentTree::from_values(SEGMENT_BYTES, vec![[0; 32]; 2]).is_none());
        assert!(SegmentTree::from_values(SEGMENT_BYTES + 1, vec![[0; 32]; 2]).is_some());
        assert!(SegmentTree::from_values(u64::MAX, vec![[0; 32]]).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_builder_gives_the_plain_digest(segments in 0usize..6, slice in 1usize..4, tail in 0usize..SEGMENT_LEN) {
            let blob = bytes(segments * SEGMENT_LEN + tail);
            let mut builder = SegmentTreeBuilder::default();
            for part in blob.chunks(slice * SEGMENT_LEN) {
                builder.push(part);
            }
            prop_assert_eq!(builder.bytes(), blob.len() as u64);
            prop_assert_eq!(builder.finish().root(), BlobId::of(&blob));
        }
    }
}
