//! Two processes with one identity (twins): a copied key, a restored machine, a volume mounted twice.
//!
//! Both would sign contributions on one parent, which is proof of equivocation. So each process makes a random number when it
//! starts, and signs it with the time into its hellos and heartbeats ([`pb::Boot`]). A process that meets its own key with
//! another number reports a twin at once, and signs nothing until the other process has been silent for a while. Twins meet
//! in these ways:
//!
//! - One dials the other: Noise shows the same key at both ends. That alone proves nothing, at neither end: the address may
//!   lead back to the node itself, or to a stranger that passes the node's own bytes back to it. So the dialling node asks
//!   again under a temporary key (probe.rs), which tells each end which run the other one is.
//! - Both are connected to a third node, which hears two numbers in turn from one peer, and tells both (sighting.rs).
//! - Gossip brings a heartbeat under the node's own key.
//!
//! Only the key's own signature counts, so a stranger cannot make a node stop. A number that was signed before this process
//! started belongs to a former run, even if a peer sends it again now. A signature of a run that is not newer than the newest
//! known one of that run is ignored.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use qres_fed::record::Signature;
use qres_wire::clock::unix_ms;
use qres_wire::identity::{self, Identity};
use qres_wire::pb;
use tokio::sync::watch;

use super::sighting::Sightings;

/// Lengths in bytes of a run's number and of its signature.
pub(super) const NONCE_BYTES: usize = 16;
pub(super) const SIGNATURE_BYTES: usize = 64;

/// Other runs of this identity whose newest signature is remembered. Beyond it the one with the oldest signature is
/// forgotten.
const RUNS_MAX: usize = 8;

/// Time after which the error log names a twin again while it is there.
const SAY_AGAIN: Duration = Duration::from_mins(1);

/// Another process that runs with this node's identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "another process runs with this node's identity, met at {address}: this node takes no work and signs nothing until that \
     process is gone. Stop one of the two; a second node needs an identity.key of its own"
)]
pub struct Twin {
    /// The place where the twin was met: its address, or a text that names the peer that told of it.
    pub address: String,
    /// The time since which the twin is known, in Unix ms.
    pub since_unix_ms: u64,
}

fn signed_bytes(nonce: &[u8], signed_unix_ms: u64) -> Vec<u8> {
    [&b"qres/boot/1\n"[..], nonce, &signed_unix_ms.to_le_bytes()].concat()
}

/// The run of this process: its random number, and the identity that signs the number.
pub struct Boot {
    identity: Identity,
    nonce: [u8; NONCE_BYTES],
    started_unix_ms: u64,
}

impl Boot {
    /// Makes a run with a new random number.
    pub fn new(identity: &Identity) -> Self {
        Self {
            identity: identity.clone(),
            nonce: rand::random(),
            started_unix_ms: unix_ms(),
        }
    }

    /// Signs the run's number together with the time `now_unix_ms`.
    pub fn sign(&self, now_unix_ms: u64) -> pb::Boot {
        let signature = self.identity.sign_bytes(&signed_bytes(&self.nonce, now_unix_ms));
        pb::Boot {
            nonce: self.nonce.to_vec(),
            signed_unix_ms: now_unix_ms,
            signature: signature.0.to_vec(),
            address: String::new(),
        }
    }

    /// Returns true if `boot` is another run of the same key, signed by that key since this run started.
    fn is_twin(&self, boot: &pb::Boot) -> bool {
        let other = boot.nonce.len() == NONCE_BYTES && boot.nonce != self.nonce;
        other
            && boot.signed_unix_ms >= self.started_unix_ms
            && <[u8; SIGNATURE_BYTES]>::try_from(boot.signature.as_slice()).is_ok_and(|signature| {
                let bytes = signed_bytes(&boot.nonce, boot.signed_unix_ms);
                identity::verify_bytes(&self.identity.node(), &bytes, &Signature(signature))
            })
    }

    /// Returns true if the answer under this key came from another run. An answer without a number counts as another run,
    /// too, since this build always sends one.
    pub(super) fn is_other(&self, answered: Option<&pb::Boot>) -> bool {
        answered.is_none_or(|boot| boot.nonce != self.nonce)
    }
}

/// The state of the search for twins.
pub struct Twins {
    /// The run of this process.
    pub boot: Boot,
    /// The newest signature time (Unix ms) of each other run, by its number.
    newest: BTreeMap<Vec<u8>, u64>,
    heard: Option<Instant>,
    said: Option<Instant>,
    told: watch::Sender<Option<Twin>>,
    /// Runs that connected peers say they are.
    pub sightings: Sightings,
}

