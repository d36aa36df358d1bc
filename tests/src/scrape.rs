//! Reads the metrics page that a daemon serves for Prometheus.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longest wait for each read of the page. A scrape that takes longer is broken.
const SCRAPE_MAX: Duration = Duration::from_secs(30);

/// Returns the metrics page of a daemon, requested as curl does. Panics if the page is incomplete.
pub fn scrape(url: &str) -> String {
    let rest = url.strip_prefix("http://").expect("plain HTTP");
    let (address, path) = rest.split_once('/').expect("a path");
    let mut stream = TcpStream::connect(address).expect("the daemon listens there");
    stream.set_read_timeout(Some(SCRAPE_MAX)).expect("a timeout can be set");
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {address}\r\nAccept: */*\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it takes a request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers with text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(body.ends_with("# EOF\n"), "the page is cut off: {body}");
    body.to_owned()
}
