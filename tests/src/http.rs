//! Asks programs under test over HTTP: one request a connection.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longest wait for each read of an answer.
const READ_MAX: Duration = Duration::from_secs(30);

/// An answer: its status and its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code, such as 200.
    pub status: u16,
    /// The body as text.
    pub body: String,
}

/// Returns the [`Answer`] to `GET url`; an error if nobody listens there or the answer is no HTTP.
pub fn get(url: &str) -> std::io::Result<Answer> {
    let bad = || std::io::Error::other(format!("{url} is not answered in HTTP"));
    let rest = url.strip_prefix("http://").ok_or_else(bad)?;
    let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(READ_MAX))?;
    // HTTP/1.0: the server closes the connection at the end, and does not cut the answer into chunks.
    let request = format!("GET /{path} HTTP/1.0\r\nHost: {address}\r\nAccept: */*\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(bad)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(Answer {
        status: status.ok_or_else(bad)?,
        body: body.to_owned(),
    })
}

/// Escapes a text for the query of a URL.
pub fn escape(text: &str) -> String {
    let escaped = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    });
    escaped.collect()
}
