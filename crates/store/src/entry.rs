//! The entries of a table: the changes of one in a transaction, and the read of one.

use redb::{ReadTransaction, WriteTransaction};

use super::StoreError;
use super::database::Fault;
use super::table::{Mark, Values};

pub(super) type Done = Result<(), Fault>;

pub(super) fn put<const N: usize>(tx: &WriteTransaction, table: Values<N>, key: &[u8; N], bytes: &[u8]) -> Done {
    tx.open_table(table)?.insert(key, bytes)?;
    Ok(())
}

pub(super) fn remove<const N: usize>(tx: &WriteTransaction, table: Values<N>, key: &[u8; N]) -> Done {
    tx.open_table(table)?.remove(key)?;
    Ok(())
}

pub(super) fn mark<const N: usize>(tx: &WriteTransaction, table: Mark<N>, key: &[u8; N]) -> Done {
    tx.open_table(table)?.insert(key, ())?;
    Ok(())
}

pub(super) fn unmark<const N: usize>(tx: &WriteTransaction, table: Mark<N>, key: &[u8; N]) -> Done {
    tx.open_table(table)?.remove(key)?;
    Ok(())
}

/// Removes an entry and returns its value.
pub(super) fn take<const N: usize>(
    tx: &WriteTransaction,
    table: Values<N>,
    key: &[u8; N],
) -> Result<Option<Vec<u8>>, Fault> {
    let mut table = tx.open_table(table)?;
    let taken = table.remove(key)?;
    Ok(taken.map(|bytes| bytes.value().to_vec()))
}

/// Reads the value of a key; `None` when the table does not have it.
pub(super) fn get<const N: usize, T>(
    tx: &ReadTransaction,
    table: Values<N>,
    key: &[u8; N],
    read: impl Fn(&[u8]) -> Result<T, StoreError>,
) -> Result<Option<T>, Fault> {
    let table = tx.open_table(table)?;
    let found = table.get(key)?;
    Ok(found.map(|bytes| read(bytes.value())).transpose()?)
}
