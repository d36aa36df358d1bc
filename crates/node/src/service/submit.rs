//! A trainer's submission: it is checked, stored and acknowledged.

mod tensors;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use qres_fed::id::{BlobId, CheckpointId, SpecId, SubmissionId};
use qres_fed::record::{Measured, Metric, Report, SAMPLES_MAX, STEPS_MAX, Spec, is_metric_value};
use qres_fed::round::{BaseError, Input, SubmissionState};
use qres_fed::{privacy, strategy};
use qres_store::{KeyOutcome, Store, StoreError, StoredKey, StoredSubmission};
use qres_wire::clock::unix_ms;
use tokio::sync::oneshot;

use crate::catalog::command::{ModelCommand, SubmitRequest};
use crate::catalog::entry::Model;
use crate::catalog::joined::Joined;
use crate::context::NodeContext;
use crate::error::{NodeError, Reason};
use crate::refusal::{base_refused, key_taken, stopped};
use crate::request::{SubmissionKind, Submit, trainer_name};
use crate::service::fetch::fixed_here;
use crate::succession::in_successor;
use crate::upload::{Received, Upload};
use crate::view::SubmissionView;

/// The most bytes of a trainer's name.
const TRAINER_BYTES_MAX: usize = 128;
/// The most metrics of one submission.
const METRICS_MAX: usize = 64;
/// The most bytes of a metric's name.
const METRIC_NAME_BYTES_MAX: usize = 128;
/// The bytes that a file may have beyond its canonical form: metadata and a header written more loosely.
const HEADER_SLACK_BYTES: u64 = 4 << 20;

/// Begins the upload of a submission.
pub async fn begin(context: &Arc<NodeContext>, mut submit: Submit) -> Result<Upload<SubmissionView>, NodeError> {
    context.lifecycle.refuse_if_draining()?;
    context.refuse_if_not_alone()?;
    let (model, joined) = context.catalog.find_joined(&submit.model)?;
    if !model.spec().admits(&context.identity.node()) {
        return Err(base_refused(BaseError::NotMember));
    }
    joined.refuse_if_ended()?;
    refuse_if_spent(&model, &joined)?;
    check(&mut submit)?;
    let report = report(model.spec(), &submit)?;
    submit.base = submit.base.map(|base| in_successor(context, &model, base));
    let base = match (submit.base, earlier_base(context, &submit, &model).await?) {
        (Some(base), _) | (None, Some(base)) => base,
        (None, None) => infer_base(&joined)?,
    };
    if let Some(outcome) = known_outcome(context, &submit, &model, base).await? {
        return Ok(Upload::done(context, outcome));
    }
    // A bad base is refused before a byte is sent, unless the same request may have come before, which `finish` compares.
    if let Err(error) = joined.ask(move |machine| machine.check_base(&base)).await?
        && !may_be_again(context, &submit, &model, base).await?
    {
        // A full inbox loses one sign of life; the next attempt gives another.
        let here = Input::TrainerHere(submit.trainer);
        let _ = joined.inbox.try_send(ModelCommand::Inputs(vec![here]));
        return Err(base_refused(error));
    }
    fixed_here(context, &joined).await?;
    let expected = model.file_bytes();
    let bytes_max = expected * 2 + HEADER_SLACK_BYTES;
    let options = submit.upload.clone();
    let owner = context.clone();
    let traceparent = qres_wire::trace::traceparent(&tracing::Span::current());
    Upload::open(context, options, expected, bytes_max, move |received| {
        Box::pin(finish(
            owner,
            (model, joined),
            (submit, report),
            base,
            traceparent,
            received,
        ))
    })
    .await
}

/// Refuses work of which nothing more may be released ([`Reason::PrivacySpent`]).
fn refuse_if_spent(model: &Model, joined: &Joined) -> Result<(), NodeError> {
    let releases = joined.releases.made();
    match privacy::gaussian(model.spec()).filter(|gaussian| !gaussian.may_release(releases)) {
        None => Ok(()),
        Some(gaussian) => Err(NodeError::new(
            Reason::PrivacySpent,
            format!(
                "this node has released {releases} noisy updates of its data, an epsilon of {:.4}, and one more would exceed \
                 the model's epsilon_max of {}: its part in this model is done",
                gaussian.epsilon(releases),
                gaussian.epsilon_max.unwrap_or(f64::INFINITY)
            ),
        )
        .field("model")),
    }
}

