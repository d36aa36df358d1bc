//! The downloading side: a session fetches one blob from one holder.

#![warn(clippy::indexing_slicing, reason = "this file reads foreign bytes")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use qres_fed::id::{BlobId, SpecId};
use qres_store::{BlobStore, Blobs, Owner, SEGMENT_BYTES, SegmentTree, StoreError};
use qres_wire::clock;
use qres_wire::pb::blob_request::Kind;
use qres_wire::pb::{BlobAnswer, BlobDone, BlobGet, BlobRequest, BlobSegments, BlobStatus};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::assembly::{Assemblies, Assembly, Claim, Written};
use super::protocol::ANSWER_BYTES_MAX;
use crate::counters::TransferCounters;
use crate::fault::TransferError;
use crate::link::Link;

/// Largest number of segments that are asked for and not yet here: enough to keep the window full (80 MB/s at 100 ms),
/// and the most that the muxer may come to hold when the disk is slow.
const OUTSTANDING_MAX: usize = 8;
/// More segments are asked for once fewer than this number are outstanding.
const OUTSTANDING_LOW: usize = 5;
/// Received segments that are being checked and written at once.
const CHECKS_MAX: usize = 2;
/// Chaining values that are read at once (1 MiB): memory grows with the bytes that have arrived, not with the length that
/// was announced.
const VALUES_PER_PAGE: usize = 1 << 15;
/// Longest wait that a busy holder may ask for.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Largest number of segments of a blob (4 PiB): a request names each segment by a 32-bit index.
const SEGMENTS_MAX: u64 = 1 << 32;

/// The blob that a session is to fetch, with limits on its length.
#[derive(Debug, Clone)]
pub(crate) struct Goal {
    pub(crate) spec: SpecId,
    pub(crate) blob: BlobId,
    pub(crate) bytes: Option<u64>,
    pub(crate) bytes_max: u64,
    pub(crate) traceparent: Option<String>,
}

impl Goal {
    /// Returns the [`Owner`] under which the store keeps the blob.
    fn owner(&self) -> Owner {
        Owner::of(self.spec, &self.blob)
    }
}

/// Result of a session in which nothing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Got {
    /// The blob is in the store, and the last part of it came from this holder.
    Here,
    /// Other sessions fetch the segments that are left.
    Shared,
    /// The holder does not have the blob.
    Absent,
    /// The holder does not let this node read the blob.
    Denied,
    /// The holder has no room now and is to be asked again after this time.
    Busy(Duration),
}

/// State that all sessions share.
#[derive(Clone)]
pub(crate) struct DownloadContext {
    pub(crate) store: BlobStore,
    pub(crate) assemblies: Assemblies,
    pub(crate) counters: Arc<TransferCounters>,
    /// Notified when the segments of a blob are known: from then on other sessions may help.
    pub(crate) changed: Arc<Notify>,
}

/// A segment that is being checked and written; the result returns its buffer for the next segment.
type Check = JoinHandle<Result<(u32, Written, Vec<u8>), StoreError>>;

impl DownloadContext {
    /// Returns the part of the store that the blob goes into.
    fn blobs(&self, goal: &Goal) -> Blobs {
        self.store.of(goal.owner())
    }

