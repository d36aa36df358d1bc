//! `/qres/reach/10`: a node asks a peer to dial it back (proto/qres/mesh/v1/reach.proto). This file has the messages, their
//! limits, and what both sides remember; `actor/reach.rs` has the work.

#![warn(clippy::indexing_slicing, reason = "this file reads foreign bytes")]

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::request_response::{self, OutboundRequestId, ResponseChannel};
use libp2p::{PeerId, StreamProtocol};
use prost::Message;
use qres_fed::id::NodeId;
use qres_fed::record::is_printable;
pub use qres_wire::pb::{ReachOutcome, ReachRequest, ReachResponse, ReachedAddress};
use tokio::sync::mpsc;

use super::command::Reply;
use super::inspection::{AddressReach, ReachAnswer, ReachReport};

/// Addresses of one asker that are dialled, the best first: TCP and QUIC at four IP addresses.
pub const ADDRESSES_MAX: usize = 8;

/// Askers for whom this node dials at the same time. Each costs up to [`ADDRESSES_MAX`] sockets for [`DIAL_MAX`].
pub const AT_ONCE_MAX: usize = 4;

/// Time between two requests of one peer that are answered by dials. A person who mends a firewall needs longer.
pub const AGAIN_AFTER: Duration = Duration::from_mins(1);

/// Deadline for one dial back. All addresses are dialled at the same time.
pub const DIAL_MAX: Duration = Duration::from_secs(6);

/// Deadline for an answer, on both sides: the dials and the way there and back.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// Questions of this node's callers that wait for answers at the same time.
pub const QUESTIONS_MAX: usize = 8;

const REQUEST_BYTES_MAX: u64 = 64;
const RESPONSE_BYTES_MAX: u64 = 8 * 1024;
const ADDRESS_BYTES_MAX: usize = 512;
/// Longest reason of a failed dial, in bytes.
pub const REASON_BYTES_MAX: usize = 256;

/// The codec that reads and writes one request and one answer.
#[derive(Clone, Default)]
pub struct Codec;

/// Makes the behaviour that carries the protocol.
pub fn behaviour() -> request_response::Behaviour<Codec> {
    request_response::Behaviour::with_codec(
        Codec,
        [(
            StreamProtocol::new("/qres/reach/10"),
            request_response::ProtocolSupport::Full,
        )],
        request_response::Config::default()
            .with_request_timeout(ANSWER_MAX)
            .with_max_concurrent_streams(2),
    )
}