fn check(submit: &mut Submit) -> Result<(), NodeError> {
    if submit.samples == 0 || submit.samples > SAMPLES_MAX {
        return Err(NodeError::invalid(
            "samples",
            format!(
                "{}: a submission is worth 1 to {SAMPLES_MAX} training samples",
                submit.samples
            ),
        ));
    }
    if submit.trainer.len() > TRAINER_BYTES_MAX {
        return Err(NodeError::invalid(
            "trainer",
            format!("a trainer's name has at most {TRAINER_BYTES_MAX} bytes"),
        ));
    }
    if let Some(steps) = submit.steps
        && !(1.0..=STEPS_MAX).contains(&steps)
    {
        return Err(NodeError::invalid(
            "steps",
            format!("{steps}: the number of local steps is 1 to 2^40; leave it out if it is not known"),
        ));
    }
    if let Some(samples) = submit.evaluation_samples
        && !(1..=SAMPLES_MAX).contains(&samples)
    {
        return Err(NodeError::invalid(
            "evaluation_samples",
            format!("{samples}: metrics are measured on 1 to {SAMPLES_MAX} samples"),
        ));
    }
    submit.trainer = trainer_name(&submit.trainer).to_owned();
    // A loss that is no number (NaN) is worth knowing, and says nothing about the weights.
    let long = |name: &String| name.len() > METRIC_NAME_BYTES_MAX;
    if submit.metrics.len() > METRICS_MAX || submit.metrics.keys().any(long) {
        return Err(NodeError::invalid(
            "metrics",
            format!("at most {METRICS_MAX} numbers, their names at most {METRIC_NAME_BYTES_MAX} bytes"),
        ));
    }
    Ok(())
}

/// Returns the part of what a trainer said that goes into the contribution: its steps, and the metrics that the spec names. A
/// value that is not finite (a loss that diverged, say) stays on this node.
fn report(spec: &Spec, submit: &Submit) -> Result<Report, NodeError> {
    let samples = submit.evaluation_samples.unwrap_or(submit.samples);
    let measured = |metric: &Metric| {
        let value = *submit.metrics.get(&metric.name)?;
        is_metric_value(value).then_some(Measured { value, samples })
    };
    // With noise the number of steps would say how much data there is.
    let steps = submit.steps.filter(|_| privacy::gaussian(spec).is_none());
    let report = Report {
        steps,
        metrics: spec.metrics.iter().map(measured).collect(),
    };
    match strategy::report_fault(spec, &report) {
        None => Ok(report),
        Some(fault) => {
            let field = if strategy::normalises(&spec.strategy) {
                "steps"
            } else {
                "metrics"
            };
            Err(NodeError::invalid(field, fault))
        }
    }
}

/// Returns the base of a trainer that names none, if there is just one that it can mean; else the error
/// [`Reason::BaseAmbiguous`].
fn infer_base(joined: &Joined) -> Result<CheckpointId, NodeError> {
    let head = joined.heads.borrow().head;
    let handed_out = joined.handed_out.lock().clone();
    let mut bases = handed_out.iter();
    match (bases.next(), bases.next()) {
        (Some(one), None) => Ok(*one),
        // The creator of the model holds checkpoint 0 without a fetch.
        (None, _) if head.round == 0 => Ok(head.id),
        _ => Err(NodeError::new(
            Reason::BaseAmbiguous,
            format!(
                "{} checkpoints were handed out for the open round, so which one this was trained from is unknown: fetch, \
                 and name its checkpoint as base",
                handed_out.len()
            ),
        )
        .field("base")),
    }
}

/// Returns the base that was inferred when this key came first: the same request must mean the same base though the head has
/// moved since.
async fn earlier_base(
    context: &Arc<NodeContext>,
    submit: &Submit,
    model: &Model,
) -> Result<Option<CheckpointId>, NodeError> {
    let (Some(key), None) = (submit.upload.key.clone(), submit.base) else {
        return Ok(None);
    };
    let earlier = context
        .disk
        .blocking(move |store| match store.key(&key)?.map(|key| key.outcome) {
            Some(KeyOutcome::Submission(id)) => store.submission(id),
            Some(KeyOutcome::Model(_)) | None => Ok(None),
        });
    let earlier = earlier
        .await?
        .filter(|submission| submission.spec == model.id || Some(submission.spec) == model.spec().succeeds);
    Ok(earlier.map(|submission| in_successor(context, model, submission.base)))
}

/// Returns the BLAKE3 of everything a key stands for.
fn request_digest((submit, report): (&Submit, &Report), spec: &SpecId, base: &CheckpointId, blob: &BlobId) -> [u8; 32] {
    let delta = submit.kind == SubmissionKind::Delta;
    identity_of(spec, base, blob, (submit.samples, report), delta, &submit.trainer)
}

/// Returns the BLAKE3 of everything a submission is: the bytes of its id.
pub fn identity_of(
    spec: &SpecId,
    base: &CheckpointId,
    blob: &BlobId,
    (samples, report): (u64, &Report),
    delta: bool,
    trainer: &str,
) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"qres/submit/2\n");
    for part in [&spec.0[..], &base.0, &blob.0, &samples.to_le_bytes()] {
        hasher.update(part);
    }
    hasher.update(&[u8::from(delta)]);
    hasher.update(&report.to_bytes());
    hasher.update(trainer.as_bytes());
    *hasher.finalize().as_bytes()
}

