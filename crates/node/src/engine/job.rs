//! Work that takes long: checking, coding and aggregating tensors, off the async threads, at most two at a time.

use std::io;
use std::sync::Arc;

use qres_fed::id::BlobId;
use qres_fed::record::Spec;
use qres_fed::round::{AggregateJob, EncodeJob, FreshItem, Input};
use qres_fed::tensor::{self, Source, TensorError};
use qres_fed::update::{self, Part, Weighted};
use tracing::{Instrument, info_span, warn};

use super::Core;
use super::model::{Message, ModelTask};
use super::registry::Model;
use crate::store::{BlobFile, Store};

/// Runs `work` when a slot is free and hands its answer to the model's task. The guard keeps a new blob from the collector
/// until the machine has heard of it.
fn spawn(
    core: &Arc<Core>,
    model: &Arc<Model>,
    span: tracing::Span,
    work: impl FnOnce(&Store, &Model) -> Input + Send + 'static,
) {
    let (core, model) = (core.clone(), model.clone());
    let core_tasks = core.tasks.clone();
    let traceparent = crate::trace::traceparent(&span);
    let task = async move {
        // The semaphore is never closed.
        let Ok(_slot) = core.jobs.clone().acquire_owned().await else {
            return;
        };
        let guard = core.in_flight.clone().read_owned().await;
        let worked_on = model.clone();
        let input = core.blocking(move |store| work(store, &worked_on)).await;
        if let Some(joined) = model.joined() {
            // Fails only when the model was left meanwhile.
            let _ = joined
                .inbox
                .send(Message::Done {
                    input,
                    guard,
                    traceparent,
                })
                .await;
        }
    };
    core_tasks.spawn(task.instrument(span));
}

/// Checks a blob that is here: an update's length, codes and finiteness; weights' schema and finiteness.
pub fn check(task: &ModelTask, blob: BlobId, update: bool) {
    let span = info_span!("check", %blob, update);
    spawn(&task.core, &task.model, span, move |store, model| {
        let checked = open(store, &blob).and_then(|file| {
            if update {
                update::check(model.spec(), &file)
            } else {
                check_canonical(model, &file)
            }
        });
        match checked {
            Ok(()) => Input::BlobHere(blob),
            Err(TensorError::Bad(reason)) => {
                warn!(model = %model.spec().name, %blob, reason, "a blob is off the schema");
                Input::BlobBad(blob)
            }
            Err(TensorError::Io(error)) => {
                // It was here a moment ago: the machine asks again on its next occasion.
                warn!(model = %model.spec().name, %blob, %error, "a blob cannot be read");
                Input::Tick
            }
        }
    });
}

/// Whether a file is the canonical one of the model's schema, every float finite.
fn check_canonical(model: &Model, file: &dyn Source) -> Result<(), TensorError> {
    let header = model.layout.header();
    if file.len() != model.layout.file_bytes() {
        return Err(TensorError::Bad(format!(
            "weights have {} bytes, the schema's canonical file {}",
            file.len(),
            model.layout.file_bytes()
        )));
    }
    let mut found = vec![0; header.len()];
    file.read_at(0, &mut found)?;
    if found != header {
        return Err(TensorError::Bad("the header is not the schema's canonical one".into()));
    }
    tensor::check_weights(&model.spec().tensors, file).map(|_| ())
}

fn open(store: &Store, blob: &BlobId) -> Result<BlobFile, TensorError> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, format!("blob {blob} is not held"));
    store
        .blobs()
        .open(blob)
        .map_err(io::Error::other)?
        .ok_or_else(|| missing().into())
}

/// Merges, differences and codes a node's submissions.
pub fn encode(task: &mut ModelTask, work: EncodeJob) {
    let span = task.traces.encoding(&work);
    spawn(&task.core, &task.model, span, move |store, model| {
        let parent = work.parent;
        match run_encode(store, model.spec(), &work) {
            Ok((update, coded)) => Input::Encoded {
                parent,
                update,
                update_bytes: coded.bytes,
                samples: coded.samples,
                fidelity: coded.fidelity,
            },
            Err(error) => {
                warn!(model = %model.spec().name, %error, "cannot code an update: it is tried again");
                Input::EncodeFailed {
                    parent,
                    submissions: vec![],
                    reason: error.to_string(),
                }
            }
        }
    });
}

fn run_encode(store: &Store, spec: &Spec, work: &EncodeJob) -> Result<(BlobId, update::Coded), TensorError> {
    let base = open(store, &work.weights)?;
    let mut files = Vec::new();
    for (id, samples) in &work.submissions {
        let stored = store.submission(*id).map_err(io::Error::other)?;
        let stored = stored.ok_or_else(|| io::Error::other(format!("submission {id} is not stored")))?;
        files.push((open(store, &stored.blob)?, *samples, stored.delta));
    }
    let parts: Vec<_> = files
        .iter()
        .map(|(file, samples, delta)| Part {
            file,
            samples: *samples,
            delta: *delta,
        })
        .collect();
    let mut out = store.blobs().writer().map_err(io::Error::other)?;
    let coded = update::merge_and_encode(spec, &base, &parts, &mut out)?;
    // Signed next, and never coded again: on the disk first.
    let (blob, _) = out.finish(true).map_err(io::Error::other)?;
    Ok((blob, coded))
}

/// Aggregates contributions onto their parent.
pub fn aggregate(task: &mut ModelTask, work: AggregateJob) {
    let span = info_span!(
        "aggregate",
        round = work.proposal.round,
        fresh = work.fresh.len(),
        late = work.late.len()
    );
    let items = work
        .fresh
        .iter()
        .map(|item| item.id)
        .chain(work.late.iter().map(|late| late.item.id));
    for traceparent in task.links(items) {
        crate::trace::link(&span, &traceparent);
    }
    spawn(&task.core, &task.model, span, move |store, model| {
        match run_aggregate(store, model.spec(), &work) {
            Ok(result) => Input::Aggregated {
                proposal: work.id,
                result,
            },
            Err(error) => {
                warn!(model = %model.spec().name, %error, "cannot aggregate: it is tried again");
                Input::AggregateFailed { proposal: work.id }
            }
        }
    });
}

fn run_aggregate(store: &Store, spec: &Spec, work: &AggregateJob) -> Result<BlobId, TensorError> {
    let parent = open(store, &work.weights)?;
    let load =
        |item: &FreshItem, staleness: u32| Ok::<_, TensorError>((open(store, &item.update)?, item.samples, staleness));
    let fresh = work
        .fresh
        .iter()
        .map(|item| load(item, 0))
        .collect::<Result<Vec<_>, _>>()?;
    let late = work
        .late
        .iter()
        .map(|late| load(&late.item, late.staleness))
        .collect::<Result<Vec<_>, _>>()?;
    let fresh: Vec<_> = fresh
        .iter()
        .map(|(f, s, t)| Weighted {
            update: f,
            samples: *s,
            staleness: *t,
        })
        .collect();
    let late: Vec<_> = late
        .iter()
        .map(|(f, s, t)| Weighted {
            update: f,
            samples: *s,
            staleness: *t,
        })
        .collect();
    let mut out = store.blobs().writer().map_err(io::Error::other)?;
    update::aggregate(spec, &parent, &fresh, &late, &mut out)?;
    // It can be computed again, so it is not flushed here: the collector flushes what it relies on.
    let (blob, _) = out.finish(false).map_err(io::Error::other)?;
    Ok(blob)
}
