//! Routing hints: whom this node knew, kept across restarts, so that a swarm finds together when the bootstrap node is gone.
//!
//! A text file: a header, then a line a peer (`peer <id> <last good, Unix ms> <multiaddr>...`) and a line a ban (`ban <id>
//! <until, Unix ms> <reason>`). A line that cannot be read is skipped: hints are only hints.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use libp2p::{Multiaddr, PeerId};
use qres_fed::record::is_printable;

use super::actor::Actor;
use super::address::{self, ADDRESSES_MAX};
use super::peers::{BANS_MAX, Ban, Book};
use qres_files::private;
use qres_wire::clock::unix_ms;

/// Peers kept: the ones that were good last.
const PEERS_MAX: usize = 256;

/// A new peer is written at once while the file holds fewer: a node that ends before the next write would find nobody again. Above
/// that there are enough to begin with, and a large swarm's comings and goings are not worth a write each.
const PEERS_FEW: usize = 16;

/// A file above this is not read: 512 lines of at most 8 addresses have less.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

const HEADER: &str = "qres-hints 1";

/// A peer to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// Who.
    pub peer: PeerId,
    /// When it was last connected, Unix ms.
    pub last_good_unix_ms: u64,
    /// Where.
    pub addresses: Vec<Multiaddr>,
}

/// What the file holds.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Hints {
    /// Peers, those that were good last first.
    pub peers: Vec<Hint>,
    /// Bans.
    pub bans: Vec<(PeerId, Ban)>,
}

impl Hints {
    /// Reads the file; an unreadable one counts as empty, and is said so in the log.
    pub fn load(path: &Path) -> Self {
        match read(path) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "routing hints cannot be read: starting without");
                Self::default()
            }
        }
    }

    /// Reads its text; what cannot be read is left out.
    pub fn parse(text: &str) -> Self {
        let mut hints = Self::default();
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) {
            return hints;
        }
        for line in lines {
            let mut words = line.split(' ');
            match words.next() {
                Some("peer") if hints.peers.len() < PEERS_MAX => hints.peers.extend(parse_peer(words)),
                Some("ban") if hints.bans.len() < BANS_MAX => hints.bans.extend(parse_ban(words)),
                _ => {}
            }
        }
        hints
    }

    /// What is worth keeping of the book.
    pub fn of(book: &Book) -> Self {
        let known = book
            .iter()
            .filter(|p| p.last_good_unix_ms > 0 && !p.addresses.is_empty());
        let mut peers: Vec<Hint> = known
            .map(|p| Hint {
                peer: p.id,
                last_good_unix_ms: p.last_good_unix_ms,
                addresses: p.addresses.clone(),
            })
            .collect();
        peers.sort_by_key(|h| (std::cmp::Reverse(h.last_good_unix_ms), h.peer));
        peers.truncate(PEERS_MAX);
        let bans = book.bans().map(|(p, b)| (*p, b.clone())).collect();
        Self { peers, bans }
    }

    fn has(&self, peer: &PeerId) -> bool {
        self.peers.iter().any(|hint| hint.peer == *peer)
    }

    /// Its text.
    pub fn render(&self) -> String {
        let mut text = format!("{HEADER}\n");
        for hint in &self.peers {
            // Writing to a String cannot fail.
            let _ = write!(text, "peer {} {}", hint.peer, hint.last_good_unix_ms);
            for address in &hint.addresses {
                let _ = write!(text, " {address}");
            }
            text.push('\n');
        }
        for (peer, ban) in &self.bans {
            let reason: String = ban.reason.chars().filter(|c| is_printable(*c)).collect();
            let _ = writeln!(text, "ban {peer} {} {reason}", ban.until_unix_ms);
        }
        text
    }

    /// Writes the file: whole, or not at all. Blocks.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        private::replace(path, self.render().as_bytes())
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let bytes = private::read(path, FILE_BYTES_MAX)?;
    String::from_utf8(bytes).map_err(std::io::Error::other)
}

fn parse_peer<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<Hint> {
    let peer = words.next()?.parse().ok()?;
    let last_good_unix_ms = words.next()?.parse().ok()?;
    let addresses: Vec<Multiaddr> = words
        .filter_map(|w| w.parse().ok())
        .filter(address::is_dialable)
        .take(ADDRESSES_MAX)
        .collect();
    (!addresses.is_empty()).then_some(Hint {
        peer,
        last_good_unix_ms,
        addresses,
    })
}

