//! The encoding of records in their tables. Canonical records (specs, contributions, seals, proofs) are stored verbatim,
//! with the signature after them. All other records have a version of their own, so that the types of `fed` and of this
//! crate may change apart from the files.

#![warn(clippy::indexing_slicing, reason = "this file reads foreign bytes")]

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use qres_fed::id::{BlobId, CheckpointId, ContributionId, NodeId, SpecId, SubmissionId};
use qres_fed::record::{Canonical, ModelName, Report, Signature, Signed};
use qres_fed::round::SubmissionState;

use super::{HeardModel, KeyOutcome, StoreError, StoredKey, StoredReleases, StoredState, StoredSubmission};

/// Length of an Ed25519 signature, in bytes.
const SIGNATURE_LEN: usize = 64;

fn damaged(what: &str, why: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(format!("a stored {what} cannot be read: {why}"))
}

/// Encodes a signed record: the canonical bytes, then the signature.
pub fn from_signed<T: Canonical>(signed: &Signed<T>) -> Vec<u8> {
    let mut bytes = signed.record.to_canonical();
    bytes.extend_from_slice(&signed.signature.0);
    bytes
}

/// Decodes the bytes of [`from_signed`]; fails with [`StoreError::Damaged`].
pub fn to_signed<T: Canonical>(bytes: &[u8]) -> Result<Signed<T>, StoreError> {
    let tag = T::TAG.trim_end();
    let (canonical, signature) = bytes
        .split_last_chunk::<SIGNATURE_LEN>()
        .ok_or_else(|| damaged(tag, "it is too short"))?;
    Ok(Signed {
        record: to_canonical(canonical)?,
        signature: Signature(*signature),
    })
}

/// Decodes a record without a signature of its own; fails with [`StoreError::Damaged`].
pub fn to_canonical<T: Canonical>(bytes: &[u8]) -> Result<T, StoreError> {
    T::from_canonical(bytes).map_err(|error| damaged(T::TAG.trim_end(), error))
}

#[derive(BorshSerialize, BorshDeserialize)]
enum Submission {
    V1(SubmissionV1),
}

#[derive(BorshSerialize, BorshDeserialize)]
struct SubmissionV1 {
    id: SubmissionId,
    spec: SpecId,
    model: ModelName,
    trainer: String,
    base: CheckpointId,
    samples: u64,
    delta: bool,
    /// Metrics as the bits of their `f64`: borsh refuses NaN, and a NaN that a trainer measured is no reason to refuse
    /// its work.
    metrics: BTreeMap<String, u64>,
    report: Report,
    blob: BlobId,
    bytes: u64,
    personal: Option<BlobId>,
    at_unix_ms: u64,
    final_unix_ms: Option<u64>,
    state: StateV1,
    traceparent: Option<String>,
}

#[derive(BorshSerialize, BorshDeserialize)]
enum StateV1 {
    Pending,
    Merged {
        contribution: ContributionId,
    },
    Sealed {
        checkpoint: CheckpointId,
        weight_ppm: u32,
        confirmed: bool,
        settled: bool,
    },
    Carried {
        round: u64,
    },
    Rejected {
        reason: String,
    },
    Superseded {
        reason: String,
    },
}

impl From<SubmissionState> for StateV1 {
    fn from(state: SubmissionState) -> Self {
        match state {
            SubmissionState::Pending => Self::Pending,
            SubmissionState::Merged { contribution } => Self::Merged { contribution },
            SubmissionState::Sealed {
                checkpoint,
                weight_ppm,
                confirmed,
                settled,
            } => Self::Sealed {
                checkpoint,
                weight_ppm,
                confirmed,
                settled,
            },
            SubmissionState::Carried { round } => Self::Carried { round },
            SubmissionState::Rejected { reason } => Self::Rejected { reason },
            SubmissionState::Superseded { reason } => Self::Superseded { reason },
        }
    }
}

impl From<StateV1> for SubmissionState {
    fn from(state: StateV1) -> Self {
        match state {
            StateV1::Pending => Self::Pending,
            StateV1::Merged { contribution } => Self::Merged { contribution },
            StateV1::Sealed {
                checkpoint,
                weight_ppm,
                confirmed,
                settled,
            } => Self::Sealed {
                checkpoint,
                weight_ppm,
                confirmed,
                settled,
            },
            StateV1::Carried { round } => Self::Carried { round },
            StateV1::Rejected { reason } => Self::Rejected { reason },
            StateV1::Superseded { reason } => Self::Superseded { reason },
        }
    }
}

/// Encodes a submission.
pub fn from_submission(submission: &StoredSubmission) -> Vec<u8> {
    let submission = submission.clone();
    encode(&Submission::V1(SubmissionV1 {
        id: submission.id,
        spec: submission.spec,
        model: submission.model,
        trainer: submission.trainer,
        base: submission.base,
        samples: submission.samples,
        delta: submission.delta,
        metrics: submission
            .metrics
            .into_iter()
            .map(|(name, value)| (name, value.to_bits()))
            .collect(),
        report: submission.report,
        blob: submission.blob,
        bytes: submission.bytes,
        personal: submission.personal,
        at_unix_ms: submission.at_unix_ms,
        final_unix_ms: submission.final_unix_ms,
        state: submission.state.into(),
        traceparent: submission.traceparent,
    }))
}