async fn read<T: AsyncRead + Unpin + Send>(io: &mut T, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io.take(bytes_max + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > bytes_max {
        return Err(invalid(format!("more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

fn invalid(problem: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = ReachRequest;
    type Response = ReachResponse;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<ReachRequest>
    where
        T: AsyncRead + Unpin + Send,
    {
        let bytes = read(io, REQUEST_BYTES_MAX).await?;
        ReachRequest::decode(bytes.as_slice()).map_err(invalid)
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<ReachResponse>
    where
        T: AsyncRead + Unpin + Send,
    {
        let bytes = read(io, RESPONSE_BYTES_MAX).await?;
        parse(&bytes).map_err(invalid)
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, request: ReachRequest) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&request.encode_to_vec()).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, response: ReachResponse) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&response.encode_to_vec()).await
    }
}

/// Decodes an answer and checks its limits. Its texts are shown to people, so a text that is not printable is refused.
pub fn parse(bytes: &[u8]) -> Result<ReachResponse, String> {
    if bytes.len() as u64 > RESPONSE_BYTES_MAX {
        return Err(format!("reach: more than {RESPONSE_BYTES_MAX} bytes"));
    }
    let response = ReachResponse::decode(bytes).map_err(|error| format!("reach: {error}"))?;
    // A connection that closes ends its streams, too: an empty answer is none.
    if response.outcome() == ReachOutcome::Unspecified {
        return Err("reach.outcome is not set".to_owned());
    }
    if response.addresses.len() > ADDRESSES_MAX {
        let count = response.addresses.len();
        return Err(format!("reach.addresses: {count} of them, at most {ADDRESSES_MAX}"));
    }
    for reached in &response.addresses {
        for (name, text, limit) in [
            ("address", &reached.address, ADDRESS_BYTES_MAX),
            ("reason", &reached.reason, REASON_BYTES_MAX),
        ] {
            if text.len() > limit || !text.chars().all(is_printable) {
                return Err(format!("reach.addresses.{name}: at most {limit} printable bytes"));
            }
        }
    }
    Ok(response)
}

/// Returns the answer that this node dials no address at the moment.
pub fn busy() -> ReachResponse {
    ReachResponse {
        outcome: ReachOutcome::Busy.into(),
        addresses: vec![],
    }
}

/// An answer that is ready to be sent, and the channel to its asker.
pub type Ready = (ResponseChannel<ReachResponse>, ReachResponse);

/// Questions of a caller that wait for peers' answers.
struct Question {
    waiting: BTreeMap<OutboundRequestId, NodeId>,
    reports: Vec<ReachReport>,
    reply: Reply<Vec<ReachReport>>,
}

/// The questions that this node asks, and the dials that it makes for others.
pub struct Reaches {
    questions: Vec<Question>,
    /// Askers for whom this node dials now.
    pub(super) under_way: usize,
    /// The channel for the answers to askers.
    pub(super) ready: mpsc::Sender<Ready>,
}

impl Reaches {
    /// Starts with nothing asked. Returns the receiver of the answers to askers, too.
    pub fn new() -> (Self, mpsc::Receiver<Ready>) {
        let (ready, receiver) = mpsc::channel(AT_ONCE_MAX);
        let reaches = Self {
            questions: vec![],
            under_way: 0,
            ready,
        };
        (reaches, receiver)
    }

    /// Returns true if no further question may wait for answers.
    pub fn is_full(&self) -> bool {
        self.questions.len() >= QUESTIONS_MAX
    }

    /// Notes that these peers were asked. Without peers the answer is sent at once.
    pub fn asked(&mut self, waiting: BTreeMap<OutboundRequestId, NodeId>, reply: Reply<Vec<ReachReport>>) {
        self.questions.push(Question {
            waiting,
            reports: vec![],
            reply,
        });
        self.finish();
    }

    /// Notes a peer's answer, and tells the caller if it was the last one that the caller waits for.
    pub fn answered(&mut self, request: OutboundRequestId, answer: &ReachAnswer) {
        for question in &mut self.questions {
            if let Some(node) = question.waiting.remove(&request) {
                question.reports.push(ReachReport {
                    node,
                    answer: answer.clone(),
                });
            }
        }
        self.finish();
    }

    fn finish(&mut self) {
        for question in self.questions.extract_if(.., |question| question.waiting.is_empty()) {
            // Sending fails only when the caller no longer waits.
            drop(question.reply.send(Ok(question.reports)));
        }
    }
}

/// Returns true if a peer that was answered at the time `last` may be answered again. The peer gets this node's dials at most
/// once in [`AGAIN_AFTER`], and [`AT_ONCE_MAX`] peers get them at the same time.
pub fn may_dial(last: Option<Instant>, under_way: usize, now: Instant) -> bool {
    under_way < AT_ONCE_MAX && last.is_none_or(|last| now.saturating_duration_since(last) >= AGAIN_AFTER)
}

/// Converts a peer's answer. `announced` are the addresses that this node's operator announced.
pub fn answer(response: &ReachResponse) -> ReachAnswer {
    if response.outcome() == ReachOutcome::Busy {
        return ReachAnswer::Busy;
    }
    let each = |reached: &ReachedAddress| AddressReach {
        address: reached.address.clone(),
        reached: reached.reached,
        reason: reached.reason.clone(),
    };
    ReachAnswer::Dialled(response.addresses.iter().map(each).collect())
}

/// Sorts peers by whom to ask first: those not asked lately, then those that see this node from farther away, then those asked
/// longest ago. Returns at most `most`.
pub fn choose(mut peers: Vec<(PeerId, impl Ord, Option<Instant>)>, most: usize, now: Instant) -> Vec<PeerId> {
    let lately = |asked: &Option<Instant>| asked.is_some_and(|at| now.saturating_duration_since(at) < AGAIN_AFTER);
    peers.sort_by(|(_, far_a, asked_a), (_, far_b, asked_b)| {
        (lately(asked_a), far_b, asked_a).cmp(&(lately(asked_b), far_a, asked_b))
    });
    peers.into_iter().take(most).map(|(peer, ..)| peer).collect()
}

#[cfg(test)]
mod tests {
    use qres_wire::clock;

    use super::*;

    fn dialled(address: &str, reason: &str, count: usize) -> ReachResponse {
        let reached = ReachedAddress {
            address: address.to_owned(),
            reached: false,
            reason: reason.to_owned(),
        };
        ReachResponse {
            outcome: ReachOutcome::Dialled.into(),
            addresses: vec![reached; count],
        }
    }

    #[test]
    fn an_answer_of_the_largest_size_is_read_and_hostile_ones_are_refused_by_name() {
        let largest = dialled(&"a".repeat(512), &"r".repeat(256), ADDRESSES_MAX);
        assert_eq!(parse(&largest.encode_to_vec()), Ok(largest));
        assert_eq!(parse(&busy().encode_to_vec()), Ok(busy()));
        for (bytes, name) in [
            (vec![], "outcome"),
            (vec![0xff; 9], "reach"),
            (vec![0; 9000], "8192"),
            (dialled("a", "", 9).encode_to_vec(), "addresses: 9"),
            (dialled(&"a".repeat(513), "", 1).encode_to_vec(), "address:"),
            (dialled("a\u{1b}[2J", "", 1).encode_to_vec(), "address:"),
            (dialled("a", "x\ny", 1).encode_to_vec(), "reason:"),
            (dialled("a", &"x".repeat(257), 1).encode_to_vec(), "reason:"),
        ] {
            let problem = parse(&bytes).unwrap_err();
            assert!(problem.contains(name), "{problem}");
        }
    }

    #[test]
    fn a_peer_is_dialled_back_once_a_minute_and_few_at_once() {
        let now = clock::now();
        assert!(may_dial(None, 0, now) && may_dial(None, AT_ONCE_MAX - 1, now));
        assert!(!may_dial(None, AT_ONCE_MAX, now));
        let last = Some(now);
        assert!(!may_dial(last, 0, now + AGAIN_AFTER - Duration::from_millis(1)));
        assert!(may_dial(last, 0, now + AGAIN_AFTER));
    }

    #[test]
    fn who_was_not_asked_lately_and_sees_farthest_is_asked_first() {
        let now = clock::now();
        let [a, b, c, d] = [(); 4].map(|()| PeerId::random());
        let peers = vec![(a, 0, None), (b, 2, Some(now)), (c, 1, None), (d, 1, Some(now))];
        assert_eq!(choose(peers.clone(), 3, now), [c, a, b]);
        assert_eq!(choose(peers, 9, now + AGAIN_AFTER), [b, c, d, a]);
    }
}
