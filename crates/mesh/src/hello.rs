//! `/qres/hello/0`: the first exchange on a connection; before it nothing else from a peer is believed. The format is frozen
//! (proto/qres/mesh/v1/hello.proto).

#![warn(clippy::indexing_slicing, reason = "this file reads foreign bytes")]

use std::io;
use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::{StreamProtocol, request_response};
use prost::Message;
use qres_fed::record::is_printable;

use super::limits::{TWIN_ADDRESS_BYTES_MAX, TWINS_MAX};
pub use qres_wire::pb::{Goodbye, GoodbyeCode, Hello};

/// The major version of the swarm protocol.
pub const MAJOR: u32 = 10;

/// The version of the swarm protocol as people see it.
pub const PROTOCOL: &str = "10.0";

/// Largest encoding of a hello, and largest texts in it, in bytes.
const HELLO_BYTES_MAX: u64 = 4096;
const NETWORK_BYTES_MAX: usize = 64;
pub(super) const SOFTWARE_BYTES_MAX: usize = 128;
const PROTOCOL_BYTES_MAX: usize = 32;
const TEXT_BYTES_MAX: usize = 512;

/// The codec that reads and writes one hello in each direction.
#[derive(Clone, Default)]
pub struct Codec;

/// Makes the behaviour that carries hellos; an exchange that takes longer than `timeout` fails.
pub fn behaviour(timeout: Duration) -> request_response::Behaviour<Codec> {
    request_response::Behaviour::with_codec(
        Codec,
        [(
            StreamProtocol::new("/qres/hello/0"),
            request_response::ProtocolSupport::Full,
        )],
        request_response::Config::default()
            .with_request_timeout(timeout)
            .with_max_concurrent_streams(8),
    )
}

async fn read<T: AsyncRead + Unpin + Send>(io: &mut T) -> io::Result<Hello> {
    let mut bytes = Vec::new();
    io.take(HELLO_BYTES_MAX + 1).read_to_end(&mut bytes).await?;
    // A connection that closes ends its streams, too. Without this check an empty stream would count as a hello of a network
    // without a name, and the peer would be refused for minutes.
    if bytes.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    parse(&bytes).map_err(|problem| io::Error::new(io::ErrorKind::InvalidData, problem))
}

async fn write<T: AsyncWrite + Unpin + Send>(io: &mut T, hello: &Hello) -> io::Result<()> {
    io.write_all(&hello.encode_to_vec()).await
}

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Hello;
    type Response = Hello;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Hello>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Hello>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io).await
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, hello: Hello) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &hello).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, hello: Hello) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &hello).await
    }
}

/// Decodes a hello and checks its limits. Its texts go into logs and peer lists, so a text that is not printable is refused.
pub fn parse(bytes: &[u8]) -> Result<Hello, String> {
    if bytes.len() as u64 > HELLO_BYTES_MAX {
        return Err(format!("hello of more than {HELLO_BYTES_MAX} bytes"));
    }
    let hello = Hello::decode(bytes).map_err(|e| format!("hello: {e}"))?;
    let goodbye = hello.goodbye.as_ref().map_or("", |g| g.text.as_str());
    for (name, text, limit) in [
        ("network", hello.network.as_str(), NETWORK_BYTES_MAX),
        ("software", hello.software.as_str(), SOFTWARE_BYTES_MAX),
        ("protocol", hello.protocol.as_str(), PROTOCOL_BYTES_MAX),
        ("goodbye.text", goodbye, TEXT_BYTES_MAX),
    ] {
        if text.len() > limit {
            return Err(format!("hello.{name} has {} bytes, at most {limit}", text.len()));
        }
        if !text.chars().all(is_printable) {
            return Err(format!("hello.{name} has characters that are not printable"));
        }
    }
    if hello.twins.len() > TWINS_MAX {
        return Err(format!(
            "hello.twins: {} of them, at most {}",
            hello.twins.len(),
            TWINS_MAX
        ));
    }
    for twin in &hello.twins {
        let printable = twin.address.chars().all(is_printable);
        if twin.address.len() > TWIN_ADDRESS_BYTES_MAX || !printable {
            return Err(format!(
                "hello.twins.address: at most {} printable bytes",
                TWIN_ADDRESS_BYTES_MAX
            ));
        }
    }
    if hello.major_min > hello.major_max {
        return Err(format!(
            "hello.major_min {} > major_max {}",
            hello.major_min, hello.major_max
        ));
    }
    Ok(hello)
}

/// Makes a [`Goodbye`], with its text cut to 512 bytes.
pub fn goodbye(code: GoodbyeCode, text: &str) -> Goodbye {
    Goodbye {
        code: code.into(),
        text: cut(text, TEXT_BYTES_MAX),
    }
}

/// Returns the start of a text, at most `limit` bytes, without characters that are not printable.
pub fn cut(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for c in text.chars().filter(|c| is_printable(*c)) {
        if out.len() + c.len_utf8() > limit {
            break;
        }
        out.push(c);
    }
    out
}

/// The reason why two nodes cannot talk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The reason as a code, for the other side.
    pub code: GoodbyeCode,
    /// The reason as a text, for people on this side.
    pub text: String,
}

fn majors(hello: &Hello) -> String {
    if hello.major_min == hello.major_max {
        hello.major_min.to_string()
    } else {
        format!("{} to {}", hello.major_min, hello.major_max)
    }
}

