//! The test harness: a node's mesh with a simple reader of its events, and functions that wait for a condition.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use qres_fed::id::NodeId;
use qres_mesh::{
    GossipMessage, HeadClaim, Mesh, MeshConfig, MeshError, MeshEvent, Mode, Timings, Topic, Verdict, start,
};
use qres_mesh::{PeerState, PeerView};
use qres_wire::identity::Identity;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

/// The longest wait for a condition: enough on a loaded machine. A wait ends as soon as its condition holds.
pub const DEADLINE: Duration = Duration::from_secs(180);

/// The events that a reader has received.
#[derive(Default)]
pub struct Heard {
    pub messages: Vec<GossipMessage>,
    pub connected: Vec<NodeId>,
    pub disconnected: Vec<NodeId>,
    pub heads: Vec<(NodeId, Vec<HeadClaim>)>,
    pub views: Vec<PeerView>,
}

/// A running mesh with a reader of events that accepts everything.
pub struct Node {
    pub mesh: Mesh,
    pub node: NodeId,
    pub heads: watch::Sender<Vec<HeadClaim>>,
    pub heard: Arc<Mutex<Heard>>,
    pub dir: TempDir,
    pub identity: Identity,
}

/// Returns settings with short periods.
pub fn config(mode: Mode, dir: &Path) -> MeshConfig {
    let ms = Duration::from_millis;
    let mut config = MeshConfig::new(mode, dir.join("hints"));
    config.listen = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
    config.port = 0;
    config.timings = Timings {
        tick: ms(50),
        // The wait ends as soon as the goodbye is answered, so a long one costs no time.
        goodbye: Duration::from_secs(10),
        dial_wait_min: ms(100),
        dial_wait_max: ms(1000),
        lookup_wait_min: ms(200),
        lookup_wait_max: ms(1000),
        heartbeat_min: ms(500),
        heartbeat_gap: ms(100),
        ping: ms(500),
        hints_save: ms(100),
        refused_wait: ms(300),
        // The tests must not depend on the speed of a machine that also runs other work, so the watchdog is patient.
        watchdog_periods: 60,
        open: Duration::from_secs(60),
        ..Timings::default()
    };
    config
}

/// Starts a node; `change` edits its settings.
pub async fn node(mode: Mode, bootstrap: &[String], change: impl FnOnce(&mut MeshConfig)) -> Node {
    // The tests open hundreds of sockets in parallel, and a node near the limit turns connections away. If the limit cannot
    // be raised, the tests run with the present one.
    let _ = qres_files::descriptors::raise_limit();
    let dir = tempfile::tempdir().unwrap();
    node_in(dir, Identity::ephemeral(), mode, bootstrap, change)
        .await
        .unwrap()
}

/// Starts a node in a given directory, as after a restart.
pub async fn node_in(
    dir: TempDir,
    identity: Identity,
    mode: Mode,
    bootstrap: &[String],
    change: impl FnOnce(&mut MeshConfig),
) -> Result<Node, MeshError> {
    let mut config = config(mode, dir.path());
    config.bootstrap = bootstrap.to_vec();
    change(&mut config);
    let (heads, receiver) = watch::channel(Vec::new());
    let (mesh, events) = start(config, &identity, receiver).await?;
    let heard = Arc::new(Mutex::new(Heard::default()));
    tokio::spawn(listen(mesh.clone(), events, heard.clone()));
    Ok(Node {
        mesh,
        node: identity.node(),
        heads,
        heard,
        dir,
        identity,
    })
}

async fn listen(mesh: Mesh, mut events: mpsc::Receiver<MeshEvent>, heard: Arc<Mutex<Heard>>) {
    while let Some(event) = events.recv().await {
        match event {
            MeshEvent::Message(message) => {
                let token = message.token.clone();
                heard.lock().unwrap().messages.push(message);
                mesh.report(token, Verdict::Accept).await;
            }
            MeshEvent::Connected(node) => heard.lock().unwrap().connected.push(node),
            MeshEvent::Disconnected(node) => heard.lock().unwrap().disconnected.push(node),
            MeshEvent::Heads(node, heads) => heard.lock().unwrap().heads.push((node, heads)),
            MeshEvent::Peer(view) => heard.lock().unwrap().views.push(view),
        }
    }
}

impl Node {
    /// Returns the node's first address, which is a TCP one.
    pub fn address(&self) -> String {
        self.mesh.listen_addresses()[0].clone()
    }

    /// Returns `127.0.0.1:port`, as people write it: without the peer id.
    pub fn host_port(&self) -> String {
        let address = self.address();
        let port = address.split('/').nth(4).unwrap();
        format!("127.0.0.1:{port}")
    }

    pub async fn state_of(&self, node: NodeId) -> Option<PeerState> {
        let peers = self.mesh.peers().await.unwrap();
        peers.into_iter().find(|p| p.node == node).map(|p| p.state)
    }

    pub async fn view_of(&self, node: NodeId) -> Option<PeerView> {
        let peers = self.mesh.peers().await.unwrap();
        peers.into_iter().find(|p| p.node == node)
    }

    pub fn has_heard(&self, topic: Topic, data: &[u8]) -> bool {
        let heard = self.heard.lock().unwrap();
        heard.messages.iter().any(|m| m.topic == topic && m.data == data)
    }

    pub fn heard_count(&self) -> usize {
        self.heard.lock().unwrap().messages.len()
    }

    pub fn sees(&self, others: &[&Node]) -> bool {
        let connected = self.mesh.connected();
        others
            .iter()
            .all(|o| o.node == self.node || connected.contains(&o.node))
    }
}

/// Waits until the condition holds, at most [`DEADLINE`].
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    until_async(what, || std::future::ready(condition())).await;
}

/// Waits until the asynchronous condition holds, at most [`DEADLINE`].
pub async fn until_async<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let end = tokio::time::Instant::now() + DEADLINE;
    while !condition().await {
        assert!(tokio::time::Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until all the nodes are connected to each other.
pub async fn full_mesh(nodes: &[&Node]) {
    until("a full mesh", || nodes.iter().all(|n| n.sees(nodes))).await;
}

/// Starts two nodes that are connected.
pub async fn pair(change: impl Fn(&mut MeshConfig)) -> (Node, Node) {
    let a = node(Mode::Node, &[], &change).await;
    let b = node(Mode::Node, &[a.address()], &change).await;
    full_mesh(&[&a, &b]).await;
    (a, b)
}

/// Log lines of this test binary, for tests of messages that an operator must see.
pub mod log {
    use std::io::Write;
    use std::sync::{Mutex, Once, PoisonError};

    static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    static ONCE: Once = Once::new();

    struct Sink;

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            LINES
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend_from_slice(bytes);
            if std::env::var_os("MESH_LOG").is_some() {
                std::io::stderr().write_all(bytes)?;
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Starts to collect log lines.
    pub fn collect() {
        ONCE.call_once(|| {
            let filter = std::env::var("MESH_LOG").unwrap_or_else(|_| "qres_mesh=info".to_owned());
            tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_ansi(false)
                .with_writer(|| Sink)
                .init();
        });
    }

    /// Returns the collected lines that contain all of these parts.
    pub fn lines(parts: &[&str]) -> Vec<String> {
        let bytes = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let matching = text.lines().filter(|l| parts.iter().all(|p| l.contains(p)));
        matching.map(str::to_owned).collect()
    }
}