impl Twins {
    /// Starts with no twin known.
    pub fn new(identity: &Identity) -> Self {
        Self {
            boot: Boot::new(identity),
            newest: BTreeMap::new(),
            heard: None,
            said: None,
            told: watch::Sender::new(None),
            sightings: Sightings::default(),
        }
    }

    /// Returns a receiver that holds the [`Twin`] while there is one.
    pub fn subscribe(&self) -> watch::Receiver<Option<Twin>> {
        self.told.subscribe()
    }

    /// Returns true, and notes the signature time, if `boot` is new evidence of a twin.
    pub(super) fn is_news(&mut self, boot: &pb::Boot) -> bool {
        let known = self.newest.get(&boot.nonce);
        if known.is_some_and(|newest| boot.signed_unix_ms <= *newest) || !self.boot.is_twin(boot) {
            return false;
        }
        self.newest.insert(boot.nonce.clone(), boot.signed_unix_ms);
        if self.newest.len() > RUNS_MAX {
            let oldest = self
                .newest
                .iter()
                .min_by_key(|(_, at)| **at)
                .map(|(nonce, _)| nonce.clone());
            self.newest.remove(&oldest.unwrap_or_default());
        }
        true
    }

    /// Notes that a twin was met at an address. Callers are told; the error log names a new twin at once, and then again
    /// after each [`SAY_AGAIN`].
    pub fn met(&mut self, address: &str, silence: Duration, now: Instant) {
        let first = self.heard.is_none();
        self.heard = Some(now);
        if first {
            self.told.send_replace(Some(Twin {
                address: address.to_owned(),
                since_unix_ms: unix_ms(),
            }));
        }
        if first
            || self
                .said
                .is_none_or(|at| now.saturating_duration_since(at) >= SAY_AGAIN)
        {
            self.said = Some(now);
            tracing::error!(
                "another process runs with this node's identity, met at {address}: this node signs nothing until that process \
                 has been silent for {} s. Stop one of the two; for a second node let it make its own identity.key in a data \
                 directory of its own",
                silence.as_secs_f64()
            );
        }
    }

    /// Declares the twin gone once it has been silent for longer than `silence`.
    pub(super) fn tick(&mut self, silence: Duration, now: Instant) {
        if self.heard.is_some_and(|at| now.saturating_duration_since(at) > silence) {
            self.heard = None;
            self.told.send_replace(None);
            tracing::warn!(
                "the other process with this node's identity has been silent for {} s: this node signs again",
                silence.as_secs_f64()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use qres_wire::clock;

    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_twin_is_another_run_that_the_same_key_signed_since_this_one_started() {
        let me = Identity::ephemeral();
        let mut twins = Twins::new(&me);
        let start = twins.boot.started_unix_ms;
        let (other, stranger) = (Boot::new(&me), Boot::new(&Identity::ephemeral()));
        assert!(!twins.is_news(&twins.boot.sign(start)), "this very run");
        assert!(!twins.is_news(&other.sign(start - 1)), "a former run's, replayed");
        assert!(!twins.is_news(&stranger.sign(start + 5)), "another key's word");
        let mut bent = other.sign(start + 5);
        bent.signed_unix_ms += 1;
        assert!(!twins.is_news(&bent));
        bent.nonce.push(0);
        assert!(!twins.is_news(&bent));
        assert!(twins.is_news(&other.sign(start)));
        assert!(twins.is_news(&other.sign(start + 5)));
        assert!(!twins.is_news(&other.sign(start + 5)), "old news");
        assert!(!twins.is_news(&other.sign(start + 4)));
        for n in 0..20 {
            assert!(twins.is_news(&Boot::new(&me).sign(start + 10 + n)));
        }
        assert_eq!(twins.newest.len(), RUNS_MAX);
    }

    #[test]
    fn a_twin_is_told_of_until_it_has_been_silent_long_enough() {
        let mut twins = Twins::new(&Identity::ephemeral());
        let told = twins.subscribe();
        let now = clock::now();
        twins.met("/ip4/192.0.2.1/tcp/4001", seconds(15), now);
        twins.met("/ip4/192.0.2.1/tcp/4001", seconds(15), now + seconds(10));
        twins.tick(seconds(15), now + seconds(25));
        assert_eq!(told.borrow().as_ref().unwrap().address, "/ip4/192.0.2.1/tcp/4001");
        twins.tick(seconds(15), now + seconds(26));
        assert_eq!(*told.borrow(), None);
    }
}
