//! Tests of the exchange of records, over two ends of a pipe in memory.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use qres_fed::id::{BlobId, CheckpointId, ContributionId, NodeId, SpecId};
use qres_fed::record::{Canonical, Content, Contribution, Proof, Report, Seal, Signature, Signed};
use qres_fed::round::RecordId;
use qres_mesh::Fault;
use qres_wire::identity::Identity;
use qres_wire::pb::sync_item::Kind as Item;
use qres_wire::pb::{SyncBucket, SyncEnd, SyncItem, SyncRequest, SyncStatus};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use super::exchange::{Exchange, SyncError};
use super::held::Held;
use super::key;
use super::protocol::{ITEM_BYTES_MAX, RECORDS_PER_ASK_MAX, REQUEST_BYTES_MAX, STATE_BYTES_MAX};
use super::server::SyncServer;
use crate::fault::TransferError;
use crate::link::{Link, Pace};
use crate::quota::Quota;
use crate::{ContentProvider, Record, SpecOffer};

pub(crate) const SPEC: SpecId = SpecId([7; 32]);
const ME: NodeId = NodeId([1; 32]);
/// Deadlines (20 s) for tests in which no peer stalls.
const PATIENT: Pace = Pace {
    idle: Duration::from_secs(20),
    whole: Duration::from_secs(20),
    rest: Duration::from_secs(20),
};

type Pipe = Compat<DuplexStream>;

fn pipe() -> (Pipe, Pipe) {
    let (a, b) = tokio::io::duplex(256 * 1024);
    (a.compat(), b.compat())
}

/// A [`ContentProvider`] of one model that counts the records it is asked for.
#[derive(Default)]
pub(crate) struct MemoryProvider {
    pub(crate) records: Vec<(u64, Record)>,
    pub(crate) offers: Vec<SpecOffer>,
    pub(crate) states: Vec<Vec<u8>>,
    pub(crate) asked: Mutex<usize>,
}

impl ContentProvider for MemoryProvider {
    fn may_read(&self, _: &NodeId, _: &SpecId, _: &BlobId) -> bool {
        true
    }
    fn is_member(&self, _: &NodeId) -> bool {
        false
    }
    fn specs(&self) -> BoxFuture<'_, Vec<SpecOffer>> {
        Box::pin(async { self.offers.clone() })
    }
    fn record_ids(&self, _: NodeId, spec: SpecId, _: u64) -> BoxFuture<'_, Option<Vec<(u64, RecordId)>>> {
        Box::pin(async move {
            (spec == SPEC).then(|| {
                self.records
                    .iter()
                    .map(|(round, record)| (*round, record.id()))
                    .collect()
            })
        })
    }
    fn records(&self, _: NodeId, _: SpecId, ids: Vec<RecordId>) -> BoxFuture<'_, Vec<Record>> {
        Box::pin(async move {
            *self.asked.lock() += ids.len();
            let held = self.records.iter().filter(|(_, record)| ids.contains(&record.id()));
            // Newest first, the opposite of the order that the exchange must return.
            held.rev().map(|(_, record)| record.clone()).collect()
        })
    }
    fn states(&self, _: NodeId, _: SpecId) -> BoxFuture<'_, Vec<Vec<u8>>> {
        Box::pin(async { self.states.clone() })
    }
}

fn contribution(n: u64, round: u64) -> Signed<Contribution> {
    Signed {
        record: Contribution {
            spec: SPEC,
            parent: CheckpointId([3; 32]),
            round,
            author: ME,
            samples: n,
            update: BlobId([4; 32]),
            update_bytes: n,
            fidelity: 0.5,
            source: None,
            report: Report::default(),
            releases: 0,
        },
        signature: Signature([9; 64]),
    }
}

fn seal(round: u64) -> Record {
    Record::Seal(Signed {
        record: Seal {
            spec: SPEC,
            round,
            parent: CheckpointId([3; 32]),
            fresh: (0..8).map(|n| ContributionId([n; 32])).collect(),
            late: vec![],
            proofs: vec![],
            result: Content::of_weights(BlobId([5; 32])),
            sealer: ME,
        },
        signature: Signature([8; 64]),
    })
}

