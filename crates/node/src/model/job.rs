//! Long work: tensors are checked, coded and aggregated off the async threads, at most two jobs at a time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use qres_fed::aggregation::Verdict;
use qres_fed::id::{BlobId, SubmissionId};
use qres_fed::record::{BlobRole, Content, Spec, TensorSpec};
use qres_fed::round::{AggregateJob, EncodeJob, FreshItem, Input};
use qres_fed::tensor::{self, Layout, Source, TensorError};
use qres_fed::update::{self, NoiseKey, Outputs, Parent, Part, Weighted};
use qres_fed::{privacy, strategy};
use qres_store::{BlobFile, BlobWriter, Blobs, Owner, Store};
use qres_wire::clock;
use qres_wire::trace;
use rand::TryRng;
use rand::rngs::SysRng;
use tokio::sync::{OwnedRwLockReadGuard, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, warn};

use crate::catalog::command::{Judged, ModelCommand};
use crate::catalog::entry::Model;
use crate::context::NodeContext;
use crate::metrics::Job;
use crate::releases;

/// The pause before a blob that could not be read is looked for again.
const UNREAD_PAUSE: Duration = Duration::from_secs(1);

/// The outcome of a job: its answer, or the blob that could not be read.
type Outcome = Result<Answer, BlobId>;

/// The answer of a job.
struct Answer {
    /// The input for the machine.
    input: Input,
    /// What the job found out besides, for the task to store.
    judged: Option<Judged>,
}

impl From<Input> for Answer {
    fn from(input: Input) -> Self {
        Self { input, judged: None }
    }
}

/// Runs the jobs of one model's task.
pub struct Jobs {
    context: Arc<NodeContext>,
    model: Arc<Model>,
    /// Takes the answers to this task, and to no later one of the same model. Weak: callers alone keep the inbox open.
    inbox: mpsc::WeakSender<ModelCommand>,
    /// Ends with the task.
    stop: CancellationToken,
}

impl Jobs {
    /// Creates the jobs of a task that has this inbox.
    pub fn new(
        context: Arc<NodeContext>,
        model: Arc<Model>,
        inbox: mpsc::WeakSender<ModelCommand>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            context,
            model,
            inbox,
            stop,
        }
    }

    /// Runs `work` when a slot is free and hands its [`Outcome`] to the task, unless the task has ended. The guard keeps a new
    /// blob from the collector until the machine knows of the blob.
    fn spawn(&self, job: Job, span: Span, work: impl Fn(&Store, &Model) -> Outcome + Send + Sync + 'static) {
        let (context, model, inbox, stop) = (
            self.context.clone(),
            self.model.clone(),
            self.inbox.clone(),
            self.stop.clone(),
        );
        let what = format!("a job of model {}", model.spec().name);
        let traceparent = trace::traceparent(&span);
        let counted = context.clone();
        let work = Arc::new(move |store: &Store, model: &Model| {
            let begun = clock::now();
            let outcome = work(store, model);
            counted.metrics.job(job, clock::now() - begun);
            outcome
        });
        let task = async move {
            let Some((outcome, guard)) = run(&context, &model, &stop, job, work).await else {
                return;
            };
            let command = match outcome {
                Ok(Answer { input, judged }) => ModelCommand::Done {
                    input,
                    judged,
                    guard,
                    traceparent,
                },
                Err(blob) => {
                    drop(guard);
                    tokio::time::sleep(UNREAD_PAUSE).await;
                    ModelCommand::Unread(blob)
                }
            };
            if let Some(inbox) = inbox.upgrade() {
                // Sending fails only when the model was left meanwhile.
                let _ = inbox.send(command).await;
            }
        };
        self.context.lifecycle.spawn_critical(what, task.instrument(span));
    }

    /// Checks a blob that is here: the length, codes and finiteness of an update, or the schema and finiteness of a
    /// checkpoint's blob.
    pub fn check(&self, blob: BlobId, role: BlobRole, span: Span) {
        self.spawn(Job::Check, span, move |store, model| {
            let blobs = blobs(store, model);
            let checked = open(&blobs, &blob).and_then(|file| match role {
                BlobRole::Update => update::check(model.spec(), &file),
                BlobRole::Weights => check_canonical(&model.layout, &model.spec().tensors, &file),
                BlobRole::Optimiser => check_state(model, &file),
            });
            match checked {
                Ok(()) => Ok(Input::BlobHere { blob, role }.into()),
                // The author is to blame only if these are the author's bytes: a damaged file is removed, and fetched again.
                Err(TensorError::Bad(_)) if !matches!(blobs.verify(&blob), Ok(true)) => Err(blob),
                Err(TensorError::Bad(reason)) => {
                    warn!(model = %model.spec().name, %blob, reason, "a blob is off the schema");
                    Ok(Input::BlobBad { blob, role }.into())
                }
                Err(TensorError::Io(error)) => {
                    warn!(model = %model.spec().name, %blob, %error, "a blob cannot be read: it is looked for again");
                    Err(blob)
                }
            }
        });
    }

    /// Merges a node's submissions, takes the difference to their base, and codes it.
    pub fn encode(&self, work: EncodeJob, span: Span) {
        self.spawn(Job::Encode, span, move |store, model| {
            let parent = work.parent;
            Ok(match run_encode(store, model, &work) {
                Ok(Encoded {
                    update,
                    coded,
                    releases,
                }) => Input::Encoded {
                    parent,
                    update,
                    update_bytes: coded.bytes,
                    samples: coded.samples,
                    fidelity: coded.fidelity,
                    releases,
                }
                .into(),
                Err(EncodeError { at_fault, error }) => {
                    warn!(model = %model.spec().name, %error, rejected = at_fault.len(), "cannot code an update");
                    Input::EncodeFailed {
                        parent,
                        submissions: at_fault,
                        reason: error.to_string(),
                    }
                    .into()
                }
            })
        });
    }

    /// Aggregates contributions onto their parent in an [`AggregateJob`].
    pub fn aggregate(&self, work: AggregateJob, span: Span) {
        self.spawn(Job::Aggregate, span, move |store, model| {
            Ok(match run_aggregate(&blobs(store, model), model, &work) {
                Ok((result, verdicts)) => Answer {
                    input: Input::Aggregated {
                        proposal: work.id,
                        result,
                    },
                    judged: Some(judged(&work, result, verdicts)),
                },
                Err(error) => {
                    warn!(model = %model.spec().name, %error, "cannot aggregate: it is tried again");
                    Input::AggregateFailed { proposal: work.id }.into()
                }
            })
        });
    }
}