/// Decodes the bytes of [`from_submission`]; fails with [`StoreError::Damaged`].
pub fn to_submission(bytes: &[u8]) -> Result<StoredSubmission, StoreError> {
    let Submission::V1(submission) = decode("submission", bytes)?;
    Ok(StoredSubmission {
        id: submission.id,
        spec: submission.spec,
        model: submission.model,
        trainer: submission.trainer,
        base: submission.base,
        samples: submission.samples,
        delta: submission.delta,
        metrics: submission
            .metrics
            .into_iter()
            .map(|(name, bits)| (name, f64::from_bits(bits)))
            .collect(),
        report: submission.report,
        blob: submission.blob,
        bytes: submission.bytes,
        personal: submission.personal,
        at_unix_ms: submission.at_unix_ms,
        final_unix_ms: submission.final_unix_ms,
        state: submission.state.into(),
        traceparent: submission.traceparent,
    })
}

#[derive(BorshSerialize, BorshDeserialize)]
enum Key {
    V1 {
        key: String,
        request: [u8; 32],
        outcome: OutcomeV1,
        at_unix_ms: u64,
    },
}

#[derive(BorshSerialize, BorshDeserialize)]
enum OutcomeV1 {
    Submission(SubmissionId),
    Model(SpecId),
}

/// Encodes an idempotency key.
pub fn from_key(key: &StoredKey) -> Vec<u8> {
    encode(&Key::V1 {
        key: key.key.clone(),
        request: key.request,
        outcome: match key.outcome {
            KeyOutcome::Submission(id) => OutcomeV1::Submission(id),
            KeyOutcome::Model(id) => OutcomeV1::Model(id),
        },
        at_unix_ms: key.at_unix_ms,
    })
}

/// Decodes the bytes of [`from_key`]; fails with [`StoreError::Damaged`].
pub fn to_key(bytes: &[u8]) -> Result<StoredKey, StoreError> {
    let Key::V1 {
        key,
        request,
        outcome,
        at_unix_ms,
    } = decode("idempotency key", bytes)?;
    Ok(StoredKey {
        key,
        request,
        outcome: match outcome {
            OutcomeV1::Submission(id) => KeyOutcome::Submission(id),
            OutcomeV1::Model(id) => KeyOutcome::Model(id),
        },
        at_unix_ms,
    })
}

#[derive(BorshSerialize, BorshDeserialize)]
enum State {
    V1 {
        spec: SpecId,
        publisher: NodeId,
        name: String,
        sequence: u64,
        envelope: Vec<u8>,
    },
}

#[derive(BorshSerialize, BorshDeserialize)]
enum Heard {
    V1 {
        id: SpecId,
        name: ModelName,
        creator: NodeId,
        spec_bytes: u64,
        signature: Signature,
        carrier: NodeId,
    },
}

/// Encodes an announced model.
pub fn from_heard(heard: &HeardModel) -> Vec<u8> {
    encode(&Heard::V1 {
        id: heard.id,
        name: heard.name.clone(),
        creator: heard.creator,
        spec_bytes: heard.spec_bytes,
        signature: heard.signature,
        carrier: heard.carrier,
    })
}

#[derive(BorshSerialize, BorshDeserialize)]
enum ReleasesRow {
    V1 {
        model: ModelName,
        noise_multiplier: f64,
        count: u64,
    },
}

/// Encodes the count of a model's noisy updates.
pub fn from_releases(releases: &StoredReleases) -> Vec<u8> {
    encode(&ReleasesRow::V1 {
        model: releases.model.clone(),
        noise_multiplier: releases.noise_multiplier,
        count: releases.count,
    })
}

/// Decodes the bytes of [`from_releases`]; fails with [`StoreError::Damaged`].
pub fn to_releases(spec: SpecId, bytes: &[u8]) -> Result<StoredReleases, StoreError> {
    let ReleasesRow::V1 {
        model,
        noise_multiplier,
        count,
    } = decode("number of releases", bytes)?;
    Ok(StoredReleases {
        spec,
        model,
        noise_multiplier,
        count,
    })
}

/// Decodes the bytes of [`from_heard`]; fails with [`StoreError::Damaged`].
pub fn to_heard(bytes: &[u8]) -> Result<HeardModel, StoreError> {
    let Heard::V1 {
        id,
        name,
        creator,
        spec_bytes,
        signature,
        carrier,
    } = decode("announced model", bytes)?;
    Ok(HeardModel {
        id,
        name,
        creator,
        // It is in a table of its own.
        succeeds: None,
        spec_bytes,
        signature,
        carrier,
    })
}

/// Encodes a published state.
pub fn from_state(state: &StoredState) -> Vec<u8> {
    let state = state.clone();
    encode(&State::V1 {
        spec: state.spec,
        publisher: state.publisher,
        name: state.name,
        sequence: state.sequence,
        envelope: state.envelope,
    })
}

/// Decodes the bytes of [`from_state`]; fails with [`StoreError::Damaged`].
pub fn to_state(bytes: &[u8]) -> Result<StoredState, StoreError> {
    let State::V1 {
        spec,
        publisher,
        name,
        sequence,
        envelope,
    } = decode("state", bytes)?;
    Ok(StoredState {
        spec,
        publisher,
        name,
        sequence,
        envelope,
    })
}

pub(super) fn encode(value: &impl BorshSerialize) -> Vec<u8> {
    // Writing into memory cannot fail, and the values hold no float.
    borsh::to_vec(value).expect("values without floats always encode")
}

pub(super) fn decode<T: BorshDeserialize>(what: &str, bytes: &[u8]) -> Result<T, StoreError> {
    borsh::from_slice(bytes).map_err(|error| damaged(what, error))
}
