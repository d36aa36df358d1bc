//! Tests of records through [`Store`], and helpers that the tests of the other files share.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::Path;

use qres_fed::id::{BlobId, CheckpointId, ContributionId, NodeId, SpecId};
use qres_fed::record::{
    Content, Contribution, Dtype, End, Membership, Proof, Report, RoundPolicy, Rule, Seal, Signature, Signed, Spec,
    TensorSpec,
};
use qres_fed::round::Forgotten;

use super::*;

mod archive;
mod personal;
mod submission;

pub(super) fn open(dir: &Path) -> Store {
    Store::open(dir, StoreOptions::default()).unwrap()
}

pub(super) fn blobs(dir: &Path) -> Blobs {
    open(dir).blobs_of(Owner::Node)
}

/// Returns bytes that differ from place to place, and are the same every time.
pub(super) fn noise(len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut out);
    out
}

pub(super) fn count_files(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

fn signed<T>(record: T) -> Signed<T> {
    Signed {
        record,
        signature: Signature([7; 64]),
    }
}

fn rule(id: &str) -> Rule {
    Rule {
        id: id.to_owned(),
        params: BTreeMap::new(),
    }
}

fn spec(name: &str) -> Signed<Spec> {
    signed(Spec {
        name: name.parse().unwrap(),
        tensors: vec![TensorSpec {
            name: "w".to_owned(),
            dtype: Dtype::F32,
            shape: vec![2],
        }]
        .into(),
        strategy: rule("fedavg/1"),
        aggregation: vec![],
        rounds: RoundPolicy {
            min_contributions: 1,
            target: None,
            deadline_ms: None,
            deadline_ms_max: 1000,
            max_staleness: 2,
        },
        codec: rule("none/1"),
        privacy: rule("none/1"),
        membership: Membership::List(BTreeSet::from([NodeId([1; 32])])),
        checkpoint0: BlobId::of(name.as_bytes()),
        fixed: None,
        creator: NodeId([1; 32]),
        succeeds: None,
        metrics: vec![],
        end: End::default(),
        schedules: Default::default(),
        earlier_rounds: 0,
    })
}

fn contribution(spec: SpecId, samples: u64) -> Signed<Contribution> {
    signed(Contribution {
        spec,
        parent: CheckpointId([2; 32]),
        round: 1,
        author: NodeId([1; 32]),
        samples,
        update: BlobId::of(&samples.to_le_bytes()),
        update_bytes: 8,
        fidelity: 1.0,
        source: None,
        report: Report::default(),
        releases: 0,
    })
}

fn seal(spec: SpecId, fresh: ContributionId) -> Signed<Seal> {
    signed(Seal {
        spec,
        round: 1,
        parent: CheckpointId([2; 32]),
        fresh: vec![fresh],
        late: vec![],
        proofs: vec![],
        result: Content::of_weights(BlobId::of(b"result")),
        sealer: NodeId([1; 32]),
    })
}

#[test]
fn a_full_disk_takes_what_is_less_than_records_and_the_reserve_only_for_what_frees_room() {
    use std::io::Write as _;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let blobs = store.blobs();
    for key in ["a", "b"] {
        blobs.resume(key, 0).unwrap().write_all(b"abc").unwrap();
    }
    // The disk is full as long as this path exists.
    let full_with = |path: &str| {
        let path = dir.path().join(path);
        move || match path.exists() {
            true => Err(StoreError::Full("a test".into())),
            false => Ok(()),
        }
    };
    let oldest = format!("uploads/{}", blake3::hash(b"a"));
    store.with_room(false, full_with(&oldest)).unwrap();
    assert_eq!((blobs.kept("a"), blobs.kept("b")), (0, 3));
    store.with_room(false, full_with("reserve")).unwrap_err();
    assert!(dir.path().join("reserve").exists() && blobs.kept("b") == 0);
    store.with_room(true, full_with("reserve")).unwrap();
    store.with_room(true, full_with("format")).unwrap_err();
    // The next write that needs room makes the reserve again, as there is room now.
    blobs.measure_disk();
    blobs.of(Owner::Node).put(b"abc", true).unwrap();
    assert!(dir.path().join("reserve").exists());
}

#[test]
fn a_spec_that_was_never_joined_can_be_forgotten_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let [offered, joined, signed_in] = ["offered", "joined", "signed in"].map(|name| spec(&name.replace(' ', "-")));
    let all = [&offered, &joined, &signed_in].map(|s| s.record.id());
    let specs = [&offered, &joined, &signed_in].map(|s| Write::Spec(s.clone()));
    store.commit(specs.to_vec()).unwrap();
    store
        .commit(vec![Write::Join(all[1]), Write::Contribution(contribution(all[2], 1))])
        .unwrap();
    store.commit(all.map(Write::ForgetSpec).to_vec()).unwrap();
    store.commit(all.map(Write::ForgetSpec).to_vec()).unwrap();
    assert_eq!(all.map(|id| store.spec(&id).unwrap().is_some()), [false, true, true]);
}

