//! Calls about peers and about this node itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use qres_fed::id::NodeId;
use qres_files::descriptors;
use qres_mesh::Mode;
use qres_wire::identity;
use tokio::time::timeout;

use crate::context::NodeContext;
use crate::error::{NodeError, Reason};
use crate::refusal::stopped;
use crate::view::{NodeView, PeerState, PeerView};

/// The longest time until a dial is answered.
const DIAL_MAX: Duration = Duration::from_secs(10);
/// The longest ban, which is a year.
const BAN_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Parses a peer id (libp2p's text) or a node id (64 hex digits).
pub fn parse(text: &str) -> Result<NodeId, NodeError> {
    identity::parse(text).ok_or_else(|| {
        NodeError::invalid(
            "peer",
            format!("{text:?} is no Ed25519 peer id (12D3Koo…) and no node id (64 lowercase hex digits)"),
        )
    })
}

/// Returns the [`PeerView`] of one peer.
pub async fn get(context: &Arc<NodeContext>, peer: &str) -> Result<PeerView, NodeError> {
    let node = parse(peer)?;
    let found = context.mesh.peers().await?.into_iter().find(|view| view.node == node);
    found.ok_or_else(|| NodeError::new(Reason::PeerUnknown, format!("peer {peer} is unknown here")).field("peer"))
}

/// Dials an address, and answers once the peer is admitted or the reason against it is clear, at the latest after [`DIAL_MAX`].
pub async fn dial(context: &Arc<NodeContext>, address: &str) -> Result<(), NodeError> {
    let outcome = timeout(DIAL_MAX, async {
        let node = context.mesh.dial(address).await?;
        admitted(context, node).await
    });
    tokio::select! {
        () = context.lifecycle.stop.cancelled() => Err(stopped()),
        outcome = outcome => outcome.unwrap_or_else(|_| {
            Err(NodeError::unreached(&format!("no answer within {} s; it is tried again", DIAL_MAX.as_secs())))
        }),
    }
}

/// Waits until a peer is admitted.
async fn admitted(context: &Arc<NodeContext>, node: NodeId) -> Result<(), NodeError> {
    // Every change of a peer is an event.
    let mut newest = context.events.subscribe();
    loop {
        newest.mark_unchanged();
        let known = context.mesh.peers().await?.into_iter().find(|view| view.node == node);
        match known.map(|view| view.state) {
            Some(PeerState::Connected) => return Ok(()),
            Some(PeerState::Connecting) => {}
            Some(PeerState::Refused(why)) => {
                return Err(NodeError::unreached(&format!(
                    "the peer was refused, or refused: {why}"
                )));
            }
            Some(PeerState::Banned(why, _)) => return Err(NodeError::unreached(&format!("the peer is banned: {why}"))),
            Some(PeerState::Disconnected) | None => {
                return Err(NodeError::unreached("the connection did not come about"));
            }
        }
        newest.changed().await.map_err(|_| stopped())?;
    }
}

/// Bans a peer for at most [`BAN_MAX`].
pub async fn ban(context: &Arc<NodeContext>, peer: &str, reason: &str, for_: Duration) -> Result<PeerView, NodeError> {
    let node = parse(peer)?;
    if for_.is_zero() || for_ > BAN_MAX {
        return Err(NodeError::invalid(
            "duration",
            "a ban lasts from one millisecond to a year",
        ));
    }
    context.mesh.ban(node, reason.to_owned(), for_).await?;
    get(context, peer).await
}

/// Ends the ban of a peer.
pub async fn unban(context: &Arc<NodeContext>, peer: &str) -> Result<PeerView, NodeError> {
    context.mesh.unban(parse(peer)?).await?;
    get(context, peer).await
}

/// Returns the [`NodeView`] of this node.
pub async fn node(context: &NodeContext) -> NodeView {
    let (disk, descriptors) = context
        .disk
        .blocking(|store| (store.blobs().disk_use(), descriptors::count()))
        .await;
    let me = context.identity.node();
    NodeView {
        node: me,
        peer_id: identity::peer_id(&me).map(|peer| peer.to_string()).unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: qres_mesh::PROTOCOL_VERSION.to_owned(),
        mode: match context.config.mesh.mode {
            Mode::Node => "node",
            Mode::Bootstrap => "bootstrap",
        }
        .to_owned(),
        listen: context.mesh.listen_addresses(),
        uptime_ms: context.clock.now().0,
        peers: u32::try_from(context.mesh.connected().len()).unwrap_or(u32::MAX),
        draining: context.lifecycle.draining.load(Ordering::Relaxed),
        revision: context.events.revision(),
        blob_bytes: disk.held,
        disk,
        descriptors,
    }
}