/// Returns the answer of an earlier request, when the digest announced now shows it to be the same one.
async fn known_outcome(
    context: &Arc<NodeContext>,
    submit: &Submit,
    model: &Model,
    base: CheckpointId,
) -> Result<Option<SubmissionView>, NodeError> {
    let Some(digest) = submit.upload.digest else {
        return Ok(None);
    };
    let report = report(model.spec(), submit)?;
    let request = request_digest((submit, &report), &model.id, &base, &digest);
    let Some(key) = submit.upload.key.clone() else {
        let found = context
            .disk
            .blocking(move |store| store.submission(SubmissionId(request)));
        let found = found.await?.filter(|submission| !submission.is_rejected());
        return Ok(found.as_ref().map(SubmissionView::of));
    };
    let Some(stored) = context.disk.blocking(move |store| store.key(&key)).await? else {
        return Ok(None);
    };
    answer_of(context, model, stored, request).await.map(Some)
}

/// Returns true if this can be a request that was answered before: its key is known, or its trainer has submitted on this base.
async fn may_be_again(
    context: &Arc<NodeContext>,
    submit: &Submit,
    model: &Model,
    base: CheckpointId,
) -> Result<bool, NodeError> {
    let (key, trainer, spec) = (submit.upload.key.clone(), submit.trainer.clone(), model.id);
    let known = move |store: &Store| {
        let of_key = key.map(|key| store.key(&key)).transpose()?.flatten();
        Ok::<_, StoreError>(of_key.is_some() || store.submission_for(spec, &trainer, base)?.is_some())
    };
    Ok(context.disk.blocking(known).await?)
}

/// Returns the answer of the request that made a stored key, if this request is the same one. Work of the model that `model`
/// succeeds is the same request, too: its trainer may not know yet that the members changed.
async fn answer_of(
    context: &Arc<NodeContext>,
    model: &Model,
    stored: StoredKey,
    request: [u8; 32],
) -> Result<SubmissionView, NodeError> {
    let KeyOutcome::Submission(id) = stored.outcome else {
        return Err(key_taken(&stored.key));
    };
    let find =
        move |store: &Store| Ok::<_, StoreError>((store.submission(id)?, store.submission(SubmissionId(request))?));
    let (mut found, carried) = context.disk.blocking(find).await?;
    if stored.request != request {
        let before = |old: &StoredSubmission| {
            let base = in_successor(context, model, old.base);
            let counts = (old.samples, &old.report);
            let now = identity_of(&model.id, &base, &old.blob, counts, old.delta, &old.trainer);
            Some(old.spec) == model.spec().succeeds && now == request
        };
        if !found.as_ref().is_some_and(before) {
            return Err(key_taken(&stored.key));
        }
        found = carried.or(found);
    }
    found.as_ref().map(SubmissionView::of).ok_or_else(|| {
        NodeError::new(
            Reason::SubmissionExpired,
            "the submission of this key is no longer kept: use a new key",
        )
    })
}

async fn finish(
    context: Arc<NodeContext>,
    (model, joined): (Arc<Model>, Arc<Joined>),
    (submit, report): (Submit, Report),
    base: CheckpointId,
    traceparent: Option<String>,
    received: Received,
) -> Result<SubmissionView, NodeError> {
    let request = request_digest((&submit, &report), &model.id, &base, &received.blob);
    if let Some(key) = submit.upload.key.clone()
        && let Some(stored) = context.disk.blocking(move |store| store.key(&key)).await?
    {
        return answer_of(&context, &model, stored, request).await;
    }
    let delta = submit.kind == SubmissionKind::Delta;
    let personal = tensors::check(&context, &model, &submit.trainer, received.blob, delta).await?;
    context.lifecycle.refuse_if_draining()?;
    context.refuse_if_not_alone()?;
    let stored = StoredSubmission {
        id: SubmissionId(request),
        spec: model.id,
        model: model.spec().name.clone(),
        trainer: submit.trainer,
        base,
        samples: submit.samples,
        delta,
        metrics: submit.metrics,
        report,
        blob: received.blob,
        bytes: received.bytes,
        personal,
        at_unix_ms: unix_ms(),
        final_unix_ms: None,
        state: SubmissionState::Pending,
        traceparent,
    };
    let key = submit.upload.key.map(|key| StoredKey {
        key,
        request,
        outcome: KeyOutcome::Submission(stored.id),
        at_unix_ms: stored.at_unix_ms,
    });
    let (reply, answer) = oneshot::channel();
    let request = Box::new(SubmitRequest {
        stored,
        key,
        guard: received.guard,
        reply,
    });
    joined
        .inbox
        .send(ModelCommand::Submit(request))
        .await
        .map_err(|_| stopped())?;
    answer.await.map_err(|_| stopped())?
}
