//! The envelope in which a state travels: encoding, decoding and verifying.

#![warn(clippy::indexing_slicing, reason = "this file reads foreign bytes")]

use prost::Message as _;
use qres_fed::id::BlobId;
use qres_fed::record::{Canonical, Signature, Signed, StateRecord};

use crate::envelope::INLINE_BYTES_MAX;
use crate::{identity, pb as wire, trace};

/// The fidelity that the state of every publisher must exceed, as the protocol promises.
pub const FIDELITY_MIN: f64 = 0.99;

/// The most bytes of one state's coded tensors.
pub const STATE_BYTES_MAX: u64 = 16 << 20;

/// Encodes the envelope of a state; `tensors` holds its coded tensors, or is empty.
pub fn envelope(signed: &Signed<StateRecord>, tensors: Vec<u8>) -> Vec<u8> {
    wire::StateEnvelope {
        body: signed.record.to_canonical(),
        signature: signed.signature.0.to_vec(),
        tensors,
        traceparent: trace::traceparent(&tracing::Span::current()).unwrap_or_default(),
    }
    .encode_to_vec()
}

/// Decodes and verifies an envelope; `None` means that it is bad, independent of what the receiver knows.
pub fn read(data: &[u8]) -> Option<(Signed<StateRecord>, Vec<u8>)> {
    let envelope = wire::StateEnvelope::decode(data).ok()?;
    let record = StateRecord::from_canonical(&envelope.body).ok()?;
    let signed = Signed {
        record,
        signature: Signature(envelope.signature.try_into().ok()?),
    };
    let record = &signed.record;
    let shaped = StateRecord::check_name(&record.name).is_ok()
        && record.bytes <= STATE_BYTES_MAX
        && record.fidelity > FIDELITY_MIN
        && record.fidelity <= 1.0
        && (envelope.tensors.is_empty()
            || (envelope.tensors.len() <= INLINE_BYTES_MAX && BlobId::of(&envelope.tensors) == record.blob));
    (shaped && identity::verify(&signed)).then_some((signed, envelope.tensors))
}

#[cfg(test)]
mod tests {
    use qres_fed::id::{NodeId, SpecId};

    use super::*;
    use crate::identity::Identity;

    #[test]
    fn an_envelope_is_read_only_when_all_of_it_is_right() {
        let me = Identity::ephemeral();
        let good = || StateRecord {
            blob: BlobId::of(b"tensors"),
            spec: SpecId([1; 32]),
            publisher: me.node(),
            name: "a".into(),
            sequence: 1,
            timestamp_unix_ms: 0,
            fidelity: 1.0,
            bytes: 7,
        };
        let sealed = |record: StateRecord, tensors: &[u8]| envelope(&me.sign(record), tensors.to_vec());
        assert!(read(&sealed(good(), b"")).is_some());
        assert_eq!(read(&sealed(good(), b"tensors")).unwrap().1, b"tensors");
        let bad = [
            sealed(good(), b"others"),
            sealed(
                StateRecord {
                    name: String::new(),
                    ..good()
                },
                b"",
            ),
            sealed(
                StateRecord {
                    name: "x".repeat(129),
                    ..good()
                },
                b"",
            ),
            sealed(
                StateRecord {
                    bytes: STATE_BYTES_MAX + 1,
                    ..good()
                },
                b"",
            ),
            sealed(
                StateRecord {
                    fidelity: 0.99,
                    ..good()
                },
                b"",
            ),
            sealed(
                StateRecord {
                    fidelity: 1.5,
                    ..good()
                },
                b"",
            ),
            sealed(
                StateRecord {
                    publisher: NodeId([3; 32]),
                    ..good()
                },
                b"",
            ),
            b"\xff\xff".to_vec(),
            vec![],
        ];
        for (n, envelope) in bad.iter().enumerate() {
            assert!(read(envelope).is_none(), "{n}");
        }
    }
}
