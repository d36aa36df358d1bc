//! Test of `kill -9` at any moment: all reported commits are there afterwards, and no commit is half there.
//!
//! The test runs itself as a child that commits without end and reports each commit over a pipe. A seed decides the
//! number of reports after which the parent kills the child, at any point of its work. The parent then checks the data
//! directory.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_types,
    reason = "a test that cannot go on fails"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use qres_fed::id::{BlobId, CheckpointId, ContributionId, NodeId, SpecId, SubmissionId};
use qres_fed::record::{Contribution, Report, Signature, Signed};
use qres_fed::round::SubmissionState;
use qres_store::{
    Blobs, KeyOutcome, Owner, SEGMENT_BYTES, SegmentTree, Store, StoreError, StoreOptions, StoredKey, StoredSubmission,
    Write,
};

/// Environment variable that names the data directory; only the child has it.
const DIRECTORY: &str = "QRES_TEST_STORE_CRASH_DIRECTORY";
/// Number of children killed. Each dies at another moment.
const KILLS: u64 = 25;
/// Number of reports before a kill, at most.
const REPORTS_MAX: u64 = 12;
/// Start of a child's report; the number of the commit follows.
const COMMITTED: &str = "committed ";

fn spec() -> SpecId {
    SpecId([5; 32])
}

/// Returns the bytes of submission `number`: every fourth has more than one segment.
fn weights(number: u64) -> Vec<u8> {
    let numbers = if number % 4 == 3 {
        SEGMENT_BYTES as usize / 8 + 9
    } else {
        375
    };
    number.to_le_bytes().repeat(numbers)
}

fn submission(number: u64) -> StoredSubmission {
    let bytes = weights(number);
    StoredSubmission {
        id: SubmissionId::of(&number.to_le_bytes()),
        spec: spec(),
        model: "m".parse().unwrap(),
        trainer: format!("trainer {}", number % 3),
        base: CheckpointId::of(&number.to_le_bytes()),
        samples: number,
        delta: false,
        metrics: BTreeMap::new(),
        report: Report::default(),
        blob: BlobId::of(&bytes),
        bytes: bytes.len() as u64,
        at_unix_ms: number,
        final_unix_ms: None,
        state: SubmissionState::Pending,
        personal: None,
        traceparent: None,
    }
}

fn contribution(number: u64) -> Signed<Contribution> {
    let submission = submission(number);
    Signed {
        record: Contribution {
            spec: spec(),
            parent: submission.base,
            round: 1,
            author: NodeId([1; 32]),
            samples: 1,
            update: submission.blob,
            update_bytes: submission.bytes,
            fidelity: 1.0,
            source: None,
            report: Report::default(),
            releases: 0,
        },
        signature: Signature([0; 64]),
    }
}

fn key(number: u64) -> StoredKey {
    StoredKey {
        key: format!("key {number}"),
        request: [0; 32],
        outcome: KeyOutcome::Submission(submission(number).id),
        at_unix_ms: number,
    }
}

/// Commits submissions one after the other, as a node would: blob first, then all records of it, then the report. In
/// between come an upload that is never finished, a partial blob, and the rounds' bookkeeping.
fn commit_without_end(store: &Store, first: u64) -> Result<(), StoreError> {
    let blobs = store.blobs();
    for number in first.. {
        let bytes = weights(number);
        let mut upload = blobs.resume("upload", 0)?;
        upload.write_all(&bytes).unwrap();
        let (blob, _) = upload.finish(true)?;
        assert_eq!(blob, submission(number).blob);
        let merged = Write::SubmissionState {
            id: submission(number.saturating_sub(1)).id,
            state: SubmissionState::Merged {
                contribution: ContributionId([0; 32]),
            },
            final_unix_ms: None,
        };
        store.commit(vec![
            Write::Submission(submission(number)),
            Write::Key(key(number)),
            Write::Contribution(contribution(number)),
            Write::Meta("last", number.to_le_bytes().to_vec()),
            merged,
        ])?;
        println!("{COMMITTED}{number}");
        keep_partial(&store.blobs_of(Owner::Specs), number)?;
    }
    Ok(())
}

