//! The redb database behind the records: opened, and opened again after an error.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use parking_lot::RwLock;
use redb::{
    CommitError, Database, DatabaseError, ReadTransaction, ReadableDatabase, StorageError, TableError,
    TransactionError, WriteTransaction,
};

use super::{StoreError, file, table};

/// Bytes of redb's page cache. Records are small and read at the start; redb's default of 1 GiB would let an idle node
/// grow.
const CACHE_BYTES: usize = 4 << 20;

/// Reason why a transaction failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The database failed.
    Redb(redb::Error),
    /// The request cannot be carried out; the database is fine.
    Store(StoreError),
}

macro_rules! fault_from {
    ($($error:ty),*) => {$(
        impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                Self::Redb(error.into())
            }
        }
    )*};
}

fault_from!(CommitError, DatabaseError, StorageError, TableError, TransactionError);

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Fault {
    fn is_full(&self) -> bool {
        let full = |error: &io::Error| matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        matches!(self, Self::Redb(redb::Error::Io(error)) if full(error))
    }
}

/// Opens a database file; `true` = check all of its pages first.
type Opener = Box<dyn Fn(&Path, bool) -> Result<Database, DatabaseError> + Send + Sync>;

/// Makes room on a full disk; `false` when there is nothing more to give.
type Relief = Box<dyn Fn() -> bool + Send + Sync>;

/// The database. After an I/O error (a full disk, for example) redb refuses every transaction until it is opened anew.
/// [`Records`] does that, and the next transaction finds the committed records.
pub(super) struct Records {
    path: PathBuf,
    opener: Opener,
    relief: Relief,
    /// The database, and the number of databases opened before it; `None` = must be opened.
    slot: RwLock<(u64, Option<Database>)>,
}

impl Records {
    /// Opens the file, or makes it with all tables. Checks every page, so that a damaged file is reported here and not
    /// met later. Opening writes: `relief` is called to make room when the disk is too full for that.
    pub(super) fn open(path: &Path, relief: impl Fn() -> bool + Send + Sync + 'static) -> Result<Self, StoreError> {
        Self::open_with(
            path,
            Box::new(relief),
            Box::new(|path, check| {
                let mut builder = Database::builder();
                builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(check);
                builder.create(path)
            }),
        )
    }

    fn open_with(path: &Path, relief: Relief, opener: Opener) -> Result<Self, StoreError> {
        let records = Self {
            path: path.to_owned(),
            opener,
            relief,
            slot: RwLock::new((0, None)),
        };
        if !path.exists() {
            records.make()?;
        }
        let database = records.opened(true).map_err(|fault| records.told(fault))?;
        *records.slot.write() = (0, Some(database));
        if !records.read(|transaction| Ok(table::all_there(transaction)?))? {
            records.write(|transaction| Ok(table::make_all(transaction)?))?;
        }
        Ok(records)
    }

    /// Makes the file under another name first: redb does not open a file when an earlier process was stopped while
    /// making it.
    fn make(&self) -> Result<(), StoreError> {
        let path = self.path.with_extension("redb.new");
        file::remove(&path)?;
        drop(file::make(&path)?);
        let database = (self.opener)(&path, false).map_err(|error| self.told(error.into()))?;
        database.close().map_err(|error| self.told(error.into()))?;
        fs::rename(&path, &self.path).map_err(|error| StoreError::from_io(&self.path, error))?;
        file::sync_dir_of(&self.path)
    }

    /// Reads one state of the database. `work` may be run twice.
    pub(super) fn read<T>(&self, work: impl Fn(&ReadTransaction) -> Result<T, Fault>) -> Result<T, StoreError> {
        self.run(|database| work(&database.begin_read()?))
    }

    /// Writes in one transaction, durable when the call returns. `work` may be run twice. After an error of the database
    /// the transaction may be in or not: `work` must write only what may be written again without harm.
    pub(super) fn write<T>(&self, work: impl Fn(&WriteTransaction) -> Result<T, Fault>) -> Result<T, StoreError> {
        self.run(|database| {
            // redb's default durability is `Immediate`: fsynced when `commit` returns.
            let transaction = database.begin_write()?;
            match work(&transaction) {
                Ok(answer) => {
                    transaction.commit()?;
                    Ok(answer)
                }
                Err(fault) => {
                    transaction.abort()?;
                    Err(fault)
                }
            }
        })
    }

    fn run<T>(&self, work: impl Fn(&Database) -> Result<T, Fault>) -> Result<T, StoreError> {
        match self.attempt(&work) {
            // Another thread's error closed the database during this work.
            Err(Fault::Redb(redb::Error::PreviousIo | redb::Error::DatabaseClosed)) => self.attempt(&work),
            other => other,
        }
        .map_err(|fault| self.told(fault))
    }