/// Makes 1,000 records over 500 rounds (eight buckets): a contribution and a seal for each round, and one proof among
/// them.
pub(crate) fn thousand() -> Vec<(u64, Record)> {
    let mut records = Vec::new();
    for round in 1..=500 {
        records.push((round, Record::Contribution(contribution(round, round))));
        records.push((round, seal(round)));
    }
    records[10] = (
        6,
        Record::Proof(Proof::new(contribution(1, 6), contribution(2, 6)).unwrap()),
    );
    records
}

pub(crate) fn ids(records: &[(u64, Record)]) -> Vec<(u64, RecordId)> {
    records.iter().map(|(round, record)| (*round, record.id())).collect()
}

fn server(provider: Arc<MemoryProvider>) -> SyncServer {
    SyncServer::new(provider).with_limits(PATIENT, Quota::new(4, 2))
}

/// Serves one end of a pipe; returns the other end and the task of the server.
fn serve(server: SyncServer) -> (Exchange<Pipe>, tokio::task::JoinHandle<Result<(), TransferError>>) {
    let (ours, theirs) = pipe();
    let task = tokio::spawn(async move { server.serve(ME, theirs).await });
    (Exchange::new(Link::new(ours, PATIENT)), task)
}

/// Compares with the peer; returns the number of records and the batches that came.
async fn missing(exchange: &mut Exchange<Pipe>, ours: impl Into<Held>) -> (usize, Vec<Vec<Record>>) {
    let (sender, mut receiver) = mpsc::channel(1);
    let collect = tokio::spawn(async move {
        let mut batches = Vec::new();
        while let Some(batch) = receiver.recv().await {
            batches.push(batch);
        }
        batches
    });
    let count = exchange.missing(SPEC, ours.into(), &sender).await.unwrap();
    drop(sender);
    (count, collect.await.unwrap())
}

#[tokio::test]
async fn two_sets_of_a_thousand_records_move_only_what_differs() {
    let theirs = thousand();
    // This node lacks a record of round 11, one of round 12 and the last seal, and has one that the peer has not.
    let mut ours = ids(&theirs);
    let lacking = [ours[20].1, ours[22].1, ours[999].1];
    ours.retain(|(_, id)| !lacking.contains(id));
    ours.push((100, RecordId::Contribution(contribution(77, 100).record.id())));
    let provider = Arc::new(MemoryProvider {
        records: theirs,
        ..MemoryProvider::default()
    });
    let (mut exchange, task) = serve(server(provider.clone()));
    let (count, batches) = missing(&mut exchange, ours).await;
    assert_eq!(count, 3);
    let got: Vec<_> = batches.concat().iter().map(Record::id).collect();
    assert_eq!(got.len(), 3);
    assert!(lacking.iter().all(|id| got.contains(id)));
    assert_eq!(got[2], lacking[2], "ascending by round");
    assert_eq!(*provider.asked.lock(), 3, "nothing else moved");
    exchange.close().await.unwrap();
    assert!(task.await.unwrap().is_ok());
}