fn parse_ban<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<(PeerId, Ban)> {
    let peer = words.next()?.parse().ok()?;
    let until_unix_ms = words.next()?.parse().ok()?;
    let reason = words.collect::<Vec<_>>().join(" ");
    Some((peer, Ban { reason, until_unix_ms }))
}

impl Actor {
    /// Takes the file's hints into the book.
    pub(super) fn take_hints(&mut self, hints: Hints, now: Instant) {
        let wall = unix_ms();
        for hint in hints.peers.iter().filter(|h| h.peer != self.own) {
            if let Some(peer) = self.book.entry(hint.peer, now) {
                peer.addresses.clone_from(&hint.addresses);
                peer.last_good_unix_ms = hint.last_good_unix_ms.min(wall);
            }
        }
        for (id, ban) in hints.bans.into_iter().filter(|(_, b)| b.until_unix_ms > wall) {
            self.swarm.behaviour_mut().blocked.block_peer(id);
            self.book.entry(id, now);
            self.book.ban(id, ban);
        }
    }

    /// Due work: writes the hints off this task, when they have changed and the last write is a while ago, and at once for one of the
    /// first peers.
    pub(super) fn tick_hints(&mut self, now: Instant) {
        let busy = self.hints_writer.as_ref().is_some_and(|w| !w.is_finished());
        if busy {
            return;
        }
        let due = now.saturating_duration_since(self.hints_checked) >= self.config.timings.hints_save;
        if !due && self.hints_saved.peers.len() >= PEERS_FEW {
            return;
        }
        let hints = Hints::of(&self.book);
        let has_new = hints.peers.iter().any(|hint| !self.hints_saved.has(&hint.peer));
        if !due && !has_new {
            return;
        }
        self.hints_checked = now;
        if hints == self.hints_saved {
            return;
        }
        self.hints_saved = hints.clone();
        let path = self.config.hints.clone();
        self.hints_writer = Some(tokio::task::spawn_blocking(move || save(&hints, &path)));
    }

    /// Writes them a last time.
    pub(super) async fn finish_hints(&mut self) {
        if let Some(writer) = self.hints_writer.take() {
            // A panic in the writer is not worth a panic here: the file was replaced whole or not at all.
            drop(writer.await);
        }
        let hints = Hints::of(&self.book);
        if hints != self.hints_saved {
            let path = self.config.hints.clone();
            drop(tokio::task::spawn_blocking(move || save(&hints, &path)).await);
        }
    }
}

fn save(hints: &Hints, path: &Path) {
    if let Err(error) = hints.save(path) {
        tracing::warn!(path = %path.display(), %error, "routing hints cannot be written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_read_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hints");
        assert_eq!(Hints::load(&path), Hints::default());
        let hints = Hints {
            peers: vec![Hint {
                peer: PeerId::random(),
                last_good_unix_ms: 1234,
                addresses: vec!["/ip4/10.0.0.1/tcp/4001".parse().unwrap()],
            }],
            bans: vec![(
                PeerId::random(),
                Ban {
                    reason: "three forged blobs".to_owned(),
                    until_unix_ms: 99,
                },
            )],
        };
        hints.save(&path).unwrap();
        assert_eq!(Hints::load(&path), hints);
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }

    #[test]
    fn what_cannot_be_read_is_skipped() {
        let peer = PeerId::random();
        let text = format!(
            "{HEADER}\npeer\npeer x 1 /ip4/1.2.3.4/tcp/1\npeer {peer} z /ip4/1.2.3.4/tcp/1\npeer {peer} 1 /ip4/1.2.3.4\n\
             frob\n\nban {peer}\npeer {peer} 5 /ip4/1.2.3.4/tcp/1 rubbish\n"
        );
        let hints = Hints::parse(&text);
        assert_eq!((hints.peers.len(), hints.bans.len()), (1, 0));
        assert_eq!(hints.peers[0].addresses.len(), 1);
        assert_eq!(Hints::parse("qres-hints 2\npeer"), Hints::default());
        let flood = format!(
            "{HEADER}\n{}",
            format!("peer {peer} 5 /ip4/1.2.3.4/tcp/1\n").repeat(1000)
        );
        assert_eq!(Hints::parse(&flood).peers.len(), PEERS_MAX);
    }
}