    /// Fetches the blob of `goal` over this link, which may be used again when the result is `Ok`. Sets `progress` to
    /// true once a segment of the blob is here.
    pub(crate) async fn fetch<S>(
        &self,
        link: &mut Link<S>,
        goal: &Goal,
        progress: &mut bool,
    ) -> Result<Got, TransferError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let known = self.assemblies.get(goal.owner(), &goal.blob);
        let get = BlobGet {
            spec: goal.spec.0.to_vec(),
            blob: goal.blob.0.to_vec(),
            values_known: known.is_some(),
            traceparent: goal.traceparent.clone().unwrap_or_default(),
        };
        link.send(&request(Kind::Get(get))).await?;
        let wait = link.pace().idle;
        let answer: BlobAnswer = link
            .next(ANSWER_BYTES_MAX, wait)
            .await?
            .ok_or(TransferError::Closed("an answer"))?;
        match BlobStatus::try_from(answer.status) {
            Ok(BlobStatus::Ok) => {}
            Ok(BlobStatus::NotFound) => return Ok(Got::Absent),
            Ok(BlobStatus::Denied) => return Ok(Got::Denied),
            Ok(BlobStatus::Busy) => {
                let retry = Duration::from_millis(u64::from(answer.retry_ms));
                return Ok(Got::Busy(retry.min(RETRY_MAX)));
            }
            Ok(BlobStatus::Unspecified) | Err(_) => {
                return Err(TransferError::malformed("answer", format!("status {}", answer.status)));
            }
        }
        check_length(answer.bytes, goal, known.as_deref())?;
        if answer.bytes <= SEGMENT_BYTES {
            return self.receive_small(link, goal, answer.bytes).await;
        }
        let assembly = match known {
            Some(known) => known,
            None => {
                let assembly = self.receive_tree(link, goal, answer.bytes).await?;
                self.changed.notify_one();
                assembly
            }
        };
        let before = assembly.missing();
        let got = self.receive_segments(link, &assembly).await;
        *progress = assembly.missing() < before;
        let got = got?;
        link.send(&request(Kind::Done(BlobDone {}))).await?;
        Ok(got)
    }

    /// Receives a blob of one segment, whose bytes follow the answer.
    async fn receive_small<S>(&self, link: &mut Link<S>, goal: &Goal, length: u64) -> Result<Got, TransferError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        link.read_raw(&mut bytes, "a blob").await?;
        let (blobs, blob) = (self.blobs(goal), goal.blob);
        let right = blocking(move || {
            if BlobId::of(&bytes) != blob {
                return Ok(false);
            }
            blobs.put(&bytes, false)?;
            Ok::<_, TransferError>(true)
        })
        .await?;
        if right {
            self.counters.add_received(length);
            return Ok(Got::Here);
        }
        self.counters.add_refused(length);
        Err(TransferError::Forged(format!(
            "other bytes than those of blob {}",
            goal.blob
        )))
    }

    /// Receives the chaining values of the segments: none of them is used unless their root is the blob's id.
    async fn receive_tree<S>(
        &self,
        link: &mut Link<S>,
        goal: &Goal,
        length: u64,
    ) -> Result<Arc<Assembly>, TransferError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let mut left = usize::try_from(SegmentTree::count_for(length)).unwrap_or(usize::MAX);
        let mut values: Vec<[u8; 32]> = Vec::new();
        while left > 0 {
            let page = left.min(VALUES_PER_PAGE);
            let start = values.len();
            values.resize(start + page, [0; 32]);
            let into = values.get_mut(start..).unwrap_or_default();
            link.read_raw(into.as_flattened_mut(), "a blob's chaining values")
                .await?;
            left -= page;
        }
        let (assemblies, blobs, blob) = (self.assemblies.clone(), self.blobs(goal), goal.blob);
        blocking(move || {
            let tree = SegmentTree::from_values(length, values).filter(|tree| tree.root() == blob);
            let Some(tree) = tree else {
                return Err(TransferError::Forged(format!(
                    "chaining values of another blob than {blob}"
                )));
            };
            assemblies.open(&blobs, blob, tree)
        })
        .await
    }

    /// Receives segments: several are asked for at once, and they are checked and written while the next ones arrive.
    async fn receive_segments<S>(&self, link: &mut Link<S>, assembly: &Arc<Assembly>) -> Result<Got, TransferError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let mut claim = Claim::new(assembly.clone());
        let mut checks = VecDeque::new();
        let received = self.receive_all(link, assembly, &mut claim, &mut checks).await;
        // After an error too, what has arrived is kept, and no write is under way once the session is over.
        let mut settled = Ok(Got::Shared);
        for check in checks {
            let outcome = self.settle(check, &mut claim).await;
            settled = match (settled, outcome) {
                (Err(first), _) | (Ok(_), Err(first)) => Err(first),
                (Ok(_), Ok((Written::Whole, _))) => Ok(Got::Here),
                (Ok(got), Ok(_)) => Ok(got),
            };
        }
        let got = match (received, settled) {
            // That the bytes are wrong says more than that the stream broke.
            (Err(_), Err(forged @ TransferError::Forged(_))) => return Err(forged),
            (Err(error), _) | (_, Err(error)) => return Err(error),
            (Ok(true), Ok(_)) => Got::Here,
            (Ok(false), Ok(got)) => got,
        };
        if got == Got::Shared && assembly.missing() == 0 {
            let assembly = assembly.clone();
            if blocking(move || Ok(assembly.finish()?)).await? {
                return Ok(Got::Here);
            }
        }
        Ok(got)
    }

    /// Receives segments until none is left to ask for; returns true if the last missing segment of the blob was written.
    async fn receive_all<S>(
        &self,
        link: &mut Link<S>,
        assembly: &Arc<Assembly>,
        claim: &mut Claim,
        checks: &mut VecDeque<Check>,
    ) -> Result<bool, TransferError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let mut asked: VecDeque<u32> = VecDeque::new();
        let mut spare: Vec<Vec<u8>> = Vec::new();
        let mut whole = false;
        loop {
            if asked.len() < OUTSTANDING_LOW {
                let more = claim.take(OUTSTANDING_MAX - asked.len(), clock::now());
                if !more.is_empty() {
                    asked.extend(&more);
                    link.send(&request(Kind::Segments(BlobSegments { indices: more })))
                        .await?;
                }
            }
            let Some(index) = asked.pop_front() else {
                return Ok(whole);
            };
            let mut bytes = spare.pop().unwrap_or_default();
            bytes.resize(assembly.length(index), 0);
            link.read_raw(&mut bytes, "a segment").await?;
            let target = assembly.clone();
            checks.push_back(tokio::task::spawn_blocking(move || {
                target.write(index, &bytes).map(|kept| (index, kept, bytes))
            }));
            while checks.len() >= CHECKS_MAX || checks.front().is_some_and(JoinHandle::is_finished) {
                let Some(check) = checks.pop_front() else { break };
                let (kept, buffer) = self.settle(check, claim).await?;
                whole |= kept == Written::Whole;
                spare.push(buffer);
            }
        }
    }

    async fn settle(&self, check: Check, claim: &mut Claim) -> Result<(Written, Vec<u8>), TransferError> {
        let (index, kept, bytes) = check.await.map_err(|_| TransferError::Stopping)??;
        if kept == Written::Wrong {
            self.counters.add_refused(bytes.len() as u64);
            return Err(TransferError::Forged(format!(
                "other bytes than those of segment {index}"
            )));
        }
        self.counters.add_received(bytes.len() as u64);
        claim.settle(index);
        Ok((kept, bytes))
    }
}

/// Refuses a wrong length with [`TransferError::Length`] before a byte of the blob moves.
fn check_length(given: u64, goal: &Goal, known: Option<&Assembly>) -> Result<(), TransferError> {
    let expected = known.map(Assembly::bytes).or(goal.bytes);
    if expected.is_some_and(|bytes| bytes != given) {
        return Err(TransferError::Length {
            given,
            limit: expected.unwrap_or(0),
        });
    }
    if given > goal.bytes_max || SegmentTree::count_for(given) > SEGMENTS_MAX {
        return Err(TransferError::Length {
            given,
            limit: goal.bytes_max,
        });
    }
    Ok(())
}

fn request(kind: Kind) -> BlobRequest {
    BlobRequest { kind: Some(kind) }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TransferError> + Send + 'static,
) -> Result<T, TransferError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| TransferError::Stopping)?
}