#[tokio::test]
async fn what_is_forgotten_here_or_was_refused_is_not_sent_again() {
    let provider = Arc::new(MemoryProvider {
        records: thousand(),
        ..MemoryProvider::default()
    });
    let theirs = ids(&provider.records);
    let newest = theirs.iter().map(|(round, _)| *round).max().unwrap();
    let above = newest - 100;
    // An old proof may be named by a new seal.
    let compared =
        |(round, id): &(u64, RecordId)| *round > above || matches!(id, RecordId::Proof(_) | RecordId::Consent(_));
    let (kept, old): (Vec<_>, Vec<_>) = theirs.iter().copied().partition(compared);
    assert!(old.len() > 100 && kept.len() > 100);
    let (mut exchange, _task) = serve(server(provider.clone()));
    let held = |records: &[(u64, RecordId)], refused: &[(u64, RecordId)]| Held {
        records: records.to_vec(),
        above,
        refused: refused.iter().map(|(_, id)| *id).collect(),
    };
    let (count, _) = missing(&mut exchange, held(&kept, &[])).await;
    assert_eq!(
        (count, *provider.asked.lock()),
        (0, 0),
        "the peer keeps all, and it is one request"
    );
    let (count, _) = missing(&mut exchange, held(&kept[10..], &kept[..4])).await;
    assert_eq!(count, 6);
    let (count, _) = missing(&mut exchange, held(&[], &[])).await;
    assert_eq!(count, kept.len());
    // A node that has forgotten nothing gets all old records.
    let (count, _) = missing(&mut exchange, kept.clone()).await;
    assert_eq!(count, old.len());
}

#[tokio::test]
async fn a_newcomer_gets_everything_in_small_batches_ascending_by_round() {
    let theirs = thousand();
    let provider = Arc::new(MemoryProvider {
        records: theirs.clone(),
        ..MemoryProvider::default()
    });
    let (mut exchange, _task) = serve(server(provider));
    let (count, batches) = missing(&mut exchange, vec![]).await;
    assert_eq!(count, 1000);
    assert!(
        batches.iter().all(|batch| batch.len() <= RECORDS_PER_ASK_MAX),
        "bounded"
    );
    let rounds: Vec<u64> = batches
        .concat()
        .iter()
        .map(|got| theirs.iter().find(|(_, record)| record == got).unwrap().0)
        .collect();
    assert!(rounds.is_sorted());
    // The same exchange goes on: nothing differs any more.
    let (count, _) = missing(&mut exchange, ids(&theirs)).await;
    assert_eq!(count, 0);
}

#[tokio::test]
async fn a_receiver_that_closes_ends_the_sync() {
    let provider = Arc::new(MemoryProvider {
        records: thousand(),
        ..MemoryProvider::default()
    });
    let (mut exchange, _task) = serve(server(provider.clone()));
    let (sender, mut receiver) = mpsc::channel(1);
    let first = tokio::spawn(async move { receiver.recv().await.map(|batch: Vec<Record>| batch.len()) });
    let count = exchange.missing(SPEC, vec![].into(), &sender).await.unwrap();
    assert!(first.await.unwrap().is_some());
    assert!(count < 1000, "{count}");
    assert!(*provider.asked.lock() < 1000);
}

#[tokio::test]
async fn specs_and_states_come_whole_and_a_hidden_model_is_empty() {
    let identity = Identity::ephemeral();
    let offer = SpecOffer {
        spec: SPEC,
        bytes: 300,
        name: "digits-mlp".into(),
        creator: identity.node(),
        signature: identity.sign_bytes(b"spec"),
    };
    let provider = Arc::new(MemoryProvider {
        offers: vec![offer.clone()],
        states: vec![vec![1; 10], vec![2; STATE_BYTES_MAX], vec![3; STATE_BYTES_MAX + 1]],
        ..MemoryProvider::default()
    });
    let (mut exchange, _task) = serve(server(provider));
    assert_eq!(exchange.specs().await.unwrap(), [offer]);
    let states = exchange.states(SPEC).await.unwrap();
    assert_eq!(
        states,
        [vec![1; 10], vec![2; STATE_BYTES_MAX]],
        "one above the limit is never sent"
    );
    let (sender, _receiver) = mpsc::channel(1);
    let hidden = exchange.missing(SpecId([8; 32]), vec![].into(), &sender).await;
    assert_eq!(hidden.unwrap(), 0);
}

#[tokio::test]
async fn a_peer_without_room_says_so_and_has_room_again() {
    let places = Quota::new(4, 1);
    let server = SyncServer::new(Arc::new(MemoryProvider::default())).with_limits(PATIENT, places.clone());
    let under_way = places.take(ME);
    let (mut first, _) = serve(server.clone());
    assert!(matches!(first.specs().await, Err(SyncError::Busy)));
    drop(under_way);
    let (mut second, _) = serve(server);
    assert!(second.specs().await.is_ok());
}

