//! Reads of the tables.

use qres_fed::id::{CheckpointId, SpecId, SubmissionId};
use qres_fed::record::{Canonical, Signed, Spec};
use redb::ReadTransaction;

use super::database::Fault;
use super::entry::get;
use super::table::{self, Values};
use super::{
    HeardModel, ModelRecords, StoreError, StoredModel, StoredReleases, StoredState, StoredSubmission, SubmissionPage,
    archive, value,
};

/// Largest number of items on a page.
const PAGE_MAX: usize = 1000;

/// Reads every value whose key begins with `prefix`, with `read`.
fn values_below<const N: usize, T>(
    tx: &ReadTransaction,
    table: Values<N>,
    prefix: &[u8],
    read: impl Fn(&[u8; N], &[u8]) -> Result<T, StoreError>,
) -> Result<Vec<T>, Fault> {
    let range = table::below::<N>(prefix);
    let table = tx.open_table(table)?;
    let mut out = Vec::new();
    for entry in table.range::<&[u8; N]>(range.start()..=range.end())? {
        let (key, bytes) = entry?;
        out.push(read(key.value(), bytes.value())?);
    }
    Ok(out)
}

/// Checks a record against its id, which is the end of its key: the disk is not trusted. Another record is
/// [`StoreError::Damaged`].
fn checked<T>(key: &[u8], record: T, id: impl Fn(&T) -> [u8; 32]) -> Result<T, StoreError> {
    if id(&record) == table::last_id(key) {
        return Ok(record);
    }
    let id = hex::encode(table::last_id(key));
    Err(StoreError::Damaged(format!("record {id} is not what its id says")))
}

pub(super) fn models(tx: &ReadTransaction) -> Result<Vec<StoredModel>, Fault> {
    let joined = tx.open_table(table::JOINED)?;
    let specs = values_below(tx, table::SPECS, &[], |key, bytes| {
        let signed = value::to_signed::<Spec>(bytes)?;
        checked(key, signed, |signed| signed.record.id().0).map(|spec| (*key, spec))
    })?;
    specs
        .into_iter()
        .map(|(key, spec)| {
            let joined = joined.get(&key)?.is_some();
            Ok(StoredModel { spec, joined })
        })
        .collect()
}

pub(super) fn heard(tx: &ReadTransaction) -> Result<Vec<HeardModel>, Fault> {
    let mut all: Vec<HeardModel> = values_below(tx, table::HEARD, &[], |_, bytes| value::to_heard(bytes))?;
    for heard in &mut all {
        heard.succeeds = get(tx, table::HEARD_SUCCEEDS, &heard.id.0, |bytes| {
            let id = bytes.try_into();
            let damaged = |_| StoreError::Damaged("the predecessor of an announced model is no id".into());
            id.map(SpecId).map_err(damaged)
        })?;
    }
    Ok(all)
}

pub(super) fn spec(tx: &ReadTransaction, spec: SpecId) -> Result<Option<Signed<Spec>>, Fault> {
    get(tx, table::SPECS, &spec.0, |bytes| {
        checked(&spec.0, value::to_signed(bytes)?, |signed: &Signed<Spec>| {
            signed.record.id().0
        })
    })
}

pub(super) fn records(tx: &ReadTransaction, spec: SpecId) -> Result<ModelRecords, Fault> {
    let range = table::below::<64>(&spec.0);
    let mut verified = std::collections::BTreeSet::new();
    for entry in tx
        .open_table(table::VERIFIED)?
        .range::<&[u8; 64]>(range.start()..=range.end())?
    {
        verified.insert(CheckpointId(table::last_id(entry?.0.value())));
    }
    Ok(ModelRecords {
        contributions: values_below(tx, table::CONTRIBUTIONS, &spec.0, |key, bytes| {
            checked(key, value::to_signed(bytes)?, id_of)
        })?,
        seals: values_below(tx, table::SEALS, &spec.0, |key, bytes| {
            checked(key, value::to_signed(bytes)?, id_of)
        })?,
        proofs: values_below(tx, table::PROOFS, &spec.0, |key, bytes| {
            checked(key, value::to_canonical(bytes)?, |proof: &qres_fed::record::Proof| {
                proof.id().0
            })
        })?,
        consents: values_below(tx, table::CONSENTS, &spec.0, |_, bytes| value::to_signed(bytes))?,
        verified,
        root: archive::root(tx, spec)?,
    })
}

