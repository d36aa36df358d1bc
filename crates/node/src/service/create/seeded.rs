//! A model whose first weights come from a seed: only its creator makes them; for the other nodes they are a blob like any
//! other.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use qres_fed::id::BlobId;
use qres_fed::record::Schema;
use qres_fed::tensor::{self, Layout};
use qres_store::{Owner, StoreError};

use super::establish::establish;
use super::spec::{WEIGHTS_BYTES_MAX, request_digest, spec_of, spec_refused};
use crate::context::NodeContext;
use crate::error::NodeError;
use crate::request::{CreateModel, Seeded};
use crate::upload::{Received, upload_place};
use crate::view::ModelView;

/// Checks the schema, makes the weights, and creates the model from them.
pub async fn make(context: &Arc<NodeContext>, create: &CreateModel, seeded: Seeded) -> Result<ModelView, NodeError> {
    let Seeded { mut tensors, seed } = seeded;
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let tensors = Schema::from(tensors);
    let me = context.identity.node();
    let spec = |weights| spec_of(me, create, tensors.clone(), (weights, 0));
    // Checked before a byte is written: a schema that agrees with itself has lengths that can be added up.
    spec(BlobId([0; 32]))
        .check()
        .map_err(|error| spec_refused(create, error))?;
    let layout = Layout::of(&tensors);
    if layout.file_bytes() > WEIGHTS_BYTES_MAX {
        return Err(NodeError::invalid(
            "tensors",
            format!(
                "{} bytes of weights: at most {WEIGHTS_BYTES_MAX} are taken here",
                layout.file_bytes()
            ),
        ));
    }
    // Making weights is as heavy as an upload, so it takes one of the places for uploads.
    let place = upload_place(context)?;
    let guard = context.disk.keep_new_blobs().await;
    let (schema, wishes) = (tensors.clone(), create.clone());
    let caller = Caller::default();
    let gone = caller.gone.clone();
    let made = context.disk.blocking(move |store| {
        let _place = place;
        // A request of a few bytes may ask for up to 256 GiB.
        store.blobs().check_room(layout.file_bytes())?;
        let mut out = store.blobs_of(Owner::Node).writer(layout.file_bytes())?.to_be_flushed();
        let mut wanted = Abandonable { out: &mut out, gone };
        tensor::write_seeded(&schema, seed, &mut wanted).map_err(|error| StoreError::from_io("blobs", error))?;
        out.finish_for(true, |weights| {
            Owner::Model(spec_of(me, &wishes, schema, (*weights, 0)).id())
        })
    });
    let (blob, bytes) = made.await?;
    let request = request_digest(create, Some(blob));
    establish(context, create, spec(blob), request, Received { blob, bytes, guard }).await
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
