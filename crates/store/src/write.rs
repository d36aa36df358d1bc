//! The changes that each kind of [`Write`] makes in the tables. Every write may be done again without harm.

use qres_fed::id::{SpecId, SubmissionId};
use qres_fed::record::{Canonical, Contribution, Seal, Signed};
use qres_fed::round::{Forgotten, SubmissionState};
use redb::{ReadableTable, WriteTransaction};

use super::database::Fault;
use super::entry::{Done, mark, put, remove, take, unmark};
use super::table::{self, Values};
use super::{
    StoreError, StoredKey, StoredReleases, StoredSubmission, Write, archive, evaluation, personal, value, verdict,
};

/// Applies one [`Write`] in a transaction.
pub(super) fn apply(tx: &WriteTransaction, write: &Write) -> Done {
    match write {
        Write::Spec(signed) => {
            let id = SpecId::of(&signed.record.to_canonical()).0;
            put(tx, table::SPECS, &id, &value::from_signed(signed))
        }
        Write::ForgetSpec(spec) => forget_spec(tx, *spec),
        Write::Heard(heard) => {
            put(tx, table::HEARD, &heard.id.0, &value::from_heard(heard))?;
            match &heard.succeeds {
                Some(old) => put(tx, table::HEARD_SUCCEEDS, &heard.id.0, &old.0),
                None => remove(tx, table::HEARD_SUCCEEDS, &heard.id.0),
            }
        }
        Write::ForgetHeard(spec) => {
            remove(tx, table::HEARD, &spec.0)?;
            remove(tx, table::HEARD_SUCCEEDS, &spec.0)
        }
        Write::Join(spec) => mark(tx, table::JOINED, &spec.0),
        Write::Leave(spec) => leave(tx, *spec),
        Write::Contribution(signed) => put_contribution(tx, signed),
        Write::Seal(signed) => put_seal(tx, signed),
        Write::Proof(spec, proof) => {
            let key = table::key(&[&spec.0, &proof.id().0]);
            put(tx, table::PROOFS, &key, &proof.to_canonical())
        }
        Write::Consent(signed) => {
            let key = table::key(&[&signed.record.spec.0, &signed.record.author.0]);
            put(tx, table::CONSENTS, &key, &value::from_signed(signed))
        }
        Write::Verified(spec, checkpoint) => mark(tx, table::VERIFIED, &table::key(&[&spec.0, &checkpoint.0])),
        Write::Verdicts {
            spec,
            round,
            checkpoint,
            verdicts,
        } => verdict::keep(tx, *spec, (*round, checkpoint), verdicts),
        Write::Evaluation {
            spec,
            round,
            checkpoint,
            evaluation,
        } => evaluation::keep(tx, *spec, (*round, checkpoint), evaluation),
        Write::Best { spec, metric, best } => evaluation::keep_best(tx, *spec, *metric, best),
        Write::Releases(releases) => put_releases(tx, releases),
        Write::CarryPersonal { from, to } => personal::carry(tx, *from, *to),
        Write::Submission(submission) => put_submission(tx, submission),
        Write::SubmissionState {
            id,
            state,
            final_unix_ms,
        } => set_submission_state(tx, *id, state, *final_unix_ms),
        Write::Forget(spec, gone) => forget(tx, *spec, gone),
        Write::Archive(spec, root, rounds) => {
            verdict::forget(tx, *spec, root.round)?;
            archive::add(tx, *spec, root, rounds)
        }
        Write::Unarchive(spec, root) => archive::cut(tx, *spec, root),
        Write::Key(key) => put_key(tx, key),
        Write::State(state) => {
            let key = state_key(state.spec, &state.publisher.0, &state.name, state.sequence);
            put(tx, table::STATES, &key, &value::from_state(state))
        }
        Write::ForgetState {
            spec,
            publisher,
            name,
            sequence,
        } => remove(tx, table::STATES, &state_key(*spec, &publisher.0, name, *sequence)),
        Write::Meta(name, bytes) => {
            tx.open_table(table::META)?.insert(name, bytes.as_slice())?;
            Ok(())
        }
    }
}

fn state_key(spec: SpecId, publisher: &[u8; 32], name: &str, sequence: u64) -> [u8; 104] {
    table::key(&[&spec.0, publisher, &table::hashed(name), &sequence.to_be_bytes()])
}

