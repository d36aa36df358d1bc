//! The start and the stop of a node.

use std::sync::Arc;

use futures::FutureExt;
use qres_fed::record::{Canonical, Signed, Spec};
use qres_mesh::MeshError;
use qres_store::{HeardModel, Owner, Store, StoreError, StoreOptions, Write};
use qres_transfer::{BlobServer, ContentProvider, Downloads, SyncClient, serve_sync};
use qres_wire::clock::{Clock, unix_ms};
use qres_wire::identity::{Identity, IdentityError};
use tokio::sync::{Mutex, watch};
use tracing::{info, warn};

use crate::background::peer_access::PeerAccess;
use crate::background::{arrivals, auto_join, collector, gossip, succession, sync};
use crate::blob_demand::BlobDemand;
use crate::catalog::Catalog;
use crate::catalog::entry::Model;
use crate::config::NodeConfig;
use crate::context::NodeContext;
use crate::disk::Disk;
use crate::error::NodeError;
use crate::event_log::EventLog;
use crate::headers::Headers;
use crate::heads::NamedHeads;
use crate::metrics::Metrics;
use crate::model::start::start_model;
use crate::revisions::{self, REVISION_CEILING};
use crate::slots::Slots;
use crate::spec_offers::Offers;
use crate::states::States;
use crate::syncer::Syncer;

/// The name of the identity's file in the data directory.
pub const KEY_FILE: &str = "identity.key";

/// The reason why a node does not start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Mesh(#[from] MeshError),
    #[error("a stored model cannot be started: {0}")]
    Model(NodeError),
}

/// Starts all parts of a node; returns once the mesh listens and the joined models run.
pub async fn start(config: NodeConfig) -> Result<Arc<NodeContext>, StartError> {
    let (store, identity) = open(&config).await?;
    let ceiling = revisions::reserve(&store, unix_ms())?;
    let heads = watch::Sender::new(vec![]);
    let (mesh, events) = qres_mesh::start(config.mesh.clone(), &identity, heads.subscribe()).await?;
    let (downloads, arrivals) = Downloads::start(mesh.clone(), store.blobs().clone());
    let context = Arc::new(NodeContext {
        sync: SyncClient::new(mesh.clone(), downloads.counters()),
        syncer: Syncer::default(),
        states: States::default(),
        blob_demand: BlobDemand::default(),
        events: EventLog::new(ceiling),
        metrics: Metrics::default(),
        catalog: Catalog::default(),
        offers: Offers::default(),
        clock: Clock::start(),
        lifecycle: Arc::default(),
        disk: Disk::new(store),
        slots: Slots::default(),
        heads: NamedHeads::new(heads),
        ended: tokio::sync::Notify::new(),
        memberships: Mutex::new(()),
        telling: parking_lot::Mutex::default(),
        headers: Headers::new(config.header_bytes_max),
        config,
        identity,
        mesh,
        downloads,
    });
    restore(&context).await?;
    let peer_access: Arc<dyn ContentProvider> = Arc::new(PeerAccess {
        context: context.clone(),
    });
    // The mesh's handles keep its queues of incoming streams open, so these two tasks do not end by themselves.
    let blobs = BlobServer::new(context.disk.store.blobs().clone(), peer_access.clone())
        .counting_into(context.downloads.counters())
        .run(context.mesh.clone());
    let sync = serve_sync(context.mesh.clone(), peer_access, context.downloads.counters());
    context.lifecycle.spawn_critical(
        "serving blobs",
        context
            .lifecycle
            .stop
            .clone()
            .run_until_cancelled_owned(blobs)
            .map(drop),
    );
    context.lifecycle.spawn_critical(
        "serving records",
        context.lifecycle.stop.clone().run_until_cancelled_owned(sync).map(drop),
    );
    context
        .lifecycle
        .spawn_critical("the intake of gossip", gossip::run(context.clone(), events));
    context
        .lifecycle
        .spawn_critical("the intake of blobs", arrivals::run(context.clone(), arrivals));
    context
        .lifecycle
        .spawn_critical("the exchange of records", sync::run(context.clone()));
    context
        .lifecycle
        .spawn_critical("the collector", collector::run(context.clone()));
    context
        .lifecycle
        .spawn_critical("the successors of models", succession::run(context.clone()));
    Ok(context)
}

