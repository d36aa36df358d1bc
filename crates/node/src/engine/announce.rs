//! Records as gossip carries them.

use prost::Message as _;
use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_fed::record::{Authored, Canonical, Contribution, ModelName, Proof, Seal, Signature, Signed, Spec};

use crate::wire;

/// A received announcement, decoded; signatures are not verified yet.
#[derive(Debug, Clone, PartialEq)]
pub enum Announcement {
    /// A contribution, with the coded update when it came along.
    Contribution(Signed<Contribution>, Option<Vec<u8>>),
    /// A seal.
    Seal(Signed<Seal>),
    /// A proof.
    Proof(Proof),
    /// A model to know of.
    Spec {
        /// Its id: also the blob id of its canonical bytes.
        id: SpecId,
        /// Their length.
        bytes: u64,
        /// Who made it.
        creator: NodeId,
        /// The creator's.
        signature: Signature,
    },
}

/// The largest update that travels in the envelope itself, and only in an open model's.
pub const INLINE_BYTES_MAX: usize = 32 * 1024;

fn envelope(kind: wire::envelope::Kind, traceparent: Option<String>) -> Vec<u8> {
    wire::Envelope {
        kind: Some(kind),
        traceparent: traceparent.unwrap_or_default(),
    }
    .encode_to_vec()
}

/// A contribution's envelope.
pub fn contribution(
    name: &ModelName,
    signed: &Signed<Contribution>,
    inline: Vec<u8>,
    traceparent: Option<String>,
) -> Vec<u8> {
    let epiphany = wire::Epiphany {
        model_type: name.to_string(),
        weights: inline,
        fidelity_score: signed.record.fidelity,
        contribution: signed.record.to_canonical(),
        signature: signed.signature.0.to_vec(),
    };
    envelope(wire::envelope::Kind::Epiphany(epiphany), traceparent)
}

/// A seal's envelope.
pub fn seal(signed: &Signed<Seal>, traceparent: Option<String>) -> Vec<u8> {
    let seal = wire::SealAnnouncement {
        seal: signed.record.to_canonical(),
        signature: signed.signature.0.to_vec(),
    };
    envelope(wire::envelope::Kind::Seal(seal), traceparent)
}

/// A proof's envelope.
pub fn proof(proof: &Proof) -> Vec<u8> {
    envelope(
        wire::envelope::Kind::Proof(wire::ProofAnnouncement {
            proof: proof.to_canonical(),
        }),
        None,
    )
}

/// A model's envelope.
pub fn spec(signed: &Signed<Spec>) -> Vec<u8> {
    let bytes = signed.record.to_canonical();
    let spec = wire::SpecAnnouncement {
        spec: signed.record.id().0.to_vec(),
        bytes: bytes.len() as u64,
        name: signed.record.name.to_string(),
        creator: signed.record.creator.0.to_vec(),
        signature: signed.signature.0.to_vec(),
    };
    envelope(wire::envelope::Kind::Spec(spec), None)
}

fn signed<T: Authored>(record: &[u8], signature: Vec<u8>) -> Option<Signed<T>> {
    let record = T::from_canonical(record).ok()?;
    Some(Signed {
        record,
        signature: Signature(signature.try_into().ok()?),
    })
}

/// Decodes an envelope and its trace context. `Err`: bad whatever the receiver knows; `Ok(None)`: a kind of a later version.
#[allow(clippy::type_complexity)]
pub fn decode(data: &[u8]) -> Result<Option<(Announcement, Option<String>)>, &'static str> {
    let envelope = wire::Envelope::decode(data).map_err(|_| "no envelope")?;
    let Some(kind) = envelope.kind else { return Ok(None) };
    let announcement = match kind {
        wire::envelope::Kind::Epiphany(epiphany) => {
            let signed: Signed<Contribution> =
                signed(&epiphany.contribution, epiphany.signature).ok_or("no contribution")?;
            // What people read in the envelope must be what is signed.
            if epiphany.fidelity_score.to_bits() != signed.record.fidelity.to_bits() {
                return Err("the envelope's fidelity differs from the contribution's");
            }
            let inline = (!epiphany.weights.is_empty()).then_some(epiphany.weights);
            if let Some(bytes) = &inline
                && (bytes.len() > INLINE_BYTES_MAX || BlobId::of(bytes) != signed.record.update)
            {
                return Err("inline weights do not match the contribution's digest");
            }
            Announcement::Contribution(signed, inline)
        }
        wire::envelope::Kind::Seal(seal) => Announcement::Seal(signed(&seal.seal, seal.signature).ok_or("no seal")?),
        wire::envelope::Kind::Proof(proof) => {
            let proof = Proof::from_canonical(&proof.proof).map_err(|_| "no proof")?;
            proof.check().map_err(|_| "the proof proves nothing")?;
            Announcement::Proof(proof)
        }
        wire::envelope::Kind::Spec(spec) => Announcement::Spec {
            id: SpecId(spec.spec.try_into().map_err(|_| "no spec id")?),
            bytes: spec.bytes,
            creator: NodeId(spec.creator.try_into().map_err(|_| "no creator")?),
            signature: Signature(spec.signature.try_into().map_err(|_| "no signature")?),
        },
    };
    let traceparent = (!envelope.traceparent.is_empty()).then_some(envelope.traceparent);
    Ok(Some((announcement, traceparent)))
}
