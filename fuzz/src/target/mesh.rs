//! Bytes that are read before a peer is believed, and the file of peers known from before.

use prost::Message;
use qres_fed::record::is_printable;
use qres_mesh::{hello, reach, saved_peers};
use qres_wire::pb as wire;

use crate::Target;

/// Reads a hello, in which a peer names its network, its versions and its software.
pub const HELLO: Target = Target {
    name: "hello",
    run: |_, data| {
        let theirs = match hello::parse(data) {
            Ok(theirs) => theirs,
            Err(problem) => {
                assert!(problem.chars().all(is_printable), "{problem:?}");
                return false;
            }
        };
        assert_eq!(hello::parse(&theirs.encode_to_vec()).as_ref(), Ok(&theirs));
        for mismatch in [
            hello::compare(&ours(), &theirs),
            hello::compare(&theirs, &ours()),
            hello::check_identify(&ours(), &theirs.software),
        ] {
            if let Err(mismatch) = mismatch {
                assert!(mismatch.text.chars().all(is_printable), "{mismatch:?}");
            }
        }
        true
    },
    seeds: |_| {
        let mut leaving = ours();
        leaving.network = "test".into();
        leaving.major_max = 300;
        leaving.goodbye = Some(hello::goodbye(wire::GoodbyeCode::Busy, "full"));
        [ours(), leaving].map(|hello| hello.encode_to_vec()).into()
    },
};

/// Reads a peer's answer to the question for a dial back, whose texts are shown to people.
pub const REACH: Target = Target {
    name: "reach",
    run: |_, data| {
        let answer = match reach::parse(data) {
            Ok(answer) => answer,
            Err(problem) => {
                assert!(problem.chars().all(is_printable), "{problem:?}");
                return false;
            }
        };
        assert_eq!(reach::parse(&answer.encode_to_vec()).as_ref(), Ok(&answer));
        let texts = answer
            .addresses
            .iter()
            .flat_map(|reached| [&reached.address, &reached.reason]);
        assert!(texts.into_iter().all(|text| text.chars().all(is_printable)));
        true
    },
    seeds: |_| {
        let reached = |address: &str, reason: &str| wire::ReachedAddress {
            address: address.into(),
            reached: reason.is_empty(),
            reason: reason.into(),
        };
        let dialled = wire::ReachResponse {
            outcome: wire::ReachOutcome::Dialled.into(),
            addresses: vec![
                reached("/ip4/203.0.113.7/tcp/4001", ""),
                reached("/ip4/203.0.113.7/udp/4001/quic-v1", "no answer within 6 s"),
            ],
        };
        [reach::busy(), dialled].map(|answer| answer.encode_to_vec()).into()
    },
};

/// Reads the file of routing hints.
pub const HINTS: Target = Target {
    name: "hints",
    run: |_, data| {
        let Ok(text) = std::str::from_utf8(data) else {
            return false;
        };
        let read = saved_peers::SavedPeers::parse(text);
        let written = read.render();
        let again = saved_peers::SavedPeers::parse(&written);
        assert_eq!(again.peers, read.peers);
        assert_eq!(again.render(), written, "what was written is read as it was");
        !read.peers.is_empty() || !read.bans.is_empty()
    },
    seeds: |_| {
        let peer = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";
        vec![
            format!(
                "qres-hints 1\npeer {peer} 1700000000000 /ip4/203.0.113.7/tcp/4001 /dns/a.example/udp/4001/quic-v1\n\
                 ban {peer} 1700000000000 too many faults (score -81.0), the last: sent nonsense\n"
            )
            .into_bytes(),
        ]
    },
};

fn ours() -> wire::Hello {
    wire::Hello {
        network: "qres".into(),
        major_min: 10,
        major_max: 10,
        software: "qres-daemon/0.1.0".into(),
        protocol: "10.0".into(),
        goodbye: None,
        bootstrap: false,
        ..Default::default()
    }
}