/// Checks that two nodes can talk: same network, and a common major version. The text of a [`Mismatch`] is the view of
/// `ours`.
pub fn compare(ours: &Hello, theirs: &Hello) -> Result<(), Mismatch> {
    if ours.network != theirs.network {
        return Err(Mismatch {
            code: GoodbyeCode::Network,
            text: format!(
                "it belongs to network {:?}, this node to {:?}: nodes of two networks do not talk",
                theirs.network, ours.network
            ),
        });
    }
    let common = ours.major_min.max(theirs.major_min) <= ours.major_max.min(theirs.major_max);
    if !common {
        let remedy = if theirs.major_min > ours.major_max {
            "upgrade this node"
        } else {
            "its operator has to upgrade it"
        };
        return Err(Mismatch {
            code: GoodbyeCode::Version,
            text: format!(
                "version mismatch: it speaks swarm protocol {} ({}), this node {} ({}): {remedy}",
                majors(theirs),
                theirs.software,
                majors(ours),
                ours.software
            ),
        });
    }
    Ok(())
}

/// Checks the version a second time, on identify's `protocol_version`: `qres/<major>.<minor>`.
pub fn check_identify(ours: &Hello, protocol_version: &str) -> Result<(), Mismatch> {
    let major = protocol_version
        .strip_prefix("qres/")
        .and_then(|v| v.split('.').next())
        .and_then(|major| major.parse::<u32>().ok());
    match major {
        Some(major) if (ours.major_min..=ours.major_max).contains(&major) => Ok(()),
        _ => Err(Mismatch {
            code: GoodbyeCode::Version,
            text: format!(
                "version mismatch: it identifies as {:?}, this node speaks swarm protocol {}",
                cut(protocol_version, PROTOCOL_BYTES_MAX),
                majors(ours)
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use qres_wire::pb;

    use super::*;

    fn hello(network: &str, majors: (u32, u32)) -> Hello {
        Hello {
            network: network.to_owned(),
            major_min: majors.0,
            major_max: majors.1,
            software: "qres-daemon/0.1.0".to_owned(),
            protocol: "10.0".to_owned(),
            goodbye: None,
            bootstrap: false,
            boot: None,
            twins: vec![],
        }
    }

    #[test]
    fn nodes_talk_when_networks_are_the_same_and_majors_overlap() {
        let ours = hello("qres", (10, 11));
        for (theirs, want) in [
            (hello("qres", (10, 10)), None),
            (hello("qres", (11, 14)), None),
            (hello("qres", (9, 12)), None),
            (
                hello("qres", (12, 14)),
                Some((GoodbyeCode::Version, "upgrade this node")),
            ),
            (hello("qres", (9, 9)), Some((GoodbyeCode::Version, "its operator"))),
            (hello("test", (10, 10)), Some((GoodbyeCode::Network, "\"test\""))),
        ] {
            match (compare(&ours, &theirs), want) {
                (Ok(()), None) => {}
                (Err(got), Some((code, text))) => {
                    assert_eq!(got.code, code);
                    assert!(got.text.contains(text), "{}", got.text);
                }
                (got, _) => panic!("{theirs:?}: {got:?}"),
            }
        }
    }

    #[test]
    fn identify_is_held_to_the_same_majors() {
        let ours = hello("qres", (10, 10));
        assert_eq!(check_identify(&ours, "qres/10.7"), Ok(()));
        for other in ["qres/11.0", "qres/", "qres/x.1", "ipfs/0.1.0", "10.0", ""] {
            assert!(check_identify(&ours, other).is_err(), "{other}");
        }
    }

    #[test]
    fn the_frozen_bytes_stay() {
        // The bytes are written by hand from the field numbers and types of the proto file: a change here cuts off every old
        // node.
        let mut greeting = hello("qres", (10, 300));
        greeting.goodbye = Some(goodbye(GoodbyeCode::Busy, "full"));
        let mut want = vec![0x0a, 4];
        want.extend(b"qres");
        want.extend([0x10, 10, 0x18, 0xac, 0x02, 0x22, 17]);
        want.extend(b"qres-daemon/0.1.0");
        want.extend([0x2a, 4]);
        want.extend(b"10.0");
        want.extend([0x32, 8, 0x08, 4, 0x12, 4]);
        want.extend(b"full");
        assert_eq!(greeting.encode_to_vec(), want);
        // A field that only a later version knows is skipped.
        want.extend([0x7a, 1, 7]);
        assert_eq!(parse(&want), Ok(greeting));
    }

    fn met_at(address: &str) -> pb::Boot {
        pb::Boot {
            address: address.to_owned(),
            ..pb::Boot::default()
        }
    }

    #[test]
    fn hostile_hellos_are_refused_by_name() {
        let encoded = |change: fn(&mut Hello)| {
            let mut h = hello("qres", (10, 10));
            change(&mut h);
            h.encode_to_vec()
        };
        for (bytes, name) in [
            (vec![0xff; 30], "hello"),
            (vec![0; 5000], "4096"),
            (encoded(|h| h.network = "n".repeat(65)), "network"),
            (encoded(|h| h.software = "a\nb".to_owned()), "printable"),
            (encoded(|h| h.software = "a\u{202e}b".to_owned()), "printable"),
            (encoded(|h| h.major_min = 11), "major_min"),
            (encoded(|h| h.twins = vec![pb::Boot::default(); 3]), "twins"),
            (encoded(|h| h.twins = vec![met_at(&"a".repeat(257))]), "twins.address"),
            (encoded(|h| h.twins = vec![met_at("a\nb")]), "twins.address"),
            (
                encoded(|h| {
                    h.goodbye = Some(Goodbye {
                        code: 0,
                        text: "x".repeat(600),
                    })
                }),
                "goodbye.text",
            ),
        ] {
            let problem = parse(&bytes).unwrap_err();
            assert!(problem.contains(name), "{problem}");
        }
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("äöü", 3), "ä");
        assert_eq!(cut("a\u{7}b\u{202e}c", 10), "abc");
    }
}
