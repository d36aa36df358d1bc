//! The revisions of events that are reserved in the store, so that no revision is ever given out twice.

use qres_store::{Store, StoreError, Write};
use tracing::warn;

use crate::event_log::RESERVED;

/// The key of the highest revision that may have been given out.
pub const REVISION_CEILING: &str = "revision_ceiling";

fn ceiling(store: &Store) -> Result<u64, StoreError> {
    let stored = store.meta(REVISION_CEILING)?;
    Ok(stored
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_le_bytes))
}

/// Reserves [`RESERVED`] revisions above every one that may have been given out before, so that not each one needs a commit. On
/// a full disk, where not even one commit has room, the revisions go on above the ceiling by the milliseconds since 1970: since
/// an earlier start of this kind that number has grown by more than the number of revisions given out. The ceiling follows once
/// there is room.
pub fn reserve(store: &Store, unix_ms: u64) -> Result<u64, StoreError> {
    let stored = ceiling(store)?;
    let ceiling = (stored + RESERVED).to_le_bytes().to_vec();
    match store.commit(vec![Write::Meta(REVISION_CEILING, ceiling)]) {
        Ok(()) => Ok(stored),
        Err(error @ StoreError::Full(_)) => {
            warn!(%error, "starting on a full disk: nothing new is taken until there is room, leaving a model makes some");
            Ok(stored.saturating_add(unix_ms))
        }
        Err(error) => Err(error),
    }
}

/// Keeps the reserved revisions ahead of a node that runs for months: with half of [`RESERVED`] used, the next ones are
/// reserved.
pub fn reserve_above(store: &Store, revision: u64) -> Result<(), StoreError> {
    let stored = ceiling(store)?;
    if revision.saturating_add(RESERVED / 2) < stored {
        return Ok(());
    }
    let higher = revision.saturating_add(RESERVED).max(stored);
    debug_assert!(higher >= stored, "a ceiling never sinks");
    store.commit(vec![Write::Meta(REVISION_CEILING, higher.to_le_bytes().to_vec())])
}

#[cfg(test)]
mod tests {
    use qres_store::StoreOptions;

    use super::*;

    #[test]
    fn no_revision_is_given_out_twice_however_long_a_node_runs() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        assert_eq!(reserve(&store, 0).unwrap(), 0);
        reserve_above(&store, 5).unwrap();
        assert_eq!(ceiling(&store).unwrap(), RESERVED, "half of them are left");
        let used = RESERVED - 10;
        reserve_above(&store, used).unwrap();
        assert!(reserve(&store, 0).unwrap() >= used + RESERVED / 2);
    }

    #[test]
    fn a_full_disk_gives_no_revision_out_twice_either() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        reserve(&store, 0).unwrap();
        store.fill(true);
        let first = reserve(&store, 1_000).unwrap();
        assert_eq!(first, RESERVED + 1_000);
        reserve_above(&store, first).unwrap_err();
        // A minute and some revisions later, the reserved ones are still above.
        assert!(reserve(&store, 61_000).unwrap() > first + 5);
        store.fill(false);
        reserve_above(&store, first + 5).unwrap();
        assert!(reserve(&store, 0).unwrap() >= first + 5 + RESERVED / 2);
    }
}
