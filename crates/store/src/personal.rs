//! The personal tensors of trainers: for each model and trainer the blob with the newest ones.

use qres_fed::id::{BlobId, SpecId};
use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use super::StoreError;
use super::database::Fault;
use super::entry::{self, Done, put};
use super::table::{self, PERSONAL};

fn key(spec: SpecId, trainer: &str) -> [u8; 64] {
    table::key(&[&spec.0, &table::hashed(trainer)])
}

fn blob(bytes: &[u8]) -> Result<BlobId, StoreError> {
    let damaged = |_| StoreError::Damaged("the blob of a trainer's personal tensors is no id".into());
    bytes.try_into().map(BlobId).map_err(damaged)
}

pub(super) fn keep(tx: &WriteTransaction, spec: SpecId, trainer: &str, blob: &BlobId) -> Done {
    put(tx, PERSONAL, &key(spec, trainer), &blob.0)
}

/// Gives a model's successor what the model has.
pub(super) fn carry(tx: &WriteTransaction, from: SpecId, to: SpecId) -> Done {
    let range = table::below::<64>(&from.0);
    let mut table = tx.open_table(PERSONAL)?;
    let mut carried = vec![];
    for row in table.range::<&[u8; 64]>(range.start()..=range.end())? {
        let (key, blob) = row?;
        carried.push((table::last_id(key.value()), blob.value().to_vec()));
    }
    for (trainer, blob) in carried {
        table.insert(&table::key::<64>(&[&to.0, &trainer]), blob.as_slice())?;
    }
    Ok(())
}

pub(super) fn clear(tx: &WriteTransaction, spec: SpecId) -> Done {
    let range = table::below::<64>(&spec.0);
    tx.open_table(PERSONAL)?
        .retain_in::<&[u8; 64], _>(range.start()..=range.end(), |_, _| false)?;
    Ok(())
}

pub(super) fn read(tx: &ReadTransaction, spec: SpecId, trainer: &str) -> Result<Option<BlobId>, Fault> {
    entry::get(tx, PERSONAL, &key(spec, trainer), blob)
}

/// Returns the blobs of all trainers of a model.
pub(super) fn all(tx: &ReadTransaction, spec: SpecId) -> Result<Vec<BlobId>, Fault> {
    let range = table::below::<64>(&spec.0);
    let table = tx.open_table(PERSONAL)?;
    let rows = table.range::<&[u8; 64]>(range.start()..=range.end())?;
    rows.map(|row| Ok(blob(row?.1.value())?)).collect()
}
