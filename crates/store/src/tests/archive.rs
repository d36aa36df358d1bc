//! Tests of rounds in the archive.

use std::collections::BTreeSet;

use qres_fed::id::{BlobId, CheckpointId, NodeId};
use qres_fed::record::{Content, Proof};
use qres_fed::round::{Archived, RecordId, Root};

use super::{contribution, open, seal, spec};
use crate::Write;

fn root(round: u64) -> Root {
    Root {
        id: CheckpointId([u8::try_from(round).unwrap(); 32]),
        round,
        parent: Some(CheckpointId([9; 32])),
        content: Content::of_weights(BlobId::of(b"weights")),
        convicted: BTreeSet::from([NodeId([7; 32])]),
    }
}

#[test]
fn archived_rounds_are_found_by_round_and_by_record_until_they_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let id = spec("m").record.id();
    let proof = Proof::new(contribution(id, 1), contribution(id, 2)).unwrap();
    let round = |n: u64| {
        let mut seal = seal(id, contribution(id, n).record.id());
        seal.record.round = n;
        Archived {
            seal,
            proofs: if n == 2 { vec![proof.clone()] } else { vec![] },
        }
    };
    let all: Vec<_> = (1..=300).map(round).collect();
    let store = open(dir.path());
    assert_eq!(store.records(id).unwrap().root, None);
    store
        .commit(vec![
            Write::Archive(id, root(201), all[..200].to_vec()),
            Write::Archive(id, root(255), all[200..].to_vec()),
            Write::Archive(spec("other").record.id(), root(2), vec![all[0].clone()]),
        ])
        .unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.records(id).unwrap().root, Some(root(255)));
    assert!(
        store.records(id).unwrap().seals.is_empty(),
        "they are not read at a start"
    );
    assert_eq!(store.archived(id, 256..=257).unwrap(), all[255..257]);
    assert_eq!(store.archived(id, 299..=u64::MAX).unwrap(), all[298..]);
    assert_eq!(store.archived(id, 301..=u64::MAX).unwrap(), []);
    let ids = store.archived_ids(id, 297, 10).unwrap();
    let of = |n: u64| (n, RecordId::Seal(all[n as usize - 1].seal.record.id()));
    assert_eq!(ids, [300, 299, 298].map(of));
    assert_eq!(store.archived_ids(id, 0, 2).unwrap(), [300, 299].map(of));
    assert_eq!(store.archived_ids(id, u64::MAX, 2).unwrap(), []);
    assert_eq!(store.archived_ids(id, 0, 1_000).unwrap().len(), 301, "and the proof");
    for id_of in [RecordId::Proof(proof.id()), of(2).1] {
        assert_eq!(store.archived_with(id, &id_of).unwrap(), Some(all[1].clone()));
    }
    let unknown = RecordId::Proof(qres_fed::id::ProofId([0; 32]));
    assert_eq!(store.archived_with(id, &unknown).unwrap(), None);

    store.commit(vec![Write::Unarchive(id, root(2))]).unwrap();
    assert_eq!(store.records(id).unwrap().root, Some(root(2)));
    assert_eq!(store.archived(id, 0..=u64::MAX).unwrap(), all[..1]);
    assert_eq!(store.archived_with(id, &of(2).1).unwrap(), None);

    store.commit(vec![Write::Leave(id)]).unwrap();
    assert_eq!(store.archived(id, 0..=u64::MAX).unwrap(), []);
    assert_eq!(store.records(id).unwrap().root, None);
    let other = spec("other").record.id();
    assert_eq!(
        store.archived(other, 0..=u64::MAX).unwrap(),
        all[..1],
        "another model's"
    );
}