#[tokio::test]
async fn a_peer_that_rests_between_requests_keeps_nobody_out() {
    let server = SyncServer::new(Arc::new(MemoryProvider::default())).with_limits(PATIENT, Quota::new(1, 1));
    let (mut resting, _) = serve(server.clone());
    assert!(resting.specs().await.is_ok());
    // Its stream stays open; the other peer may ask, and then the first peer may ask again.
    let (mut other, _) = serve(server);
    assert!(other.specs().await.is_ok());
    assert!(resting.specs().await.is_ok());
}

/// Answers each request with the next list of items.
async fn liar(stream: Pipe, answers: Vec<Vec<Item>>) {
    let mut link = Link::new(stream, PATIENT);
    for items in answers {
        if !matches!(
            link.next::<SyncRequest>(REQUEST_BYTES_MAX, PATIENT.idle).await,
            Ok(Some(_))
        ) {
            return;
        }
        for kind in items {
            if link.queue(&SyncItem { kind: Some(kind) }).await.is_err() {
                return;
            }
        }
        if link.flush().await.is_err() {
            return;
        }
    }
}

fn end() -> Item {
    Item::End(SyncEnd {
        status: SyncStatus::Ok.into(),
    })
}

fn bucket(index: u64, count: u32) -> Item {
    Item::Bucket(SyncBucket {
        index,
        count,
        digest: vec![0; 32],
    })
}

fn entries(of: &[(u64, RecordId)]) -> Item {
    let mut bytes = Vec::new();
    for (round, id) in of {
        key::write_entry(*round, id, &mut bytes);
    }
    Item::Keys(bytes)
}

/// Asks a liar for records; returns the outcome and the number of records that reached this node.
async fn lied_to(answers: Vec<Vec<Item>>) -> (Result<usize, SyncError>, usize) {
    let (ours, theirs) = pipe();
    let liar = tokio::spawn(liar(theirs, answers));
    let (sender, mut receiver) = mpsc::channel(64);
    let mut exchange = Exchange::new(Link::new(ours, PATIENT));
    let outcome = exchange.missing(SPEC, vec![].into(), &sender).await;
    drop(sender);
    let mut reached = 0;
    while let Some(batch) = receiver.recv().await {
        reached += batch.len();
    }
    liar.abort();
    (outcome, reached)
}

fn fault(outcome: &Result<usize, SyncError>) -> Option<Fault> {
    match outcome {
        Err(SyncError::Transfer(error)) => error.fault(),
        Ok(_) | Err(SyncError::Busy) => None,
    }
}

#[tokio::test]
async fn whoever_lies_is_told_on_and_nothing_of_it_gets_through() {
    let (asked, other) = (seal(1), seal(2));
    let keys = || vec![entries(&[(1, asked.id())]), end()];
    let record = |record: &Record| Item::Record(record.to_wire());
    let mut cut = asked.to_wire();
    cut.record.pop();
    let mut unsigned = asked.to_wire();
    unsigned.signature.clear();
    let one = || vec![bucket(0, 1), end()];
    let lies: Vec<(&str, Vec<Vec<Item>>)> = vec![
        (
            "a record not asked for",
            vec![one(), keys(), vec![record(&other), end()]],
        ),
        (
            "a record twice",
            vec![one(), keys(), vec![record(&asked), record(&asked), end()]],
        ),
        (
            "a record cut short",
            vec![one(), keys(), vec![Item::Record(cut), end()]],
        ),
        (
            "a record without signature",
            vec![one(), keys(), vec![Item::Record(unsigned), end()]],
        ),
        ("buckets out of order", vec![vec![bucket(1, 1), bucket(0, 1), end()]]),
        ("a bucket too large", vec![vec![bucket(0, u32::MAX), end()]]),
        (
            "a key more than announced",
            vec![one(), vec![entries(&[(1, asked.id()), (2, other.id())]), end()]],
        ),
        (
            "a key of another bucket",
            vec![one(), vec![entries(&[(64, asked.id())]), end()]],
        ),
        ("keys cut short", vec![one(), vec![Item::Keys(vec![0; 40]), end()]]),
        ("an item too long", vec![vec![Item::State(vec![0; ITEM_BYTES_MAX + 1])]]),
        ("a status of nothing", vec![vec![Item::End(SyncEnd { status: 0 })]]),
    ];
    for (lie, answers) in lies {
        let (outcome, reached) = lied_to(answers).await;
        assert_eq!(fault(&outcome), Some(Fault::Protocol), "{lie}: {outcome:?}");
        assert_eq!(reached, 0, "{lie}");
    }
    // The same answers without a lie are accepted.
    let (outcome, reached) = lied_to(vec![one(), keys(), vec![record(&asked), end()]]).await;
    assert_eq!((outcome.unwrap(), reached), (1, 1));
}

