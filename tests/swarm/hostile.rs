//! A hostile member among honest daemons: it lies, withholds blobs and signs records that no honest node signs. The rounds of
//! the honest nodes go on, their heads agree, and an operator sees what the liar did.

mod blobs;
mod equivocation;
mod gossip;
mod laundering;
mod names;
mod outsider;
mod peer;
mod places;
mod reading;
mod seals;
mod specs;
mod wire;

use qres_api::pb;
use qres_fed::id::{BlobId, CheckpointId, NodeId, SpecId};
use qres_fed::record::{Canonical, Contribution, Report, Signed, Spec};
use qres_node::identity::Identity;
use qres_tests::node::Fetched;
use qres_tests::weights::vector;
use qres_tests::{Node, Swarm, wait};

use crate::rounds::node_ids;
use crate::{head, vector_model};
use peer::Peer;

/// Time in ms that honest nodes wait for the contribution of the liar. It is long enough for a test to act inside a round on a
/// loaded machine. A test in which the contribution never comes waits that long once.
const DEADLINE_MS: u64 = 8_000;

/// Honest daemons that train a model of one f32, and a hostile [`Peer`].
struct Scene {
    swarm: Swarm,
    nodes: Vec<Node>,
    /// Ids of the honest nodes.
    ids: Vec<NodeId>,
    peer: Peer,
    spec: Spec,
    base: CheckpointId,
    /// True if the liar is a member of the model.
    member: bool,
}

fn node_id(hex_digits: &str) -> NodeId {
    hex_digits.parse().expect("a node id")
}

impl Scene {
    /// Starts a scene in which the liar is a member. k is a majority of the honest nodes and the liar.
    async fn start(honest: usize) -> Self {
        Self::with(honest, true).await
    }

    /// Asserts that no task of an honest daemon has panicked.
    fn nobody_panicked(&self) {
        for daemon in &self.swarm.daemons {
            let log = daemon.log();
            assert!(!log.contains("panicked"), "{log}");
        }
    }

    async fn with(honest: usize, member: bool) -> Self {
        let swarm = Swarm::start(honest).await;
        let nodes = swarm.nodes();
        let names = node_ids(&nodes).await;
        let ids: Vec<_> = names.iter().map(|name| node_id(name)).collect();
        let dial = [swarm.bootstrap.mesh.clone()];
        let peer = Peer::start(Identity::ephemeral(), &dial, &ids).await;
        let liar = member.then(|| peer.node().to_string());
        let request = pb::CreateModelRequest {
            members: names.into_iter().chain(liar).collect(),
            deadline_ms: Some(DEADLINE_MS),
            ..vector_model("hostile", &[0.0])
        };
        let model = nodes[0].create(request).await.expect("a model");
        for node in &nodes[1..] {
            node.join("hostile").await;
            node.wait_for_round("hostile", 0).await;
        }
        let spec: SpecId = model.id.parse().expect("a spec id");
        // Every peer may read a spec.
        let (status, bytes) = peer.read_blob(ids[0], spec, spec.into()).await;
        assert_eq!(status, wire::OK);
        Self {
            spec: Spec::from_canonical(&bytes).expect("a spec"),
            base: head(&model).parse().expect("a checkpoint id"),
            member,
            swarm,
            nodes,
            ids,
            peer,
        }
    }

    /// Returns a contribution of the liar with this update, on checkpoint 0.
    fn contribution(&self, update: &[f32]) -> Signed<Contribution> {
        self.contribution_of(&bytes_of(update))
    }

    fn contribution_of(&self, update: &[u8]) -> Signed<Contribution> {
        contribution(&self.peer.identity, self.spec.id(), self.base, 1, update)
    }

    /// Submits this value on this base at every honest node.
    async fn submit(&self, base: CheckpointId, value: f32) {
        for node in &self.nodes {
            let base = base.to_string();
            node.submit("hostile", &base, 1, &vector(&[value]))
                .await
                .expect("submitted");
        }
    }

    /// Waits until every honest node has this many contributions (their blobs included) in the open round. Returns their ids, as
    /// the last node lists them.
    async fn gathered(&self, count: usize) -> Vec<String> {
        let mut found = vec![];
        for node in &self.nodes {
            found = wait::until("the contributions to be in", || async {
                let round = round(node, None).await;
                // A member whose update has not arrived is listed as missing.
                let members = self.nodes.len() + usize::from(self.member);
                let whole = members - round.missing.len();
                let ids: Vec<_> = round.contributions.into_iter().map(|c| c.id).collect();
                (ids.len() >= count && whole >= count).then_some(ids)
            })
            .await;
        }
        found
    }

    /// Waits until all honest nodes have the same head, of this round or later, and returns it as [`agreed`] does.
    async fn agreed(&self, round: u64) -> Fetched {
        agreed(&self.nodes, round).await
    }

    /// Lets the honest nodes make a round by themselves, on the head that they agree on. Returns the new head.
    async fn honest_round(&self) -> Fetched {
        let now = self.agreed(0).await;
        let value = now.round() as f32 + 10.0;
        self.submit(now.id().parse().expect("an id"), value).await;
        self.agreed(now.round() + 1).await
    }

    /// Waits until the peer list of each honest node shows the liar as wanted.
    async fn seen(&self, what: &str, as_wanted: impl Fn(&pb::Peer) -> bool) {
        for node in &self.nodes {
            seen(node, &self.peer.node(), what, &as_wanted).await;
        }
    }

    /// Returns the authors of the contributions in a sealed round.
    async fn authors(&self, number: u64) -> Vec<NodeId> {
        let round = round(&self.nodes[0], Some(number)).await;
        round.contributions.iter().map(|c| node_id(&c.author)).collect()
    }
}

/// Waits until all these nodes have the same head, of this round or later, and returns it.
async fn agreed(nodes: &[Node], round: u64) -> Fetched {
    for node in nodes {
        node.wait_for_round("hostile", round).await;
    }
    wait::until("the heads to agree", || async {
        let mut heads = vec![];
        for node in nodes {
            heads.push(node.fetch("hostile", "").await.expect("fetched"));
        }
        let same = heads.iter().all(|h| h.id() == heads[0].id() && h.file == heads[0].file);
        same.then(|| heads.remove(0))
    })
    .await
}

async fn round(node: &Node, number: Option<u64>) -> pb::Round {
    node.round("hostile", number).await.expect("a round")
}

/// Waits until the peer list of a node shows a peer as wanted, and returns this entry.
async fn seen(node: &Node, peer: &NodeId, what: &str, as_wanted: impl Fn(&pb::Peer) -> bool) -> pb::Peer {
    wait::until(what, || async {
        let answer = node.peers().list_peers(pb::ListPeersRequest::default()).await;
        let peers = answer.expect("peers").into_inner().peers;
        let found = peers.into_iter().find(|p| p.node_id == peer.to_string());
        found.filter(|found| as_wanted(found))
    })
    .await
}

fn contribution(
    author: &Identity,
    spec: SpecId,
    parent: CheckpointId,
    round: u64,
    update: &[u8],
) -> Signed<Contribution> {
    author.sign(Contribution {
        spec,
        parent,
        round,
        author: author.node(),
        samples: 1,
        update: BlobId::of(update),
        update_bytes: update.len() as u64,
        fidelity: 1.0,
        source: None,
        report: Report::default(),
        releases: 0,
    })
}

/// Returns the bytes of these values in the codec `none/1`: little-endian f32.
fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}
