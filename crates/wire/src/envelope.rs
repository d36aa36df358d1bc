//! The envelopes in which gossip carries records: encoding and decoding.

#![warn(clippy::indexing_slicing, reason = "this file reads foreign bytes")]

use prost::Message as _;
use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_fed::record::{Authored, Canonical, Consent, Contribution, ModelName, Proof, Seal, Signature, Signed, Spec};

use crate::pb as wire;

/// A received announcement after decoding; its signatures are not verified yet.
#[derive(Debug, Clone, PartialEq)]
pub enum Announcement {
    /// A contribution, with the coded update if the envelope carried it.
    Contribution(Signed<Contribution>, Option<Vec<u8>>),
    /// A seal of a round.
    Seal(Signed<Seal>),
    /// A proof that an author signed two contributions on one parent.
    Proof(Proof),
    /// A consent to a change of members.
    Consent(Signed<Consent>),
    /// The announcement of a model, without its spec.
    Spec {
        /// The spec's id, which is also the blob id of its canonical bytes.
        id: SpecId,
        /// The length of the canonical bytes.
        bytes: u64,
        /// The node that created the model.
        creator: NodeId,
        /// The creator's signature over the canonical bytes.
        signature: Signature,
    },
}

/// The largest payload, in bytes, that travels in the envelope itself. Only an open model's updates and states do.
pub const INLINE_BYTES_MAX: usize = 32 * 1024;

fn envelope(kind: wire::envelope::Kind, traceparent: Option<String>) -> Vec<u8> {
    wire::Envelope {
        kind: Some(kind),
        traceparent: traceparent.unwrap_or_default(),
    }
    .encode_to_vec()
}

/// Encodes the envelope of a [`Contribution`]; `inline` holds its coded update, or is empty.
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

/// Encodes the envelope of a [`Seal`].
pub fn seal(signed: &Signed<Seal>, traceparent: Option<String>) -> Vec<u8> {
    let seal = wire::SealAnnouncement {
        seal: signed.record.to_canonical(),
        signature: signed.signature.0.to_vec(),
    };
    envelope(wire::envelope::Kind::Seal(seal), traceparent)
}

/// Encodes the envelope of a [`Proof`].
pub fn proof(proof: &Proof) -> Vec<u8> {
    envelope(
        wire::envelope::Kind::Proof(wire::ProofAnnouncement {
            proof: proof.to_canonical(),
        }),
        None,
    )
}

/// Encodes the envelope of a [`Consent`].
pub fn consent(signed: &Signed<Consent>) -> Vec<u8> {
    let consent = wire::ConsentAnnouncement {
        consent: signed.record.to_canonical(),
        signature: signed.signature.0.to_vec(),
    };
    envelope(wire::envelope::Kind::Consent(consent), None)
}

/// Encodes the envelope that announces a model by its [`Spec`].
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