    fn attempt<T>(&self, work: &impl Fn(&Database) -> Result<T, Fault>) -> Result<T, Fault> {
        loop {
            let slot = self.slot.read();
            let (number, Some(database)) = &*slot else {
                drop(slot);
                self.reopen()?;
                continue;
            };
            let (number, answer) = (*number, work(database));
            drop(slot);
            if matches!(answer, Err(Fault::Redb(_))) {
                self.close(number);
            }
            return answer;
        }
    }

    fn reopen(&self) -> Result<(), Fault> {
        let mut slot = self.slot.write();
        if slot.1.is_none() {
            slot.1 = Some(self.opened(false)?);
        }
        Ok(())
    }

    /// Opens the file. While the disk is full, makes room with `relief` and tries again.
    fn opened(&self, check: bool) -> Result<Database, Fault> {
        loop {
            let fault = match (self.opener)(&self.path, check) {
                Ok(database) => return Ok(database),
                Err(error) => Fault::from(error),
            };
            if !fault.is_full() || !(self.relief)() {
                return Err(fault);
            }
        }
    }

    /// Closes database `number`, which failed, unless another thread has closed it already.
    fn close(&self, number: u64) {
        let mut slot = self.slot.write();
        if slot.0 == number {
            *slot = (number + 1, None);
        }
    }

    fn told(&self, fault: Fault) -> StoreError {
        use redb::Error;
        let damaged = |what: String| StoreError::Damaged(format!("{}: {what}", self.path.display()));
        match fault {
            Fault::Store(error) => error,
            Fault::Redb(Error::Io(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                damaged(error.to_string())
            }
            Fault::Redb(Error::Io(error)) => StoreError::from_io(&self.path, error),
            Fault::Redb(Error::DatabaseAlreadyOpen | Error::LockProtocolMismatch) => {
                StoreError::InUse(self.path.parent().unwrap_or(&self.path).to_owned())
            }
            Fault::Redb(error @ (Error::PreviousIo | Error::DatabaseClosed)) => StoreError::Io {
                path: self.path.clone(),
                error: std::io::Error::other(error),
            },
            Fault::Redb(error) => damaged(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::ops::Bound;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use redb::backends::FileBackend;
    use redb::{BackendError, StorageBackend};

    use super::super::Write;
    use super::super::write::apply;
    use super::*;

    /// A number of calls that no test reaches: no call fails.
    const NEVER: u64 = u64::MAX / 2;

    /// A disk that is full after a number of calls that change it.
    #[derive(Debug, Clone)]
    struct Disk(Arc<AtomicU64>);

    impl Disk {
        fn full_after(&self, calls: u64) {
            self.0.store(calls, Ordering::SeqCst);
        }

        fn change(&self) -> io::Result<()> {
            let left = self
                .0
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            left.map(|_| ()).map_err(|_| rustix::io::Errno::NOSPC.into())
        }
    }

    #[derive(Debug)]
    struct FullBackend {
        file: FileBackend,
        disk: Disk,
    }

    impl StorageBackend for FullBackend {
        fn len(&self) -> io::Result<u64> {
            self.file.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.file.read(offset, out)
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            self.disk.change()?;
            self.file.set_len(len)
        }
        fn sync_data(&self) -> io::Result<()> {
            self.disk.change()?;
            self.file.sync_data()
        }
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.disk.change()?;
            self.file.write(offset, data)
        }
        fn close(&self) -> io::Result<()> {
            self.file.close()
        }
        fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
            self.file.try_lock_range(start, end)
        }
        fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
            self.file.unlock_range(start, end)
        }
    }

    fn opener(disk: &Disk) -> Opener {
        let shared = disk.clone();
        Box::new(move |path, check| {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(check);
            builder.create_with_backend(FullBackend {
                file: FileBackend::new(file)?,
                disk: shared.clone(),
            })
        })
    }

    fn on_full_disk(path: &Path) -> (Records, Disk) {
        let disk = Disk(Arc::new(AtomicU64::new(NEVER)));
        (
            Records::open_with(path, Box::new(|| false), opener(&disk)).unwrap(),
            disk,
        )
    }

    #[test]
    fn a_first_start_that_fails_at_any_call_is_made_good_by_the_next() {
        let disk = Disk(Arc::new(AtomicU64::new(NEVER)));
        let mut failures = 0;
        for calls in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("records.redb");
            disk.full_after(calls);
            match Records::open_with(&path, Box::new(|| false), opener(&disk)) {
                // Closing writes, too; the next start must repair an error there.
                Ok(records) => drop(records),
                Err(error) => {
                    assert!(matches!(error, StoreError::Full(_)), "{calls}: {error}");
                    failures += 1;
                }
            }
            let full = disk.0.load(Ordering::SeqCst) == 0;
            disk.full_after(NEVER);
            let records = Records::open_with(&path, Box::new(|| false), opener(&disk)).unwrap();
            commit(&records, 1).unwrap();
            assert_eq!(read(&records, "last").unwrap(), Some(1));
            if !full {
                break;
            }
        }
        assert!(failures >= 5, "a database is written, extended and flushed: {failures}");
    }

