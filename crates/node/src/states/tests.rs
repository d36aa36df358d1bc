use qres_wire::state_envelope::STATE_BYTES_MAX;

use super::*;

pub(super) fn record(publisher: NodeId, name: &str, sequence: u64, bytes: u64) -> StateRecord {
    StateRecord {
        spec: SpecId([1; 32]),
        publisher,
        name: name.into(),
        sequence,
        timestamp_unix_ms: 0,
        fidelity: 1.0,
        blob: BlobId::of(&[name.as_bytes(), &sequence.to_le_bytes()].concat()),
        bytes,
    }
}

pub(super) fn signed(record: StateRecord) -> Signed<StateRecord> {
    Signed {
        record,
        signature: qres_fed::record::Signature([0; 64]),
    }
}

pub(super) fn node(n: u8) -> NodeId {
    NodeId([n; 32])
}

#[test]
fn the_last_few_of_each_name_stay_and_the_greediest_publisher_gives_way() {
    let states = States::default();
    let spec = SpecId([1; 32]);
    for sequence in 0..6 {
        states.keep(signed(record(node(1), "a", sequence, 10)));
    }
    let gone: Vec<_> = states.prune(spec).into_iter().map(|old| old.sequence).collect();
    assert_eq!(gone, [0, 1], "four stay");
    states.keep(signed(StateRecord {
        timestamp_unix_ms: 0,
        ..record(node(1), "old", 9, 10)
    }));
    // Another publisher fills the model's budget with states from the future.
    for name in 0..17 {
        states.keep(signed(StateRecord {
            timestamp_unix_ms: u64::MAX,
            ..record(node(2), &name.to_string(), 100 + name, STATE_BYTES_MAX)
        }));
    }
    let gone = states.prune(spec);
    assert!(
        !gone.is_empty() && gone.iter().all(|old| old.publisher == node(2)),
        "{gone:?}"
    );
    assert_eq!(gone[0].sequence, 100, "its oldest first");
    assert_eq!(states.newest(&key(&record(node(1), "old", 0, 0))), Some(9));
    assert!(states.prune(spec).is_empty());
    assert!(states.prune(SpecId([2; 32])).is_empty());
}
