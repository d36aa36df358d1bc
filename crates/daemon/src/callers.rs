//! Number of callers' connections that the process has file descriptors for.

use rustix::process::{Resource, getrlimit};

/// Callers get one in this many of the process's file descriptors: the store, the mesh and fetches need the others.
const SHARE: u64 = 2;

/// Returns the number of callers' connections to accept, at least 1: `most`, or half of the process's limit of open files
/// where that is less (see [`SHARE`]).
pub fn connections(most: usize) -> usize {
    // `None` means that the process has no limit.
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    most.min(usize::try_from(descriptors / SHARE).unwrap_or(usize::MAX))
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_within_half_of_the_descriptors() {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        assert_eq!(connections(1), 1);
        assert!(connections(usize::MAX) as u64 <= descriptors / 2);
    }
}
