//! The address of a node's API, as a person writes it. All clients are tested with the examples in
//! `clients/addresses.txt`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

/// Port on which a node's API listens by default.
pub const PORT_DEFAULT: u16 = 4002;
/// Port on which nodes talk to each other by default. No API answers there.
pub const PORT_OF_MESH: u16 = 4001;

/// Beginnings of multiaddrs, which are no addresses of an API.
const MULTIADDR: [&str; 6] = ["/ip4/", "/ip6/", "/dns/", "/dns4/", "/dns6/", "/dnsaddr/"];
/// Beginning of the address of a socket.
const UNIX: &str = "unix:";
/// Most digits of a port.
const PORT_DIGITS_MAX: usize = 5;

/// The place of a node's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A host and a port.
    Tcp {
        /// A name, an IPv4 address, or an IPv6 address without brackets.
        host: String,
        /// The port, at least 1.
        port: u16,
        /// True if the connection is encrypted by TLS.
        tls: bool,
    },
    /// The absolute path of a Unix socket on this machine.
    Socket(PathBuf),
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("address {text:?}: {problem}")]
pub struct AddressError {
    /// The text as it was given.
    pub text: String,
    /// The problem, and the text to write instead.
    pub problem: String,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{UNIX}{}", path.display()),
            Self::Tcp { host, port, tls } => {
                f.write_str(if *tls { "https://" } else { "" })?;
                match host.contains(':') {
                    true => write!(f, "[{host}]:{port}"),
                    false => write!(f, "{host}:{port}"),
                }
            }
        }
    }
}

impl Address {
    /// Returns true if no other machine sees what is sent: the address is a socket or loopback.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Socket(_) => true,
            Self::Tcp { host, .. } => {
                host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`, with or without `http://` or `https://` before and one `/` after. The
    /// port is 4002 if the text has none. `unix:` and an absolute path is a socket.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        parse(text).map_err(|problem| AddressError {
            text: text.to_owned(),
            problem,
        })
    }
}

fn parse(text: &str) -> Result<Address, String> {
    if text.is_empty() {
        return Err(format!("empty: write host:port, e.g. 127.0.0.1:{PORT_DEFAULT}"));
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("a space or a control character: write it without".to_owned());
    }
    if MULTIADDR.iter().any(|start| text.starts_with(start)) {
        return Err(format!(
            "a multiaddr: that is the mesh; the API listens on {PORT_DEFAULT} by default: write host:port"
        ));
    }
    if text
        .get(..UNIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(UNIX))
    {
        return socket(&text[UNIX.len()..]);
    }
    let (tls, rest) = without_scheme(text)?;
    let authority = authority(rest)?;
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => bracketed(rest)?,
        None => unbracketed(authority)?,
    };
    Ok(Address::Tcp {
        host: host.to_owned(),
        port: port.map_or(Ok(PORT_DEFAULT), read_port)?,
        tls,
    })
}

/// Reads the part after `unix:`.
fn socket(text: &str) -> Result<Address, String> {
    let path = text.strip_prefix("//").unwrap_or(text);
    match path.starts_with('/') && path.len() > 1 {
        true => Ok(Address::Socket(path.into())),
        false => Err("an absolute path must follow 'unix:', e.g. unix:/run/qres/grpc.sock".to_owned()),
    }
}

/// Takes the scheme off. Returns true for TLS, and the rest of the text.
fn without_scheme(text: &str) -> Result<(bool, &str), String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Ok((false, text));
    };
    match scheme.to_ascii_lowercase().as_str() {
        "http" => Ok((false, rest)),
        "https" => Ok((true, rest)),
        _ => Err(format!("scheme '{scheme}': write https://, http:// or no scheme")),
    }
}

/// Returns the part of the text that names host and port. Only one slash may follow it.
fn authority(text: &str) -> Result<&str, String> {
    let end = text.find(['/', '?', '#']).unwrap_or(text.len());
    let (authority, rest) = text.split_at(end);
    if authority.contains('@') {
        return Err("a user before '@': the API knows no users: write host:port alone".to_owned());
    }
    match rest {
        "" | "/" => Ok(authority),
        _ => Err("a path after the host: write host:port alone".to_owned()),
    }
}

fn bracketed(text: &str) -> Result<(&str, Option<&str>), String> {
    let (host, rest) = text
        .split_once(']')
        .ok_or_else(|| "'[' without ']': write [IPv6]:port".to_owned())?;
    if host.contains('%') {
        return Err("a zone after '%' is not taken: write an address that needs none".to_owned());
    }
    if host.parse::<Ipv6Addr>().is_err() {
        return Err(format!("'{host}' is no IPv6 address: brackets are for those alone"));
    }
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None if rest.is_empty() => Ok((host, None)),
        None => Err("after ']' only :port may follow".to_owned()),
    }
}

fn unbracketed(text: &str) -> Result<(&str, Option<&str>), String> {
    if text.matches(':').count() > 1 {
        return Err(match text.parse::<Ipv6Addr>() {
            Ok(_) => format!("an IPv6 address needs brackets: write [{text}] or [{text}]:{PORT_DEFAULT}"),
            Err(_) => "more than one ':': write host:port, or [IPv6]:port".to_owned(),
        });
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    if host.is_empty() {
        return Err(format!("no host: write host:port, e.g. 127.0.0.1:{PORT_DEFAULT}"));
    }
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    if !host.strip_suffix('.').unwrap_or(host).split('.').all(plain) {
        return Err(format!(
            "host '{host}': a name has letters, digits, '-' and '_', in parts with '.' between them"
        ));
    }
    if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') && host.parse::<Ipv4Addr>().is_err() {
        return Err(format!(
            "host '{host}' is no IPv4 address: four numbers from 0 to 255, e.g. 127.0.0.1:{PORT_DEFAULT}"
        ));
    }
    Ok((host, port))
}

fn read_port(text: &str) -> Result<u16, String> {
    let digits = text.len() <= PORT_DIGITS_MAX && text.bytes().all(|b| b.is_ascii_digit());
    let port = digits.then(|| text.parse::<u16>().ok()).flatten();
    port.filter(|port| *port > 0)
        .ok_or_else(|| format!("port '{text}': a number from 1 to 65535 is expected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLES: &str = include_str!("../../../clients/addresses.txt");

    #[test]
    fn the_examples_of_all_clients_are_read_alike() {
        let lines = EXAMPLES
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut count = 0;
        for line in lines {
            let (text, expected) = line.split_once('\t').expect("a tab");
            let read = text.parse::<Address>();
            match (expected.strip_prefix("error: "), read) {
                (None, Ok(address)) => assert_eq!(address.to_string(), expected, "{text:?}"),
                (Some(part), Err(error)) => {
                    let said = error.to_string();
                    assert!(said.contains(part) && error.text == text, "{text:?}: {said}");
                }
                (_, read) => panic!("{text:?}: {read:?}, expected {expected}"),
            }
            count += 1;
        }
        assert!(count > 60, "{count} examples");
    }
}