    #[test]
    fn a_disk_too_full_to_open_it_is_made_room_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records.redb");
        let (records, disk) = on_full_disk(&path);
        commit(&records, 1).unwrap();
        // The disk is full, so the file is not closed: the next open mends it, and writes.
        disk.full_after(0);
        drop(records);
        assert!(Records::open_with(&path, Box::new(|| false), opener(&disk)).is_err());
        let more = disk.clone();
        let relief = move || {
            let full = more.0.load(Ordering::SeqCst) == 0;
            more.full_after(NEVER);
            full
        };
        let records = Records::open_with(&path, Box::new(relief.clone()), opener(&disk)).unwrap();
        assert_eq!(read(&records, "last").unwrap(), Some(1));
        // A failed commit closes the database; readers open it again.
        disk.full_after(0);
        let _ = commit(&records, 2);
        assert!(
            read(&records, "last")
                .unwrap()
                .is_some_and(|last| last == 1 || last == 2)
        );
    }

    /// Commits `number` as two values of 20 kB each, so that the file grows.
    fn commit(records: &Records, number: u32) -> Result<(), StoreError> {
        let mut bytes = number.to_le_bytes().to_vec();
        bytes.resize(20_000, number as u8);
        records.write(|tx| {
            apply(tx, &Write::Meta("first", bytes.clone()))?;
            apply(tx, &Write::Meta("last", bytes.clone()))
        })
    }

    fn read(records: &Records, name: &str) -> Result<Option<u32>, StoreError> {
        records.read(|tx| {
            let table = tx.open_table(table::META)?;
            Ok(table
                .get(name)?
                .map(|v| u32::from_le_bytes(*v.value().first_chunk().unwrap())))
        })
    }

    #[test]
    fn a_commit_that_fails_at_any_call_leaves_the_store_whole_and_usable() {
        let dir = tempfile::tempdir().unwrap();
        let (records, disk) = on_full_disk(&dir.path().join("records.redb"));
        let mut failures = 0u64;
        commit(&records, 0).unwrap();
        for number in 1.. {
            disk.full_after(u64::from(number) - 1);
            let failed = commit(&records, number);
            if failed.is_ok() {
                break;
            }
            let error = failed.unwrap_err();
            assert!(matches!(error, StoreError::Full(_)), "{number}: {error}");
            failures += 1;
            // The disk is still full: each commit is an error, and no panic.
            disk.full_after(0);
            let again = commit(&records, number).unwrap_err();
            assert!(matches!(again, StoreError::Full(_)), "{number}: {again}");
            disk.full_after(NEVER);
            // All of the transaction is in, or nothing; earlier commits are in.
            let (first, last) = (read(&records, "first").unwrap(), read(&records, "last").unwrap());
            assert_eq!(first, last);
            assert!(
                first == Some(number) || first == Some(number - 1),
                "{number}: {first:?}"
            );
            commit(&records, number).unwrap();
            assert_eq!(read(&records, "last").unwrap(), Some(number));
        }
        assert!(failures >= 3, "a commit writes, extends and flushes: {failures}");
    }

    #[test]
    fn readers_go_on_while_another_thread_meets_a_full_disk() {
        let dir = tempfile::tempdir().unwrap();
        let (records, disk) = on_full_disk(&dir.path().join("records.redb"));
        commit(&records, 1).unwrap();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                for _ in 0..200 {
                    // While the disk is full the file may not open again: then reading is an error, or gives a committed
                    // number.
                    match read(&records, "first") {
                        Ok(found) => assert!(found == Some(1) || found == Some(2)),
                        Err(error) => assert!(matches!(error, StoreError::Full(_) | StoreError::Io { .. }), "{error}"),
                    }
                }
            });
            for calls in 0..20 {
                disk.full_after(calls % 4);
                let _ = commit(&records, 2);
            }
            reader.join().unwrap();
        });
        disk.full_after(NEVER);
        commit(&records, 3).unwrap();
        assert_eq!(read(&records, "last").unwrap(), Some(3));
    }
}