/// Lists the keys of a table that begin with `prefix`.
fn keys_below<const N: usize>(tx: &WriteTransaction, table: Values<N>, prefix: &[u8]) -> Result<Vec<[u8; N]>, Fault> {
    let range = table::below::<N>(prefix);
    let table = tx.open_table(table)?;
    let mut keys = Vec::new();
    for entry in table.range::<&[u8; N]>(range.start()..=range.end())? {
        keys.push(*entry?.0.value());
    }
    Ok(keys)
}

fn forget(tx: &WriteTransaction, spec: SpecId, gone: &Forgotten) -> Done {
    for id in &gone.contributions {
        remove(tx, table::CONTRIBUTIONS, &table::key(&[&spec.0, &id.0]))?;
    }
    for id in &gone.seals {
        remove(tx, table::SEALS, &table::key(&[&spec.0, &id.0]))?;
    }
    for id in &gone.proofs {
        remove(tx, table::PROOFS, &table::key(&[&spec.0, &id.0]))?;
    }
    for id in &gone.verified {
        unmark(tx, table::VERIFIED, &table::key(&[&spec.0, &id.0]))?;
    }
    Ok(())
}

fn forget_spec(tx: &WriteTransaction, spec: SpecId) -> Done {
    let joined = tx.open_table(table::JOINED)?.get(&spec.0)?.is_some();
    let signed = [table::CONTRIBUTIONS, table::CONSENTS].map(|table| keys_below(tx, table, &spec.0));
    for keys in signed {
        if joined || !keys?.is_empty() {
            return Ok(());
        }
    }
    remove(tx, table::SPECS, &spec.0)
}

fn leave(tx: &WriteTransaction, spec: SpecId) -> Done {
    unmark(tx, table::JOINED, &spec.0)?;
    for table in [table::CONTRIBUTIONS, table::SEALS, table::PROOFS, table::CONSENTS] {
        for key in keys_below(tx, table, &spec.0)? {
            remove(tx, table, &key)?;
        }
    }
    for key in keys_below(tx, table::STATES, &spec.0)? {
        remove(tx, table::STATES, &key)?;
    }
    archive::clear(tx, spec)?;
    verdict::forget(tx, spec, u64::MAX)?;
    evaluation::clear(tx, spec)?;
    personal::clear(tx, spec)?;
    let range = table::below::<64>(&spec.0);
    tx.open_table(table::VERIFIED)?
        .retain_in::<&[u8; 64], _>(range.start()..=range.end(), |_, ()| false)?;
    Ok(())
}

fn put_releases(tx: &WriteTransaction, releases: &StoredReleases) -> Done {
    let before = match get(tx, table::RELEASES, &releases.spec.0)? {
        Some(bytes) => value::to_releases(releases.spec, &bytes)?.count,
        None => 0,
    };
    if releases.count <= before {
        return Ok(());
    }
    put(tx, table::RELEASES, &releases.spec.0, &value::from_releases(releases))
}

fn put_contribution(tx: &WriteTransaction, signed: &Signed<Contribution>) -> Done {
    let id = signed.record.id().0;
    let key = table::key(&[&signed.record.spec.0, &id]);
    put(tx, table::CONTRIBUTIONS, &key, &value::from_signed(signed))
}

fn put_seal(tx: &WriteTransaction, signed: &Signed<Seal>) -> Done {
    let id = signed.record.id().0;
    let key = table::key(&[&signed.record.spec.0, &id]);
    put(tx, table::SEALS, &key, &value::from_signed(signed))
}

fn get<const N: usize>(tx: &WriteTransaction, table: Values<N>, key: &[u8; N]) -> Result<Option<Vec<u8>>, Fault> {
    let table = tx.open_table(table)?;
    let found = table.get(key)?;
    Ok(found.map(|bytes| bytes.value().to_vec()))
}

/// Returns the key of a submission in [`table::SUBMISSION_BY_BASE`].
pub(super) fn base_key(submission: &StoredSubmission) -> [u8; 96] {
    table::key(&[
        &submission.spec.0,
        &submission.base.0,
        &table::hashed(&submission.trainer),
    ])
}

/// Returns the submission that holds the place of a trainer on a base; a rejected one holds none.
fn holder(tx: &WriteTransaction, key: &[u8; 96]) -> Result<Option<SubmissionId>, Fault> {
    Ok(get(tx, table::SUBMISSION_BY_BASE, key)?.map(|id| SubmissionId(table::last_id(&id))))
}

