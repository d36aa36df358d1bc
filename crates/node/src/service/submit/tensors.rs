//! The tensors of a submission: they are checked, and the personal ones are kept for their trainer.

use std::io;
use std::sync::Arc;

use qres_fed::id::BlobId;
use qres_fed::tensor::{self, Source, SubmissionPlacement, TensorError};
use qres_store::{BlobFile, Owner, Store};

use crate::catalog::entry::Model;
use crate::catalog::fixed::FixedParts;
use crate::context::NodeContext;
use crate::error::{NodeError, Reason};
use crate::refusal::tensors_refused;

/// The most trainers of a model that have personal tensors on one node: their files are kept as long as the model.
const PERSONAL_TRAINERS_MAX: usize = 1024;

/// Checks the file of a submission. Returns the blob with its personal tensors, if it has some.
pub async fn check(
    context: &Arc<NodeContext>,
    model: &Arc<Model>,
    trainer: &str,
    blob: BlobId,
    delta: bool,
) -> Result<Option<BlobId>, NodeError> {
    let (owner, model, trainer) = (context.clone(), model.clone(), trainer.to_owned());
    let check = move |store: &Store| -> Result<Option<BlobId>, NodeError> {
        let file = open(store, Owner::Node, &blob).map_err(tensors_refused)?;
        let Some(fixed) = &model.fixed else {
            let checked = owner.headers.check(&model.spec().tensors, &file);
            return checked.map(|()| None).map_err(tensors_refused);
        };
        let placement = owner.headers.check_submission(&model.spec().tensors, &file);
        let placement = placement.map_err(tensors_refused)?;
        check_fixed(store, &model, fixed, (&placement, &file), delta).map_err(tensors_refused)?;
        if placement.personal.is_none() {
            return Ok(None);
        }
        refuse_if_full(store, &model, &trainer)?;
        keep(store, fixed, &placement, &file).map(Some).map_err(tensors_refused)
    };
    context.disk.blocking(check).await
}

fn open(store: &Store, owner: Owner, blob: &BlobId) -> Result<BlobFile, TensorError> {
    let file = store.blobs_of(owner).open(blob).map_err(io::Error::other)?;
    Ok(file.ok_or_else(|| io::Error::other(format!("blob {blob} vanished")))?)
}

/// Checks the tensors of a submission that rounds do not change.
fn check_fixed(
    store: &Store,
    model: &Model,
    fixed: &FixedParts,
    (placement, file): (&SubmissionPlacement, &dyn Source),
    delta: bool,
) -> Result<(), TensorError> {
    if delta && (placement.personal.is_some() || !placement.frozen.is_empty()) {
        return Err(TensorError::Bad(
            "a difference has the shared tensors only: leave the frozen ones out, and send personal ones with whole weights".into(),
        ));
    }
    if placement.frozen.is_empty() {
        return Ok(());
    }
    let tensors = &model.spec().tensors;
    let values = open(store, Owner::Model(model.id), &fixed.blob)?;
    let places = tensor::place(tensors.fixed(), &values)?;
    tensor::check_frozen((placement, file), tensors, (&places, &values))
}

/// Refuses the personal tensors of one more trainer than [`PERSONAL_TRAINERS_MAX`].
fn refuse_if_full(store: &Store, model: &Model, trainer: &str) -> Result<(), NodeError> {
    let known = store.personal(model.id, trainer)?.is_some();
    if known || store.all_personal(model.id)?.len() < PERSONAL_TRAINERS_MAX {
        return Ok(());
    }
    let problem = format!(
        "this node keeps the personal tensors of {PERSONAL_TRAINERS_MAX} trainers of the model, and of no more: use the name of one of \
         them"
    );
    Err(NodeError::new(Reason::PersonalFull, problem).field("trainer"))
}

/// Writes the personal tensors of a submission to a file of their own.
fn keep(
    store: &Store,
    fixed: &FixedParts,
    placement: &SubmissionPlacement,
    file: &dyn Source,
) -> Result<BlobId, TensorError> {
    let Some(personal) = &placement.personal else {
        return Err(TensorError::Bad("the file has no personal tensors".into()));
    };
    let own = store.blobs_of(Owner::Node);
    let out = own.writer(fixed.personal.file_bytes()).map_err(io::Error::other)?;
    let mut out = out.to_be_flushed();
    fixed.personal.write_canonical(file, personal, &mut out)?;
    Ok(out.finish(true).map_err(io::Error::other)?.0)
}