/// Decodes an envelope and its trace context. `Err` means that the message is bad, independent of what the receiver knows;
/// `Ok(None)` means a kind of a later version.
#[allow(clippy::type_complexity)]
pub fn decode(data: &[u8]) -> Result<Option<(Announcement, Option<String>)>, &'static str> {
    let envelope = wire::Envelope::decode(data).map_err(|_| "no envelope")?;
    let Some(kind) = envelope.kind else { return Ok(None) };
    let announcement = match kind {
        wire::envelope::Kind::Epiphany(epiphany) => {
            let signed: Signed<Contribution> =
                signed(&epiphany.contribution, epiphany.signature).ok_or("no contribution")?;
            // The fidelity that people read in the envelope must be the signed one.
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
        wire::envelope::Kind::Consent(consent) => {
            Announcement::Consent(signed(&consent.consent, consent.signature).ok_or("no consent")?)
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

#[cfg(test)]
mod tests {
    use qres_fed::id::CheckpointId;
    use qres_fed::record::{Dtype, End, Membership, Report, RoundPolicy, Rule, TensorSpec};

    use super::*;
    use crate::identity::Identity;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn contribution_by(me: &Identity, update: &[u8], samples: u64) -> Signed<Contribution> {
        me.sign(Contribution {
            spec: SpecId([1; 32]),
            parent: CheckpointId([2; 32]),
            round: 1,
            author: me.node(),
            samples,
            update: BlobId::of(update),
            update_bytes: update.len() as u64,
            fidelity: 0.999,
            source: None,
            report: Report::default(),
            releases: 0,
        })
    }

    fn spec_by(me: &Identity) -> Signed<Spec> {
        let tensor = TensorSpec {
            name: "w".into(),
            dtype: Dtype::F32,
            shape: vec![1],
        };
        me.sign(Spec {
            name: name(),
            tensors: vec![tensor].into(),
            strategy: Rule::new("fedavg/1"),
            aggregation: vec![],
            rounds: RoundPolicy::default(),
            codec: Rule::new("bf16/1"),
            privacy: Rule::new("none/1"),
            membership: Membership::Open,
            checkpoint0: BlobId([4; 32]),
            fixed: None,
            creator: me.node(),
            succeeds: None,
            metrics: vec![],
            end: End::default(),
            schedules: Default::default(),
            earlier_rounds: 0,
        })
    }

    fn seal_by(me: &Identity) -> Signed<Seal> {
        me.sign(Seal {
            spec: SpecId([1; 32]),
            round: 1,
            parent: CheckpointId([2; 32]),
            fresh: vec![],
            late: vec![],
            proofs: vec![],
            result: qres_fed::record::Content::of_weights(BlobId([3; 32])),
            sealer: me.node(),
        })
    }

    fn name() -> ModelName {
        "m/1".parse().unwrap()
    }

    #[test]
    fn what_is_announced_is_what_is_read() {
        let me = Identity::ephemeral();
        let signed = contribution_by(&me, b"update", 5);
        for inline in [vec![], b"update".to_vec()] {
            let bytes = contribution(&name(), &signed, inline.clone(), Some(TRACE.into()));
            let (read, trace) = decode(&bytes).unwrap().unwrap();
            let inline = (!inline.is_empty()).then_some(inline);
            assert_eq!(read, Announcement::Contribution(signed.clone(), inline));
            assert_eq!(trace.as_deref(), Some(TRACE));
        }
        let sealed = seal_by(&me);
        assert_eq!(
            decode(&seal(&sealed, None)),
            Ok(Some((Announcement::Seal(sealed), None)))
        );
        let found = Proof::new(signed.clone(), contribution_by(&me, b"update", 6)).unwrap();
        assert_eq!(decode(&proof(&found)), Ok(Some((Announcement::Proof(found), None))));
        let agreed = me.sign(Consent {
            spec: SpecId([1; 32]),
            author: me.node(),
            number: 3,
            change: None,
            handover: None,
        });
        assert_eq!(
            decode(&consent(&agreed)),
            Ok(Some((Announcement::Consent(agreed), None)))
        );
        let made = spec_by(&me);
        let offered = Announcement::Spec {
            id: made.record.id(),
            bytes: made.record.to_canonical().len() as u64,
            creator: me.node(),
            signature: made.signature,
        };
        assert_eq!(decode(&spec(&made)), Ok(Some((offered, None))));
    }

    #[test]
    fn envelopes_that_contradict_themselves_are_bad() {
        let me = Identity::ephemeral();
        let signed = contribution_by(&me, b"update", 5);
        assert!(decode(&contribution(&name(), &signed, b"another".to_vec(), None)).is_err());
        let large = vec![0; INLINE_BYTES_MAX + 1];
        let of_large = contribution_by(&me, &large, 5);
        assert!(decode(&contribution(&name(), &of_large, large, None)).is_err());
        let mut epiphany = wire::Epiphany {
            model_type: name().to_string(),
            weights: vec![],
            fidelity_score: 1.0,
            contribution: signed.record.to_canonical(),
            signature: signed.signature.0.to_vec(),
        };
        assert!(decode(&envelope(wire::envelope::Kind::Epiphany(epiphany.clone()), None)).is_err());
        epiphany.fidelity_score = signed.record.fidelity;
        assert!(decode(&envelope(wire::envelope::Kind::Epiphany(epiphany.clone()), None)).is_ok());
        epiphany.signature.pop();
        assert!(decode(&envelope(wire::envelope::Kind::Epiphany(epiphany), None)).is_err());
        let twice = Proof {
            first: signed.clone(),
            second: signed,
        };
        assert!(decode(&proof(&twice)).is_err(), "one contribution proves nothing");
    }

    #[test]
    fn hostile_bytes_are_bad_and_a_later_version_s_kind_is_passed_over() {
        assert_eq!(decode(b""), Ok(None), "an envelope of a kind unknown here");
        // Field 99, length-delimited: a kind of a later version.
        assert_eq!(decode(&[0x9a, 0x06, 0x01, 0x00]), Ok(None));
        let me = Identity::ephemeral();
        let signed = contribution_by(&me, b"update", 5);
        let whole = contribution(&name(), &signed, b"update".to_vec(), Some(TRACE.into()));
        for cut in 1..whole.len() {
            // Decoding never yields a contribution other than the signed one, and never panics.
            if let Ok(Some((Announcement::Contribution(read, _), _))) = decode(&whole[..cut]) {
                assert_eq!(read, signed, "cut at {cut}");
            }
        }
        for at in 0..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= 0x55;
            if let Ok(Some((Announcement::Contribution(read, Some(inline)), _))) = decode(&bent) {
                assert_eq!(BlobId::of(&inline), read.record.update);
            }
        }
        // The length prefix announces four gigabytes.
        assert!(decode(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3]).is_err());
    }
}
