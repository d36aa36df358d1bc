//! The redb database behind the records: opened, and opened again after it failed.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use redb::{
    CommitError, Database, DatabaseError, ReadTransaction, ReadableDatabase, StorageError, TableError,
    TransactionError, WriteTransaction,
};

use super::{StoreError, table};

/// redb's page cache. Records are small and read at the start; its default of 1 GiB would let an idle node grow.
const CACHE_BYTES: usize = 4 << 20;

/// Why a transaction came to nothing.
#[derive(Debug)]
pub(super) enum Fault {
    /// The database failed.
    Redb(redb::Error),
    /// What was asked for cannot be; the database is fine.
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

/// How to open a database file; `true` = check the whole of it first.
type Opener = Box<dyn Fn(&Path, bool) -> Result<Database, DatabaseError> + Send + Sync>;

/// The database. After an I/O error (a full disk, say) redb refuses everything until it is opened anew, so that is done here:
/// the next transaction finds what was committed.
pub(super) struct Records {
    path: PathBuf,
    opener: Opener,
    /// The database and how many were opened before it; `None` = to be opened.
    slot: RwLock<(u64, Option<Database>)>,
}

impl Records {
    /// Opens or makes the file, with all tables. What is there is checked, every page: a damaged file is told here rather than
    /// met later.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(
            path,
            Box::new(|path, check| {
                let mut builder = Database::builder();
                builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(check);
                builder.create(path)
            }),
        )
    }

    fn open_with(path: &Path, opener: Opener) -> Result<Self, StoreError> {
        let records = Self {
            path: path.to_owned(),
            opener,
            slot: RwLock::new((0, None)),
        };
        let database = (records.opener)(path, true).map_err(|error| records.told(error.into()))?;
        *records.slot.write().unwrap_or_else(PoisonError::into_inner) = (0, Some(database));
        if !records.read(|transaction| Ok(table::all_there(transaction)?))? {
            records.write(|transaction| Ok(table::make_all(transaction)?))?;
        }
        Ok(records)
    }

    /// Reads one state of the database. `work` may be done twice.
    pub(super) fn read<T>(&self, work: impl Fn(&ReadTransaction) -> Result<T, Fault>) -> Result<T, StoreError> {
        self.run(|database| work(&database.begin_read()?))
    }

    /// Writes in one transaction, durable when it returns. `work` may be done twice. After an error of the database it is
    /// unknown whether the transaction is in: what is written must be such that writing it again does no harm.
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
            // Another thread's error closed the database under us.
            Err(Fault::Redb(redb::Error::PreviousIo | redb::Error::DatabaseClosed)) => self.attempt(&work),
            other => other,
        }
        .map_err(|fault| self.told(fault))
    }

    fn attempt<T>(&self, work: &impl Fn(&Database) -> Result<T, Fault>) -> Result<T, Fault> {
        loop {
            let slot = self.slot.read().unwrap_or_else(PoisonError::into_inner);
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
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        if slot.1.is_none() {
            slot.1 = Some((self.opener)(&self.path, false)?);
        }
        Ok(())
    }

    /// Closes the database that failed, if nobody has yet.
    fn close(&self, number: u64) {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
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