pub(super) fn releases(tx: &ReadTransaction) -> Result<Vec<StoredReleases>, Fault> {
    values_below(tx, table::RELEASES, &[], |spec, bytes| {
        value::to_releases(SpecId(*spec), bytes)
    })
}

fn id_of<T: Canonical>(signed: &Signed<T>) -> [u8; 32] {
    *blake3::hash(&signed.record.to_canonical()).as_bytes()
}

pub(super) fn submission(tx: &ReadTransaction, id: SubmissionId) -> Result<Option<StoredSubmission>, Fault> {
    get(tx, table::SUBMISSIONS, &id.0, value::to_submission)
}

pub(super) fn submission_for(
    tx: &ReadTransaction,
    spec: SpecId,
    trainer: &str,
    base: CheckpointId,
) -> Result<Option<StoredSubmission>, Fault> {
    let key = table::key(&[&spec.0, &base.0, &table::hashed(trainer)]);
    match get(tx, table::SUBMISSION_BY_BASE, &key, |id| Ok(table::last_id(id)))? {
        Some(id) => submission(tx, SubmissionId(id)),
        None => Ok(None),
    }
}

pub(super) fn open_submissions(tx: &ReadTransaction, spec: SpecId) -> Result<Vec<StoredSubmission>, Fault> {
    let range = table::below::<64>(&spec.0);
    let open = tx.open_table(table::SUBMISSIONS_OPEN)?;
    let mut out = Vec::new();
    for entry in open.range::<&[u8; 64]>(range.start()..=range.end())? {
        let id = table::last_id(entry?.0.value());
        out.extend(submission(tx, SubmissionId(id))?);
    }
    Ok(out)
}

/// Returns a page of submissions, the newest first. A token is the end of the page before: time and id of its last item,
/// in hex.
pub(super) fn submissions(
    tx: &ReadTransaction,
    spec: Option<SpecId>,
    token: Option<&str>,
    size: usize,
) -> Result<SubmissionPage, Fault> {
    let after = token.map(parse_token).transpose()?.unwrap_or([u8::MAX; 40]);
    let size = size.clamp(1, PAGE_MAX);
    let places = match spec {
        Some(spec) => {
            let (low, high) = (table::key(&[&spec.0, &[0; 40]]), table::key(&[&spec.0, &after]));
            let table = tx.open_table(table::SUBMISSIONS_BY_SPEC)?;
            last_places(
                table
                    .range::<&[u8; 72]>(&low..&high)?
                    .rev()
                    .map(|entry| entry.map(|e| place(e.0.value()))),
                size,
            )
        }
        None => {
            let table = tx.open_table(table::SUBMISSIONS_BY_TIME)?;
            last_places(
                table
                    .range::<&[u8; 40]>(..&after)?
                    .rev()
                    .map(|entry| entry.map(|e| place(e.0.value()))),
                size,
            )
        }
    }?;
    let mut page = SubmissionPage::default();
    for at in places.iter().take(size) {
        page.items.extend(submission(tx, SubmissionId(table::last_id(at)))?);
    }
    if places.len() > size {
        page.next = Some(hex::encode(places[size - 1]));
    }
    Ok(page)
}

/// Takes one more place than the page has, to know whether there is a next page.
fn last_places(
    entries: impl Iterator<Item = Result<[u8; 40], redb::StorageError>>,
    size: usize,
) -> Result<Vec<[u8; 40]>, Fault> {
    Ok(entries.take(size + 1).collect::<Result<_, _>>()?)
}

/// Returns the last 40 bytes of a key, time and id: the order of submissions.
fn place(key: &[u8]) -> [u8; 40] {
    key.last_chunk().copied().unwrap_or([0; 40])
}

fn parse_token(token: &str) -> Result<[u8; 40], StoreError> {
    let mut place = [0; 40];
    match hex::decode_to_slice(token, &mut place) {
        Ok(()) => Ok(place),
        Err(_) => Err(StoreError::Token(token.chars().take(100).collect())),
    }
}

pub(super) fn states(tx: &ReadTransaction, spec: SpecId) -> Result<Vec<StoredState>, Fault> {
    values_below(tx, table::STATES, &spec.0, |_, bytes| value::to_state(bytes))
}