async fn open(config: &NodeConfig) -> Result<(Store, Identity), StartError> {
    let (dir, given) = (config.data_dir.clone(), config.identity_file.clone());
    let options = StoreOptions {
        blob_bytes_max: config.blob_bytes_max,
    };
    let opened = tokio::task::spawn_blocking(move || {
        let store = Store::open(&dir, options)?;
        let key = dir.join(KEY_FILE);
        // A node reserves revisions before it does anything else, and it has its key before that.
        if store.meta(REVISION_CEILING)?.is_none() && store.models()?.is_empty() {
            Identity::forget_empty(&key)?;
        }
        if let Some(given) = given {
            Identity::import(&key, &given)?;
        }
        let identity = Identity::load_or_create(&key)?;
        Ok((store, identity))
    });
    match opened.await {
        Ok(opened) => opened,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

async fn restore(context: &Arc<NodeContext>) -> Result<(), StartError> {
    let stored = context.disk.blocking(Store::models).await?;
    for stored in stored {
        let (id, joined) = (stored.spec.record.id(), stored.joined);
        let records = context.disk.blocking(move |store| store.records(id)).await?;
        // A model that was left is kept if this node signed something in it; of any other that was left only the
        // announcement is kept.
        if !joined && records.contributions.is_empty() && records.consents.is_empty() {
            match outline(context, stored.spec.clone()).await {
                Ok(()) => continue,
                // The model stays as it is until there is room.
                Err(StoreError::Full(why)) => warn!(%id, why, "cannot make room of a model that was left"),
                Err(error) => return Err(error.into()),
            }
        }
        let (model, _) = context.catalog.add(Arc::new(Model::new(stored.spec)));
        keep_spec(context, &model).await;
        if joined {
            context
                .states
                .restore(context.disk.blocking(move |store| store.states(id)).await?);
            start_model(context, &model).await.map_err(StartError::Model)?;
        }
    }
    let heard = context.disk.blocking(Store::heard).await?;
    for heard in heard
        .into_iter()
        .filter(|heard| context.catalog.get(&heard.id).is_none())
    {
        // The stored announcements fitted when they became known.
        context.catalog.heard().keep(heard, |_| false);
    }
    for model in context.catalog.known() {
        auto_join::consider(context, &model).await;
    }
    Ok(())
}

/// Turns a model that was left into an announced one.
async fn outline(context: &Arc<NodeContext>, signed: Signed<Spec>) -> Result<(), StoreError> {
    let (id, bytes) = (signed.record.id(), signed.record.to_canonical());
    let heard = HeardModel {
        id,
        name: signed.record.name,
        creator: signed.record.creator,
        succeeds: signed.record.succeeds,
        spec_bytes: bytes.len() as u64,
        signature: signed.signature,
        carrier: context.identity.node(),
    };
    context
        .disk
        .blocking(move |store| {
            store.blobs_of(Owner::Specs).put(&bytes, false)?;
            store.commit(vec![Write::ForgetSpec(id), Write::Heard(heard)])
        })
        .await
}

/// Stores a spec again as a blob, which any peer may read, in case a power cut has taken it.
async fn keep_spec(context: &NodeContext, model: &Model) {
    let bytes = model.spec().to_canonical();
    let put = move |store: &Store| store.blobs_of(Owner::Specs).put(&bytes, false);
    if let Err(error) = context.disk.blocking(put).await {
        warn!(model = %model.spec().name, %error, "peers cannot read this model's spec from here");
    }
}

/// Ends every task, and says goodbye to peers.
pub async fn stop(context: &NodeContext) {
    info!("stopping");
    context.lifecycle.stop.cancel();
    context.mesh.stop().await;
    context.lifecycle.tasks.close();
    context.lifecycle.tasks.wait().await;
}