#[test]
fn a_model_comes_joined_and_left() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (one, two) = (spec("one"), spec("two"));
    let (id, other) = (one.record.id(), two.record.id());
    let (first, second) = (contribution(id, 1), contribution(id, 2));
    let proof = Proof::new(first.clone(), second.clone()).unwrap();
    let sealed = seal(id, first.record.id());
    let state = StoredState {
        spec: id,
        publisher: NodeId([1; 32]),
        name: "camera".to_owned(),
        sequence: 3,
        envelope: vec![1, 2, 3],
    };
    store
        .commit(vec![
            Write::Spec(one.clone()),
            Write::Join(id),
            Write::Join(id),
            Write::Spec(one.clone()),
            Write::Spec(two.clone()),
            Write::Contribution(first.clone()),
            Write::Contribution(second.clone()),
            Write::Contribution(contribution(other, 1)),
            Write::Seal(sealed.clone()),
            Write::Proof(id, proof.clone()),
            Write::Verified(id, sealed.record.checkpoint().id()),
            Write::State(state.clone()),
            Write::Submission(submission::submission(id, "t", 1)),
        ])
        .unwrap();
    drop(store);
    let store = open(dir.path());
    let mut joined: Vec<_> = store
        .models()
        .unwrap()
        .into_iter()
        .map(|m| (m.spec.record.name, m.joined))
        .collect();
    joined.sort();
    assert_eq!(
        joined,
        [("one".parse().unwrap(), true), ("two".parse().unwrap(), false)]
    );
    assert_eq!(store.spec(&id).unwrap(), Some(one.clone()));
    assert_eq!(store.spec(&SpecId([9; 32])).unwrap(), None);
    let records = store.records(id).unwrap();
    let ids: BTreeSet<_> = records.contributions.iter().map(|c| c.record.id()).collect();
    assert_eq!(ids, BTreeSet::from([first.record.id(), second.record.id()]));
    assert!(records.contributions.contains(&first));
    assert_eq!((records.seals, records.proofs), (vec![sealed.clone()], vec![proof]));
    assert_eq!(records.verified, BTreeSet::from([sealed.record.checkpoint().id()]));
    assert_eq!(store.states(id).unwrap(), [state]);

    store.commit(vec![Write::Leave(id)]).unwrap();
    assert!(store.models().unwrap().iter().all(|model| !model.joined));
    let records = store.records(id).unwrap();
    assert_eq!(
        (records.contributions.len(), records.seals.len(), records.proofs.len()),
        (0, 0, 0)
    );
    assert!(records.verified.is_empty() && store.states(id).unwrap().is_empty());
    assert_eq!(store.records(other).unwrap().contributions.len(), 1);
    assert!(
        store
            .submission(submission::submission(id, "t", 1).id)
            .unwrap()
            .is_some()
    );
}