fn put_submission(tx: &WriteTransaction, submission: &StoredSubmission) -> Done {
    if !submission.is_rejected()
        && let Some(other) = holder(tx, &base_key(submission))?
        && other != submission.id
    {
        return Err(StoreError::Taken(other).into());
    }
    forget_submission(tx, submission.id)?;
    if let Some(blob) = &submission.personal {
        personal::keep(tx, submission.spec, &submission.trainer, blob)?;
    }
    let id = &submission.id.0;
    let at = submission.at_unix_ms.to_be_bytes();
    mark(tx, table::SUBMISSIONS_BY_TIME, &table::key(&[&at, id]))?;
    mark(
        tx,
        table::SUBMISSIONS_BY_SPEC,
        &table::key(&[&submission.spec.0, &at, id]),
    )?;
    place_submission(tx, submission)
}

fn set_submission_state(
    tx: &WriteTransaction,
    id: SubmissionId,
    state: &SubmissionState,
    final_unix_ms: Option<u64>,
) -> Done {
    // A submission that is not here was forgotten after its time: its state no longer matters.
    let Some(bytes) = get(tx, table::SUBMISSIONS, &id.0)? else {
        return Ok(());
    };
    let mut submission = value::to_submission(&bytes)?;
    displace_submission(tx, &submission)?;
    submission.state = state.clone();
    submission.final_unix_ms = final_unix_ms;
    place_submission(tx, &submission)
}

/// Writes a submission and the index entries that depend on its state.
fn place_submission(tx: &WriteTransaction, submission: &StoredSubmission) -> Done {
    let id = &submission.id.0;
    let key = base_key(submission);
    if !submission.is_rejected() && holder(tx, &key)?.is_none() {
        put(tx, table::SUBMISSION_BY_BASE, &key, id)?;
    }
    match submission.final_unix_ms {
        None => mark(tx, table::SUBMISSIONS_OPEN, &table::key(&[&submission.spec.0, id]))?,
        Some(at) => mark(tx, table::SUBMISSIONS_FINAL, &table::key(&[&at.to_be_bytes(), id]))?,
    }
    put(tx, table::SUBMISSIONS, id, &value::from_submission(submission))
}

/// Removes the index entries that depend on a submission's state.
fn displace_submission(tx: &WriteTransaction, submission: &StoredSubmission) -> Done {
    let id = &submission.id.0;
    let key = base_key(submission);
    if holder(tx, &key)? == Some(submission.id) {
        remove(tx, table::SUBMISSION_BY_BASE, &key)?;
    }
    match submission.final_unix_ms {
        None => unmark(tx, table::SUBMISSIONS_OPEN, &table::key(&[&submission.spec.0, id])),
        Some(at) => unmark(tx, table::SUBMISSIONS_FINAL, &table::key(&[&at.to_be_bytes(), id])),
    }
}

/// Removes a submission and all its index entries, if it is there.
pub(super) fn forget_submission(tx: &WriteTransaction, id: SubmissionId) -> Done {
    let Some(bytes) = take(tx, table::SUBMISSIONS, &id.0)? else {
        return Ok(());
    };
    let submission = value::to_submission(&bytes)?;
    displace_submission(tx, &submission)?;
    let at = submission.at_unix_ms.to_be_bytes();
    unmark(tx, table::SUBMISSIONS_BY_TIME, &table::key(&[&at, &id.0]))?;
    unmark(
        tx,
        table::SUBMISSIONS_BY_SPEC,
        &table::key(&[&submission.spec.0, &at, &id.0]),
    )?;
    Ok(())
}

fn put_key(tx: &WriteTransaction, key: &StoredKey) -> Done {
    let name = table::hashed(&key.key);
    forget_key(tx, &name)?;
    mark(
        tx,
        table::KEYS_BY_TIME,
        &table::key(&[&key.at_unix_ms.to_be_bytes(), &name]),
    )?;
    put(tx, table::KEYS, &name, &value::from_key(key))
}

/// Removes an idempotency key, if it is there.
pub(super) fn forget_key(tx: &WriteTransaction, name: &[u8; 32]) -> Done {
    let Some(bytes) = take(tx, table::KEYS, name)? else {
        return Ok(());
    };
    let at = value::to_key(&bytes)?.at_unix_ms.to_be_bytes();
    unmark(tx, table::KEYS_BY_TIME, &table::key(&[&at, name]))
}
