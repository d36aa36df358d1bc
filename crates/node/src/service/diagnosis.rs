//! The diagnosis of a running node: what its mesh and its peers tell. Each check judges plain values in a file of its own.

mod bootstrap;
mod clock;
mod reachability;
mod versions;
mod words;

use std::sync::Arc;

use qres_mesh::{Inspection, Mode, Twin};

use crate::context::NodeContext;
use crate::error::NodeError;
use crate::finding::Finding;
use crate::view::PeerState;

/// Peers that are asked to dial this node back. One may be behind the same firewall, or lie; of three, most tell the truth.
const ASKED_MAX: usize = 3;

/// Makes all checks. Takes up to 15 s, the deadline of the peers that dial this node back.
pub async fn diagnose(context: &Arc<NodeContext>) -> Result<Vec<Finding>, NodeError> {
    let mesh = &context.mesh;
    let (inspection, peers) = (mesh.inspect().await?, mesh.peers().await?);
    let reports = mesh.reach(ASKED_MAX).await?;
    let connected = peers.iter().filter(|peer| peer.state == PeerState::Connected).count();
    let settings = &context.config.mesh;
    let mut findings = vec![mesh_port(&inspection)];
    findings.extend(reachability::findings(
        &reports,
        &inspection,
        settings.mode == Mode::Bootstrap,
    ));
    findings.extend([
        bootstrap::finding(&inspection.seeds, connected),
        clock::finding(&inspection.clocks),
        versions::finding(&peers, &settings.agent),
        twin(mesh.twin().borrow().as_ref()),
    ]);
    Ok(findings)
}

fn mesh_port(inspection: &Inspection) -> Finding {
    const CHECK: &str = "mesh-port";
    match inspection.listening.as_slice() {
        [] => Finding::failed(
            CHECK,
            "the mesh listens on no address: a network card went away",
            "bring the network up again, or name another address with --listen, then start the node again",
        ),
        listening => Finding::ok(CHECK, format!("the mesh listens on {}", listening.join(", "))),
    }
}

fn twin(twin: Option<&Twin>) -> Finding {
    const CHECK: &str = "identity";
    match twin {
        None => Finding::ok(CHECK, "no other process with this node's identity was met"),
        Some(twin) => Finding::failed(
            CHECK,
            format!(
                "another process runs with this node's identity, met at {}: neither takes work or signs",
                twin.address
            ),
            "stop one of the two; a second node needs an identity.key of its own",
        ),
    }
}
