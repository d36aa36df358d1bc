//! A model whose first weights come from a seed: only its creator makes them; for the other nodes they are a blob like any
//! other.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use qres_fed::id::BlobId;
use qres_fed::record::{Schema, TensorSpec};
use qres_fed::tensor::{self, Layout};
use qres_store::{Owner, StoreError};

use super::establish::establish;
use super::kinds::kinds;
use super::spec::{First, WEIGHTS_BYTES_MAX, request_digest, spec_of, spec_refused};
use crate::context::NodeContext;
use crate::error::NodeError;
use crate::request::{CreateModel, Seeded};
use crate::upload::{Received, upload_place};
use crate::view::ModelView;

/// Checks the schema, makes the weights, and creates the model from them.
pub async fn make(context: &Arc<NodeContext>, create: &CreateModel, seeded: Seeded) -> Result<ModelView, NodeError> {
    let Seeded { mut tensors, seed } = seeded;
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let me = context.identity.node();
    // Checked before a byte is written: a schema that agrees with itself has lengths that can be added up.
    let whole = Schema::from(tensors);
    spec_of(me, create, whole.clone(), First::of_weights(BlobId([0; 32])))
        .check()
        .map_err(|error| spec_refused(create, error))?;
    let bytes = Layout::of(&whole).file_bytes();
    if bytes > WEIGHTS_BYTES_MAX {
        let problem = format!("{bytes} bytes of weights: at most {WEIGHTS_BYTES_MAX} are taken here");
        return Err(NodeError::invalid("tensors", problem));
    }
    let tensors = kinds(&whole, create)?;
    // Making weights is as heavy as an upload, so it takes one of the places for uploads.
    let place = upload_place(context)?;
    let guard = context.disk.keep_new_blobs().await;
    let (schema, wishes) = (tensors.clone(), create.clone());
    let caller = Caller::default();
    let gone = caller.gone.clone();
    let made = context.disk.blocking(move |store| {
        let _place = place;
        // A request of a few bytes may ask for up to 256 GiB.
        store.blobs().check_room(bytes)?;
        let own = store.blobs_of(Owner::Node);
        let write = |schema: &[TensorSpec]| {
            let mut out = own.writer(Layout::of(schema).file_bytes())?.to_be_flushed();
            let gone = gone.clone();
            let mut wanted = Abandonable { out: &mut out, gone };
            tensor::write_seeded(schema, seed, &mut wanted).map_err(|error| StoreError::from_io("blobs", error))?;
            Ok::<_, StoreError>(out)
        };
        let fixed = match schema.fixed() {
            [] => None,
            fixed => Some(write(fixed)?.finish(true)?.0),
        };
        let first = |weights: &BlobId| First {
            fixed,
            ..First::of_weights(*weights)
        };
        let spec = |weights: &BlobId| spec_of(me, &wishes, schema.clone(), first(weights));
        let (weights, bytes) = write(&schema)?.finish_for(true, |weights| Owner::Model(spec(weights).id()))?;
        let spec = spec(&weights);
        if let Some(fixed) = fixed {
            own.share(&fixed, Owner::Model(spec.id()))?;
        }
        Ok::<_, StoreError>((spec, first(&weights), bytes))
    });
    let (spec, first, bytes) = made.await?;
    let request = request_digest(create, Some(first));
    let received = Received {
        blob: first.weights,
        bytes,
        guard,
    };
    establish(context, create, spec, request, received).await
}

/// Notes, when it is dropped, that the caller has gone: the thread that writes goes on without its caller.
#[derive(Default)]
struct Caller {
    gone: Arc<AtomicBool>,
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

/// A writer that fails once the [`Caller`] has gone.
struct Abandonable<'a, W> {
    out: &'a mut W,
    gone: Arc<AtomicBool>,
}

impl<W: Write> Write for Abandonable<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.gone.load(Ordering::Relaxed) {
            return Err(io::Error::other("the caller has gone"));
        }
        self.out.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