/// Starts a download of which only some segments arrive.
fn keep_partial(blobs: &Blobs, number: u64) -> Result<(), StoreError> {
    let bytes = vec![9; 2 * SEGMENT_BYTES as usize];
    let tree = SegmentTree::of(&bytes);
    let partial = blobs.partial(tree.root(), tree)?;
    let index = number % 2;
    assert!(partial.write(index, &bytes[..SEGMENT_BYTES as usize])?);
    if number % 8 == 7 { partial.discard() } else { Ok(()) }
}

/// Checks the store after a crash, up to the last `reported` commit; returns the number of the next commit.
fn check(store: &Store, reported: Option<u64>) -> u64 {
    let last = store
        .meta("last")
        .unwrap()
        .map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
    assert!(last >= reported, "reported {reported:?}, the store has {last:?}");
    let records = store.records(spec()).unwrap();
    let next = last.map_or(0, |last| last + 1);
    assert_eq!(records.contributions.len() as u64, next);
    for number in 0..next {
        let kept = store.submission(submission(number).id).unwrap().unwrap();
        assert_eq!((kept.samples, kept.blob), (number, submission(number).blob));
        assert_eq!(store.key(&key(number).key).unwrap(), Some(key(number)));
        assert!(records.contributions.contains(&contribution(number)));
        let after = number + 1 < next;
        assert_eq!(kept.state != SubmissionState::Pending, after, "{number} of {next}");
        assert!(
            store.blobs_of(Owner::Node).verify(&kept.blob).unwrap(),
            "{number} of {next}"
        );
    }
    // Of the commit that was under way, nothing or only its blob is there.
    assert!(store.submission(submission(next).id).unwrap().is_none());
    assert!(store.key(&key(next).key).unwrap().is_none());
    let held: u64 = store.blobs().list().unwrap().iter().map(|(.., bytes)| bytes).sum();
    assert_eq!(store.blobs().bytes(), held);
    assert_eq!(store.open_submissions(spec()).unwrap().len() as u64, next);
    next
}

fn open(dir: &Path) -> Store {
    Store::open(dir, StoreOptions::default()).unwrap()
}

/// The child's part of the test; does nothing in other processes.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIRECTORY) else { return };
    let store = open(Path::new(&dir));
    let first = store
        .meta("last")
        .unwrap()
        .map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()) + 1);
    commit_without_end(&store, first).unwrap();
}

fn start(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills a child after `reports` reports; returns the number of its last whole report.
fn kill_after(mut child: Child, reports: u64, spins: u64) -> Option<u64> {
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut last = None;
    let mut seen = 0;
    let mut line = String::new();
    while seen < reports {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "the child ended on its own");
        if let Some(number) = report(&line) {
            last = Some(number);
            seen += 1;
        }
    }
    for _ in 0..spins {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines.lines() {
        // The harness may print the test's name and a report in one line; a torn last line is no report.
        last = report(&(line.unwrap() + "\n")).or(last);
    }
    last
}

fn report(line: &str) -> Option<u64> {
    let (_, number) = line.strip_suffix('\n')?.split_once(COMMITTED)?;
    number.parse().ok()
}

#[test]
fn what_was_reported_is_there_after_kill_9_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = move |below: u64| {
        // xorshift64: the moments differ, and are the same in every run as far as a scheduler allows.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    for _ in 0..KILLS {
        let reports = draw(REPORTS_MAX);
        let reported = kill_after(start(dir.path()), reports, draw(400_000));
        check(&open(dir.path()), reported);
    }
    let next = check(&open(dir.path()), None);
    assert!(next > KILLS, "{next} commits came through {KILLS} kills");
}
