//! Encoding of records and of their keys.

use qres_fed::id::{ConsentId, ContributionId, ProofId, SealId};
use qres_fed::record::{Canonical, Signature, Signed};
use qres_fed::round::RecordId;
use qres_wire::pb::SyncRecord;

use crate::Record;
use crate::fault::TransferError;

/// Bytes of a record key: the kind (one byte), then the id (32 bytes).
pub(super) const KEY_BYTES: usize = 33;
/// Bytes of an entry: the round (8 bytes, little-endian), then the key.
pub(super) const ENTRY_BYTES: usize = 8 + KEY_BYTES;

const CONTRIBUTION: u8 = 1;
const SEAL: u8 = 2;
const PROOF: u8 = 3;
const CONSENT: u8 = 4;

/// Encodes the key of a record.
pub(super) fn key(id: &RecordId) -> [u8; KEY_BYTES] {
    let (kind, digest) = match id {
        RecordId::Contribution(id) => (CONTRIBUTION, id.0),
        RecordId::Seal(id) => (SEAL, id.0),
        RecordId::Proof(id) => (PROOF, id.0),
        RecordId::Consent(id) => (CONSENT, id.0),
    };
    let mut bytes = [0; KEY_BYTES];
    bytes[0] = kind;
    bytes[1..].copy_from_slice(&digest);
    bytes
}

/// Decodes keys that stand one after another. A key of a kind that this node does not know is passed over.
pub(super) fn read_keys(bytes: &[u8]) -> Result<Vec<RecordId>, TransferError> {
    let (keys, rest) = bytes.as_chunks::<KEY_BYTES>();
    if !rest.is_empty() {
        return Err(TransferError::malformed(
            "record keys",
            format!("{} bytes", bytes.len()),
        ));
    }
    Ok(keys.iter().filter_map(read_key).collect())
}

/// Appends an entry, a round and a key, to `into`.
pub(super) fn write_entry(round: u64, id: &RecordId, into: &mut Vec<u8>) {
    into.extend_from_slice(&round.to_le_bytes());
    into.extend_from_slice(&key(id));
}

/// Decodes entries that stand one after another; `None` stands for a record of a kind that this node does not know.
pub(super) fn read_entries(bytes: &[u8]) -> Result<Vec<(u64, Option<RecordId>)>, TransferError> {
    let (entries, rest) = bytes.as_chunks::<ENTRY_BYTES>();
    if !rest.is_empty() {
        return Err(TransferError::malformed(
            "record keys",
            format!("{} bytes", bytes.len()),
        ));
    }
    let read = |entry: &[u8; ENTRY_BYTES]| {
        let (round, key) = entry.split_first_chunk::<8>()?;
        Some((u64::from_le_bytes(*round), read_key(key.first_chunk::<KEY_BYTES>()?)))
    };
    Ok(entries.iter().filter_map(read).collect())
}

fn read_key(bytes: &[u8; KEY_BYTES]) -> Option<RecordId> {
    let [kind, digest @ ..] = *bytes;
    match kind {
        CONTRIBUTION => Some(RecordId::Contribution(ContributionId(digest))),
        SEAL => Some(RecordId::Seal(SealId(digest))),
        PROOF => Some(RecordId::Proof(ProofId(digest))),
        CONSENT => Some(RecordId::Consent(ConsentId(digest))),
        _ => None,
    }
}

fn canonical<T: Canonical>(wire: &SyncRecord) -> Result<T, TransferError> {
    T::from_canonical(&wire.record).map_err(|error| TransferError::malformed("record", error.to_string()))
}

impl Record {
    pub(super) fn to_wire(&self) -> SyncRecord {
        let (kind, record, signature) = match self {
            Self::Contribution(signed) => (CONTRIBUTION, signed.record.to_canonical(), signed.signature.0.to_vec()),
            Self::Seal(signed) => (SEAL, signed.record.to_canonical(), signed.signature.0.to_vec()),
            Self::Proof(proof) => (PROOF, proof.to_canonical(), Vec::new()),
            Self::Consent(signed) => (CONSENT, signed.record.to_canonical(), signed.signature.0.to_vec()),
        };
        SyncRecord {
            kind: kind.into(),
            record,
            signature,
        }
    }

    /// Decodes a record; returns `None` for a kind that this node does not know.
    pub(super) fn from_wire(wire: &SyncRecord) -> Result<Option<Self>, TransferError> {
        let record = match u8::try_from(wire.kind) {
            Ok(CONTRIBUTION) => Self::Contribution(signed(wire)?),
            Ok(SEAL) => Self::Seal(signed(wire)?),
            Ok(CONSENT) => Self::Consent(signed(wire)?),
            Ok(PROOF) if wire.signature.is_empty() => Self::Proof(canonical(wire)?),
            Ok(PROOF) => return Err(TransferError::malformed("record", "a proof carries its own signatures")),
            _ => return Ok(None),
        };
        Ok(Some(record))
    }
}

fn signed<T: Canonical>(wire: &SyncRecord) -> Result<Signed<T>, TransferError> {
    Ok(Signed {
        record: canonical(wire)?,
        signature: signature(&wire.signature)?,
    })
}

/// Reads a 64-byte signature out of a message; another length is [`TransferError::Malformed`].
pub(super) fn signature(bytes: &[u8]) -> Result<Signature, TransferError> {
    let bytes = bytes
        .try_into()
        .map_err(|_| TransferError::malformed("signature", format!("{} bytes, 64 are needed", bytes.len())))?;
    Ok(Signature(bytes))
}
