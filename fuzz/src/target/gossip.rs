//! Messages that gossip carries: a message that is decoded must be the one that would be sent again.

use std::time::Duration;

use prost::Message;
use qres_fed::id::{CheckpointId, SpecId};
use qres_fed::record::{Canonical, StateRecord, is_printable};
use qres_mesh::HeadClaim;
use qres_mesh::heartbeat::{self, Heartbeat};
use qres_wire::{envelope, pb as wire, state_envelope};

use crate::{Fixture, Target, record};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Reads an envelope of the topic `qres/v1/epiphany`.
pub const ENVELOPE: Target = Target {
    name: "envelope",
    run: |_, data| envelope(data),
    seeds: |fixture| {
        let (me, name) = (&fixture.identity, "m/1".parse().expect("a name"));
        let contribution = record::contribution(me, b"update", 5);
        vec![
            envelope::contribution(&name, &contribution, b"update".to_vec(), Some(TRACE.into())),
            envelope::contribution(&name, &contribution, vec![], None),
            envelope::seal(&record::seal(me), None),
            envelope::proof(&record::proof(me)),
            envelope::spec(&me.sign(record::open_spec())),
        ]
    },
};

/// Reads an envelope of the topic `qres/v1/state`.
pub const STATE_ENVELOPE: Target = Target {
    name: "state-envelope",
    run: state_envelope,
    seeds: |fixture| {
        [&b"coded"[..], b""]
            .map(|tensors| {
                let signed = fixture.identity.sign(record::state(&fixture.identity, tensors));
                wire::StateEnvelope {
                    body: signed.record.to_canonical(),
                    signature: signed.signature.0.to_vec(),
                    tensors: tensors.to_vec(),
                    traceparent: TRACE.into(),
                }
                .encode_to_vec()
            })
            .into()
    },
};

/// Reads a heartbeat and encodes it again.
pub const HEARTBEAT: Target = Target {
    name: "heartbeat",
    run: |_, data| {
        let Ok(beat) = heartbeat::parse(data) else {
            return false;
        };
        assert!(beat.version.chars().all(is_printable));
        let boot = beat.boot.clone().unwrap_or_default();
        let again = heartbeat::encode(Duration::ZERO, &beat.version, beat.period, &beat.heads, boot.clone());
        let beat = Heartbeat {
            boot: Some(boot),
            ..beat
        };
        assert_eq!(heartbeat::parse(&again).as_ref(), Ok(&beat));
        true
    },
    seeds: |_| {
        let claim = |n: u8| HeadClaim {
            spec: SpecId([n; 32]),
            checkpoint: CheckpointId([n; 32]),
            round: n.into(),
        };
        let heads: Vec<_> = (0..3).map(claim).collect();
        let second = Duration::from_secs(1);
        let boot = wire::Boot {
            nonce: vec![7; 16],
            signed_unix_ms: 1_700_000_000_000,
            signature: vec![8; 64],
            address: String::new(),
        };
        vec![heartbeat::encode(second, "qres-daemon/0.1.0", 5 * second, &heads, boot)]
    },
};

fn envelope(data: &[u8]) -> bool {
    let Ok(Some((announcement, trace))) = envelope::decode(data) else {
        return false;
    };
    let name = "m/1".parse().expect("a name");
    let again = match &announcement {
        envelope::Announcement::Contribution(signed, inline) => {
            envelope::contribution(&name, signed, inline.clone().unwrap_or_default(), trace.clone())
        }
        envelope::Announcement::Seal(signed) => envelope::seal(signed, trace.clone()),
        envelope::Announcement::Proof(proof) => envelope::proof(proof),
        envelope::Announcement::Consent(signed) => envelope::consent(signed),
        // An announcement of a spec does not contain the bytes of the spec, so it cannot be made again here.
        envelope::Announcement::Spec { .. } => return true,
    };
    let (read, _) = envelope::decode(&again)
        .expect("what is sent is read")
        .expect("a kind of ours");
    assert!(read == announcement, "another announcement than the one read");
    true
}

/// Reads the envelope as it is, and once more signed by an author whose key is known: the checks that follow the
/// signature are reached only so.
fn state_envelope(fixture: &Fixture, data: &[u8]) -> bool {
    let accepted = usable(data);
    let Ok(mut envelope) = wire::StateEnvelope::decode(data) else {
        return accepted;
    };
    if let Ok(mut record) = StateRecord::from_canonical(&envelope.body) {
        record.publisher = fixture.identity.node();
        let signed = fixture.identity.sign(record);
        envelope.body = signed.record.to_canonical();
        envelope.signature = signed.signature.0.to_vec();
        usable(&envelope.encode_to_vec());
    }
    accepted
}

fn usable(data: &[u8]) -> bool {
    let Some((signed, _)) = state_envelope::read(data) else {
        return false;
    };
    let record = signed.record;
    assert!(StateRecord::check_name(&record.name).is_ok());
    assert!(record.fidelity > 0.99 && record.fidelity <= 1.0 && record.bytes <= 16 << 20);
    true
}
