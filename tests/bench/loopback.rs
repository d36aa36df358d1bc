//! The limit: what loopback itself can do.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Seconds that one loopback TCP stream needs for so many bytes, written and read in 256 KiB pieces.
pub fn one_stream(bytes: u64) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let reader = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut piece = vec![0; 256 << 10];
        let mut left = bytes;
        while left > 0 {
            let n = stream.read(&mut piece).expect("bytes") as u64;
            assert!(n > 0, "the stream ended early");
            left -= n;
        }
    });
    let mut stream = TcpStream::connect(address).expect("connected");
    let piece = vec![7; 256 << 10];
    let start = Instant::now();
    let mut left = bytes;
    while left > 0 {
        let n = left.min(piece.len() as u64);
        stream
            .write_all(&piece[..usize::try_from(n).expect("a piece")])
            .expect("written");
        left -= n;
    }
    reader.join().expect("the reader");
    start.elapsed()
}

/// Bytes that the loopback interface has carried, by its own counter.
pub fn interface_bytes() -> u64 {
    let table = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let line = table.lines().find_map(|line| line.trim().strip_prefix("lo:"));
    line.and_then(|line| line.split_whitespace().next())
        .and_then(|bytes| bytes.parse().ok())
        .unwrap_or(0)
}
