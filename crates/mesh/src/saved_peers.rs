//! Routing hints: the peers that this node knew, kept across restarts, so that a swarm finds together when its bootstrap node
//! is gone.
//!
//! The file is a text: a header, a line for each peer (`peer <id> <last good, Unix ms> <multiaddr>...`), and a line for each
//! ban (`ban <id> <until, Unix ms> <reason>`). A line that cannot be read is skipped, since the node can start without any
//! hint.

#![warn(clippy::indexing_slicing, reason = "this file reads foreign bytes")]

use std::fmt::Write as _;
use std::path::Path;

use libp2p::{Multiaddr, PeerId};
use qres_fed::record::is_printable;
use qres_files::private;

use super::address::{self, ADDRESSES_MAX};
use super::peer_table::{BANS_MAX, Ban, PeerTable};

/// Peers kept in the file: those that were good last.
const PEERS_MAX: usize = 256;

/// Largest file in bytes that is read. The file has at most 512 lines: [`PEERS_MAX`] peers with up to [`ADDRESSES_MAX`]
/// addresses each, and [`BANS_MAX`] bans.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

const HEADER: &str = "qres-hints 1";

/// A peer to dial after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedPeer {
    /// The peer's id.
    pub peer: PeerId,
    /// The last time at which the peer was connected, in Unix ms.
    pub last_good_unix_ms: u64,
    /// Addresses to dial, best first.
    pub addresses: Vec<Multiaddr>,
}

/// The contents of the file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct SavedPeers {
    /// Peers, those that were good last first.
    pub peers: Vec<SavedPeer>,
    /// Banned peers, each with its ban.
    pub bans: Vec<(PeerId, Ban)>,
}

impl SavedPeers {
    /// Reads the file. A missing file counts as empty; so does an unreadable one, with a warning in the log.
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

    /// Parses the file's text and leaves out the lines that cannot be read.
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

    /// Collects the peers and bans of the table that are worth keeping.
    pub fn of(table: &PeerTable) -> Self {
        let known = table
            .iter()
            .filter(|p| p.last_good_unix_ms > 0 && !p.addresses.is_empty());
        let mut peers: Vec<SavedPeer> = known
            .map(|p| SavedPeer {
                peer: p.id,
                last_good_unix_ms: p.last_good_unix_ms,
                addresses: p.addresses.clone(),
            })
            .collect();
        peers.sort_by_key(|h| (std::cmp::Reverse(h.last_good_unix_ms), h.peer));
        peers.truncate(PEERS_MAX);
        let bans = table.bans().map(|(p, b)| (*p, b.clone())).collect();
        Self { peers, bans }
    }

    /// Returns true if the peer is among the saved ones.
    pub(super) fn has(&self, peer: &PeerId) -> bool {
        self.peers.iter().any(|hint| hint.peer == *peer)
    }

    /// Returns the text of the file.
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

    /// Replaces the file, whole or not at all. Blocks.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        private::replace(path, self.render().as_bytes())
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let bytes = private::read(path, FILE_BYTES_MAX)?;
    String::from_utf8(bytes).map_err(std::io::Error::other)
}

fn parse_peer<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<SavedPeer> {
    let peer = words.next()?.parse().ok()?;
    let last_good_unix_ms = words.next()?.parse().ok()?;
    let addresses: Vec<Multiaddr> = words
        .filter_map(|w| w.parse().ok())
        .filter(address::is_dialable)
        .take(ADDRESSES_MAX)
        .collect();
    (!addresses.is_empty()).then_some(SavedPeer {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_read_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hints");
        assert_eq!(SavedPeers::load(&path), SavedPeers::default());
        let hints = SavedPeers {
            peers: vec![SavedPeer {
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
        assert_eq!(SavedPeers::load(&path), hints);
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
        let hints = SavedPeers::parse(&text);
        assert_eq!((hints.peers.len(), hints.bans.len()), (1, 0));
        assert_eq!(hints.peers[0].addresses.len(), 1);
        assert_eq!(SavedPeers::parse("qres-hints 2\npeer"), SavedPeers::default());
        let flood = format!(
            "{HEADER}\n{}",
            format!("peer {peer} 5 /ip4/1.2.3.4/tcp/1\n").repeat(1000)
        );
        assert_eq!(SavedPeers::parse(&flood).peers.len(), PEERS_MAX);
    }
}