#[tokio::test]
async fn kinds_that_are_not_known_yet_are_passed_over() {
    let mut newer = seal(1).to_wire();
    newer.kind = 9;
    let mut entry = 1u64.to_le_bytes().to_vec();
    entry.extend([9; key::KEY_BYTES]);
    let answers = vec![
        vec![bucket(0, 2), end()],
        vec![Item::Keys(entry), entries(&[(1, seal(1).id())]), end()],
        vec![Item::Record(newer), Item::Record(seal(1).to_wire()), end()],
    ];
    let (outcome, reached) = lied_to(answers).await;
    assert_eq!((outcome.unwrap(), reached), (1, 1));
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_given_up_but_not_told_on() {
    let (ours, silent) = pipe();
    let pace = Pace {
        idle: Duration::from_millis(100),
        ..PATIENT
    };
    let (sender, _receiver) = mpsc::channel(1);
    let outcome = Exchange::new(Link::new(ours, pace))
        .missing(SPEC, vec![].into(), &sender)
        .await;
    assert!(
        matches!(outcome, Err(SyncError::Transfer(TransferError::Stalled { .. }))),
        "{outcome:?}"
    );
    drop(silent);
}

#[tokio::test]
async fn hostile_requests_end_the_stream() {
    use futures::AsyncWriteExt;
    let long = (REQUEST_BYTES_MAX as u32 + 1).to_le_bytes().to_vec();
    let garbage = [&4u32.to_le_bytes()[..], &[0xff; 4]].concat();
    let huge = u32::MAX.to_le_bytes().to_vec();
    for bytes in [long, garbage, huge] {
        let (mut ours, theirs) = pipe();
        let server = server(Arc::new(MemoryProvider::default()));
        let task = tokio::spawn(async move { server.serve(ME, theirs).await });
        ours.write_all(&bytes).await.unwrap();
        let error = task.await.unwrap().unwrap_err();
        assert_eq!(error.fault(), Some(Fault::Protocol), "{error}");
    }
    let (mut exchange, task) = serve(server(Arc::new(MemoryProvider::default())));
    let far_too_many = vec![RecordId::Seal(seal_id()); RECORDS_PER_ASK_MAX + 1];
    assert!(exchange.ask_records(SPEC, &far_too_many).await.is_err());
    assert_eq!(task.await.unwrap().unwrap_err().fault(), Some(Fault::Protocol));
}

fn seal_id() -> qres_fed::id::SealId {
    qres_fed::id::SealId([1; 32])
}

#[test]
fn a_record_reads_what_it_wrote() {
    for (_, record) in thousand().into_iter().take(12) {
        assert_eq!(Record::from_wire(&record.to_wire()).unwrap(), Some(record));
    }
    let proof = Proof::new(contribution(1, 6), contribution(2, 6)).unwrap();
    assert!(proof.to_canonical().len() < ITEM_BYTES_MAX);
}
