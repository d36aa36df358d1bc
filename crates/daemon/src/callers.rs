//! How many callers' connections the process has descriptors for.

use rustix::process::{Resource, getrlimit};

/// Callers get one descriptor in so many: the store, the mesh and fetches need the others.
const SHARE: u64 = 2;

/// At most `most` connections, fewer where the process may not open twice as many files.
pub fn connections(most: usize) -> usize {
    // No limit at all is `None`.
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
