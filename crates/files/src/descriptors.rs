//! The file descriptors of the process: their limit, and the part that sockets leave to the store.
//!
//! Peers and clients open as many sockets as they like; a store that cannot open a file keeps no promise. A new
//! descriptor gets the lowest free number, so a number near the limit shows that nearly all numbers below are in use: a
//! socket with such a number is closed at once.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Number of descriptors that stands for no limit; macOS takes no higher one.
const ENDLESS: u64 = 10_240;
/// Largest number of descriptors kept for the store: uploads (64 at a time), blobs on their way in (3 files each) and
/// out, the database, directories being flushed.
const STORE_MAX: u64 = 256;
/// The store gets at most one part in 4 of the limit, which matters when the limit is low.
const STORE_PART: u64 = 4;

/// The file descriptors of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Descriptors {
    /// Number of descriptors in use; 0 where the system does not say.
    pub used: u64,
    /// Largest number of descriptors that the process may have.
    pub limit: u64,
}

/// Counts the descriptors in use and reads the limit.
pub fn count() -> Descriptors {
    let listed = fs::read_dir("/proc/self/fd").or_else(|_| fs::read_dir("/dev/fd"));
    Descriptors {
        // One of the descriptors is the listing itself.
        used: listed.map_or(0, |listed| (listed.count() as u64).saturating_sub(1)),
        limit: limit(),
    }
}

/// Raises the soft limit of descriptors to the hard limit.
pub fn raise_limit() -> io::Result<()> {
    let found = getrlimit(Resource::Nofile);
    let raise_to = |current| {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current,
                maximum: found.maximum,
            },
        )
    };
    if found.current == found.maximum {
        return Ok(());
    }
    Ok(raise_to(found.maximum).or_else(|_| raise_to(Some(ENDLESS)))?)
}

/// Returns true if a socket took one of the descriptors that are kept for the store: the caller must then close the
/// socket.
pub fn is_for_store(socket: impl AsFd) -> bool {
    u64::try_from(socket.as_fd().as_raw_fd()).is_ok_and(|number| number >= for_sockets(limit()))
}

/// Returns true if the next socket would take a descriptor of the store ([`is_for_store`]), or none is left.
pub fn are_scarce() -> bool {
    match File::open("/dev/null") {
        Ok(probe) => is_for_store(&probe),
        Err(error) => [Errno::MFILE, Errno::NFILE]
            .iter()
            .any(|full| error.raw_os_error() == Some(full.raw_os_error())),
    }
}

/// Returns the first descriptor number that is kept for the store; sockets get the numbers below it.
fn for_sockets(limit: u64) -> u64 {
    limit - (limit / STORE_PART).min(STORE_MAX)
}

fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(ENDLESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_leave_a_part_to_the_store() {
        assert_eq!(
            [0, 4, 100, 1024, 1_048_576].map(for_sockets),
            [0, 3, 75, 768, 1_048_320]
        );
        assert!(!are_scarce() && !is_for_store(io::stderr()));
    }

    #[test]
    fn what_is_open_is_counted() {
        let before = count();
        let open: Vec<_> = (0..50).map(|_| File::open("/dev/null").unwrap()).collect();
        // Other tests open and close files meanwhile, but hardly half as many.
        assert!(before.used > 2 && count().used >= before.used + 25 && count().used <= count().limit);
        drop(open);
    }
}