/// Waits for a slot and runs `work`; `None` means that the task has ended meanwhile.
async fn run(
    context: &NodeContext,
    model: &Arc<Model>,
    stop: &CancellationToken,
    job: Job,
    work: Arc<impl Fn(&Store, &Model) -> Outcome + Send + Sync + 'static>,
) -> Option<(Outcome, OwnedRwLockReadGuard<()>)> {
    let signs = !matches!(job, Job::Check);
    loop {
        // The result of coding or aggregating is signed next.
        if signs {
            stop.run_until_cancelled(context.alone()).await?;
        }
        // The semaphore is never closed.
        let _slot = context.slots.jobs.clone().acquire_owned().await.ok()?;
        let guard = context.disk.keep_new_blobs().await;
        if stop.is_cancelled() {
            return None;
        }
        let (work, model) = (work.clone(), model.clone());
        let outcome = context.disk.blocking(move |store| work(store, &model)).await;
        // If a second process with this identity was met meanwhile, nothing is signed, and the work is done again.
        if !signs || context.is_alone() {
            return Some((outcome, guard));
        }
    }
}

/// Checks that a file is the canonical one of a schema, which has this layout, and that every float is finite.
fn check_canonical(layout: &Layout, schema: &[TensorSpec], file: &dyn Source) -> Result<(), TensorError> {
    if !layout.is_canonical(file)? {
        return Err(TensorError::Bad(format!(
            "{} bytes that are not the schema's canonical file of {}",
            file.len(),
            layout.file_bytes()
        )));
    }
    tensor::check_weights(schema, file).map(|_| ())
}

/// Checks that a file is a state of the model's server optimiser.
fn check_state(model: &Model, file: &dyn Source) -> Result<(), TensorError> {
    match (&model.state_layout, strategy::state_schema(model.spec())) {
        (Some(layout), Some(schema)) => check_canonical(layout, &schema, file),
        _ => Err(TensorError::Bad("the strategy has no server optimiser".into())),
    }
}

