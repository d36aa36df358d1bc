//! The limit for comparison: the speed of loopback itself.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use tokio::time::Instant;

/// Number of bytes that are moved at a time. Larger and smaller pieces were no faster in measurements.
const PIECE: usize = 256 << 10;

/// Measures the time that one loopback TCP stream needs to move this many bytes.
///
/// With `from_memory`, the stream moves `payload` over and over, from memory into as much memory, as weights move. Otherwise it
/// moves the first [`PIECE`] of `payload` again and again. These bytes never leave the processor's cache, so this time is the
/// best that the sockets alone can reach.
pub fn one_stream(payload: &[u8], bytes: usize, from_memory: bool) -> Duration {
    let payload = if from_memory {
        payload
    } else {
        &payload[..PIECE.min(payload.len())]
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut into = vec![1; payload.len()];
    let reader = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let (mut left, mut at) = (bytes, 0);
        while left > 0 {
            let end = into.len().min(at + PIECE);
            let n = stream.read(&mut into[at..end]).expect("bytes");
            assert!(n > 0, "the stream ended early");
            left -= n;
            at = (at + n) % into.len();
        }
        std::hint::black_box(&into);
    });
    let mut stream = TcpStream::connect(address).expect("connected");
    let start = Instant::now();
    let mut left = bytes;
    for piece in payload.chunks(PIECE).cycle() {
        let n = left.min(piece.len());
        if n == 0 {
            break;
        }
        stream.write_all(&piece[..n]).expect("written");
        left -= n;
    }
    reader.join().expect("the reader");
    start.elapsed()
}

/// Number of bytes that the loopback interface has carried, by its own counter; 0 if the counter cannot be read.
pub fn interface_bytes() -> u64 {
    let table = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let line = table.lines().find_map(|line| line.trim().strip_prefix("lo:"));
    line.and_then(|line| line.split_whitespace().next())
        .and_then(|bytes| bytes.parse().ok())
        .unwrap_or(0)
}
