//! The health of the process, as the admin port tells it.

use std::sync::OnceLock;

use prometheus_client::encoding::text::{encode, encode_registry};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use qres_node::NodeHandle;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

/// The parts of a process whose node has started.
pub struct Running {
    /// The node.
    pub node: NodeHandle,
    /// The figures of the process.
    pub registry: Registry,
    /// The task that serves gRPC.
    pub grpc: AbortHandle,
}

/// What the admin port tells about the process.
pub struct Health {
    shutdown: CancellationToken,
    running: OnceLock<Running>,
}

/// The metrics as text.
pub enum Page {
    /// All figures.
    Text(String),
    /// The node has not started yet.
    Starting,
    /// The figures cannot be written.
    Failed,
}

impl Health {
    /// Makes the health of a process that starts; `shutdown` is cancelled when the process was told to stop.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self {
            shutdown,
            running: OnceLock::new(),
        }
    }

    /// Notes that the store is open, the node runs, and gRPC is served.
    pub fn started(&self, running: Running) {
        // A process starts once.
        let _ = self.running.set(running);
    }

    /// Returns the reason why callers should use another node, `None` if this one takes work. It says nothing about peers:
    /// a node without peers works for its own trainers.
    pub fn not_ready(&self) -> Option<String> {
        if self.shutdown.is_cancelled() {
            return Some("stopping".into());
        }
        let Some(running) = self.running.get() else {
            return Some("starting: the store is being opened".into());
        };
        let vitals = running.node.vitals();
        if let Some(why) = vitals.failure {
            return Some(format!("failed: {why}"));
        }
        if vitals.draining {
            return Some("draining: this node takes no new work".into());
        }
        running.grpc.is_finished().then(|| "the gRPC server has ended".into())
    }

    /// Returns the reason why the process should be started again, `None` if its critical loops run. A process that starts or
    /// stops is live.
    pub fn not_live(&self) -> Option<String> {
        let running = self.running.get().filter(|_| !self.shutdown.is_cancelled())?;
        let vitals = running.node.vitals();
        if let Some(why) = vitals.failure {
            return Some(format!("failed: {why}"));
        }
        if let Some(silent) = vitals.stalled {
            return Some(format!("the mesh has done nothing for {} s", silent.as_secs()));
        }
        running.grpc.is_finished().then(|| "the gRPC server has ended".into())
    }

    /// The figures of the process itself.
    fn own(&self) -> Registry {
        let ready = ConstGauge::new(u64::from(self.not_ready().is_none()));
        let mut registry = Registry::default();
        registry.register("qres_ready", "1 while /readyz answers 200: the node takes work", ready);
        registry
    }

    /// Returns the metrics, those of libp2p included.
    pub fn page(&self) -> Page {
        let Some(running) = self.running.get() else {
            return Page::Starting;
        };
        let mut text = String::new();
        let library = running.node.library_metrics();
        let written = encode_registry(&mut text, &library)
            .and_then(|()| encode_registry(&mut text, &self.own()))
            .and_then(|()| encode(&mut text, &running.registry));
        match written {
            Ok(()) => Page::Text(text),
            Err(_) => Page::Failed,
        }
    }
}