/// Returns the [`Blobs`] that the model holds: its jobs see no others.
fn blobs(store: &Store, model: &Model) -> Blobs {
    store.blobs_of(Owner::Model(model.id))
}

fn open(blobs: &Blobs, blob: &BlobId) -> Result<BlobFile, TensorError> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, format!("blob {blob} is not held"));
    blobs
        .open(blob)
        .map_err(io::Error::other)?
        .ok_or_else(|| missing().into())
}

/// The reason why submissions cannot be coded, and those that will never be coded: a new try with them would fail for ever.
#[derive(Debug)]
struct EncodeError {
    at_fault: Vec<SubmissionId>,
    error: TensorError,
}

impl From<TensorError> for EncodeError {
    fn from(error: TensorError) -> Self {
        Self {
            at_fault: vec![],
            error,
        }
    }
}

impl From<io::Error> for EncodeError {
    fn from(error: io::Error) -> Self {
        TensorError::Io(error).into()
    }
}

/// Returns the file of a submission, and true if it is a delta. A file that is gone will not come back, so its submission is at
/// fault.
fn open_submission(store: &Store, id: SubmissionId) -> Result<(BlobFile, bool), EncodeError> {
    let gone = || EncodeError {
        at_fault: vec![id],
        error: io::Error::other("the submission's bytes are no longer on the disk: submit them again").into(),
    };
    let stored = store.submission(id).map_err(io::Error::other)?.ok_or_else(gone)?;
    let file = store.blobs_of(Owner::Node).open(&stored.blob);
    let file = file.map_err(io::Error::other)?;
    Ok((file.ok_or_else(gone)?, stored.delta))
}

/// An update that is coded and on the disk.
struct Encoded {
    update: BlobId,
    coded: update::Coded,
    /// The noisy updates of this node, this one included.
    releases: u64,
}

fn run_encode(store: &Store, model: &Model, work: &EncodeJob) -> Result<Encoded, EncodeError> {
    let (spec, blobs) = (model.spec(), blobs(store, model));
    let base = open(&blobs, &work.weights)?;
    let mut files = Vec::new();
    for item in &work.submissions {
        let (file, delta) = open_submission(store, item.id)?;
        files.push((file, item, delta));
    }
    let parts: Vec<_> = files
        .iter()
        .map(|(file, item, delta)| Part {
            file,
            samples: item.samples,
            steps: item.steps,
            delta: *delta,
        })
        .collect();
    let out = blobs.writer(update::coded_bytes(spec)?).map_err(io::Error::other)?;
    let mut out = out.to_be_flushed();
    if parts.is_empty() {
        // A vote for the last checkpoint of a run.
        let coded = update::encode_zeros(spec, &base, &mut out)?;
        let (update, _) = out.finish(true).map_err(io::Error::other)?;
        let releases = model.joined().map_or(0, |joined| joined.releases.made());
        return Ok(Encoded {
            update,
            coded,
            releases,
        });
    }
    let ids: Vec<_> = work.submissions.iter().map(|item| item.id).collect();
    let releases = count_release(store, model, &ids)?;
    let coded = encode(spec, &base, &parts, &mut out);
    // The update is signed next, and never coded again: it must be on the disk first.
    let finished = coded.and_then(|coded| Ok((coded, out.finish(true).map_err(io::Error::other)?)));
    match finished {
        Ok((coded, (update, _))) => Ok(Encoded {
            update,
            coded,
            releases,
        }),
        Err(error) => {
            if let (TensorError::Io(_), Some(joined)) = (&error, model.joined()) {
                joined.releases.give_back();
            }
            Err(at_fault(spec, &base, &parts, &ids, error))
        }
    }
}