#[test]
fn records_and_states_are_forgotten_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let id = spec("m").record.id();
    let (first, second) = (contribution(id, 1), contribution(id, 2));
    let (one, two) = (seal(id, first.record.id()), seal(id, second.record.id()));
    let proof = Proof::new(first.clone(), second.clone()).unwrap();
    let state = |sequence| StoredState {
        spec: id,
        publisher: NodeId([1; 32]),
        name: "camera".to_owned(),
        sequence,
        envelope: vec![0; 10],
    };
    store
        .commit(vec![
            Write::Contribution(first.clone()),
            Write::Contribution(second.clone()),
            Write::Seal(one.clone()),
            Write::Seal(two.clone()),
            Write::Proof(id, proof.clone()),
            Write::State(state(1)),
            Write::State(state(2)),
        ])
        .unwrap();
    let gone = Forgotten {
        contributions: vec![first.record.id()],
        seals: vec![one.record.id()],
        proofs: vec![proof.id()],
        verified: vec![one.record.checkpoint().id()],
    };
    let forget = Write::Forget(id, gone);
    let forget_state = Write::ForgetState {
        spec: id,
        publisher: NodeId([1; 32]),
        name: "camera".to_owned(),
        sequence: 1,
    };
    for _ in 0..2 {
        store.commit(vec![forget.clone(), forget_state.clone()]).unwrap();
        let records = store.records(id).unwrap();
        assert_eq!(
            (records.contributions, records.seals),
            (vec![second.clone()], vec![two.clone()])
        );
        assert!(records.proofs.is_empty());
        assert_eq!(store.states(id).unwrap(), [state(2)]);
    }
}

#[test]
fn small_values_are_kept_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!(store.meta("revision_ceiling").unwrap(), None);
    store.commit(vec![]).unwrap();
    store.commit(vec![Write::Meta("revision_ceiling", vec![1, 2])]).unwrap();
    store.commit(vec![Write::Meta("revision_ceiling", vec![3])]).unwrap();
    drop(store);
    assert_eq!(open(dir.path()).meta("revision_ceiling").unwrap(), Some(vec![3]));
}

#[test]
fn a_store_in_use_is_refused_while_anything_of_it_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let writer = store.blobs_of(Owner::Node).writer(0).unwrap();
    let in_use = || {
        matches!(
            Store::open(dir.path(), StoreOptions::default()),
            Err(StoreError::InUse(_))
        )
    };
    assert!(in_use());
    drop(store);
    assert!(in_use(), "a writer may still write");
    drop(writer);
    assert!(!in_use());
}

#[test]
fn a_damaged_database_is_told_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store
        .commit(
            (0..200)
                .map(|n| Write::Submission(submission::submission(SpecId([1; 32]), "t", n)))
                .collect(),
        )
        .unwrap();
    drop(store);
    let path = dir.path().join("records.redb");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes
        .windows(11)
        .position(|part| part == b"traceparent" || part == b"00-0af76519")
        .unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let error = Store::open(dir.path(), StoreOptions::default()).err().unwrap();
    assert!(
        matches!(&error, StoreError::Damaged(text) if text.contains("records.redb")),
        "{error}"
    );
    std::fs::write(&path, b"no database at all").unwrap();
    let error = Store::open(dir.path(), StoreOptions::default()).err().unwrap();
    assert!(matches!(error, StoreError::Damaged(_)), "{error}");
}

#[test]
fn a_full_disk_is_told_from_other_errors() {
    let full = io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error());
    let error = StoreError::from_io("/data/x", full);
    assert!(
        matches!(&error, StoreError::Full(text) if text.starts_with("/data/x: ")),
        "{error}"
    );
    let quota = io::Error::from_raw_os_error(rustix::io::Errno::DQUOT.raw_os_error());
    assert!(matches!(StoreError::from_io("/data/x", quota), StoreError::Full(_)));
    let other = io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error());
    assert!(matches!(StoreError::from_io("/data/x", other), StoreError::Io { .. }));
}

#[test]
fn an_error_of_the_stores_own_passes_through_io() {
    let error = StoreError::Offset { given: 7, kept: 3 }.into_io();
    assert!(matches!(
        StoreError::from_io("/data/x", error),
        StoreError::Offset { given: 7, kept: 3 }
    ));
    assert_eq!(StoreError::Full(String::new()).into_io().kind(), ErrorKind::StorageFull);
}

#[test]
fn everything_goes_from_thread_to_thread() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Store>();
    shared::<Blobs>();
    shared::<BlobFile>();
    shared::<BlobWriter>();
    shared::<Partial>();
}