/// Codes the update of these submissions, with new noise if the model has noise.
fn encode(
    spec: &Spec,
    base: &BlobFile,
    parts: &[Part<'_>],
    out: &mut dyn io::Write,
) -> Result<update::Coded, TensorError> {
    if privacy::gaussian(spec).is_none() {
        return update::merge_and_encode(spec, base, parts, out);
    }
    let mut key = [0; 32];
    SysRng.try_fill_bytes(&mut key).map_err(io::Error::other)?;
    update::merge_and_encode_privately(spec, base, parts, NoiseKey::new(key), out)
}

/// Counts one more noisy update, on the disk, before there is one. Returns their number, 0 in a model without noise. All submissions
/// are at fault if the budget is spent.
fn count_release(store: &Store, model: &Model, ids: &[SubmissionId]) -> Result<u64, EncodeError> {
    let spec = model.spec();
    let (Some(gaussian), Some(joined)) = (privacy::gaussian(spec), model.joined()) else {
        return Ok(0);
    };
    let write = |count| store.commit(vec![releases::write(spec, model.id, &gaussian, count)]);
    let counted = joined.releases.count(&gaussian, write).map_err(io::Error::other)?;
    let spent = "privacy: the model's epsilon_max is spent, so nothing more of this node's data is released";
    counted.ok_or_else(|| EncodeError {
        at_fault: ids.to_vec(),
        error: TensorError::Bad(spent.into()),
    })
}

/// Finds the submissions that make a merge fail: those that fail alone, or all when none fails alone. Their tensors were
/// checked when they came in. An error now shows in the update: it is beyond what the codec holds, or the files have changed.
fn at_fault(spec: &Spec, base: &BlobFile, parts: &[Part<'_>], ids: &[SubmissionId], error: TensorError) -> EncodeError {
    if let TensorError::Io(_) = error {
        return error.into();
    }
    let alone = parts.iter().zip(ids).filter_map(|(part, id)| {
        let merged = encode(spec, base, std::slice::from_ref(part), &mut io::sink());
        merged.err().map(|error| (*id, error))
    });
    let failed: Vec<_> = alone.collect();
    let at_fault = match failed.is_empty() {
        true => ids.to_vec(),
        false => failed.iter().map(|(id, _)| *id).collect(),
    };
    let error = failed.into_iter().next().map_or(error, |(_, alone)| alone);
    EncodeError { at_fault, error }
}

/// Returns the verdicts of a proposal's checkpoint, each with its contribution.
fn judged(work: &AggregateJob, result: Content, verdicts: Vec<Verdict>) -> Judged {
    let checkpoint = work.proposal.clone().checkpoint(result);
    Judged {
        round: checkpoint.round,
        checkpoint: checkpoint.id(),
        verdicts: checkpoint
            .fresh
            .into_iter()
            .chain(checkpoint.late)
            .zip(verdicts)
            .collect(),
    }
}

fn run_aggregate(blobs: &Blobs, model: &Model, work: &AggregateJob) -> Result<(Content, Vec<Verdict>), TensorError> {
    let weights = open(blobs, &work.base.weights)?;
    let state = work.base.optimiser.map(|blob| open(blobs, &blob)).transpose()?;
    let late = work.late.iter().map(|late| (&late.item, late.staleness));
    let listed: Vec<(&FreshItem, u32)> = work.fresh.iter().map(|item| (item, 0)).chain(late).collect();
    let files = listed.iter().map(|(item, _)| open(blobs, &item.update));
    let files = files.collect::<Result<Vec<_>, _>>()?;
    let weighted = |(file, (item, staleness)): (_, &(&FreshItem, u32))| Weighted {
        update: file,
        author: item.author,
        samples: item.samples,
        staleness: *staleness,
        figures: item.figures,
    };
    let weighted: Vec<Weighted<'_>> = files
        .iter()
        .map(|file| file as &dyn Source)
        .zip(&listed)
        .map(weighted)
        .collect();
    let (fresh, late) = weighted.split_at(work.fresh.len());
    let parent = Parent {
        id: work.proposal.parent,
        weights: &weights,
        optimiser: state.as_ref().map(|file| file as &dyn Source),
    };
    let writer = |layout: &Layout| blobs.writer(layout.file_bytes()).map_err(io::Error::other);
    let mut weights_out = writer(&model.layout)?;
    let mut state_out = model.state_layout.as_ref().map(writer).transpose()?;
    let outputs = Outputs {
        weights: &mut weights_out,
        optimiser: state_out.as_mut().map(|out| out as &mut dyn io::Write),
    };
    let verdicts = update::aggregate(model.spec(), parent, fresh, late, outputs)?;
    // The result can be computed again, so it is not flushed here: the collector flushes the blobs that the node relies on.
    let finish = |out: BlobWriter| Ok::<_, TensorError>(out.finish(false).map_err(io::Error::other)?.0);
    let content = Content {
        weights: finish(weights_out)?,
        optimiser: state_out.map(finish).transpose()?,
    };
    Ok((content, verdicts))
}
