//! A node and its gRPC server in this process, so that a test can set the [`Limits`] for callers.

use std::net::Ipv4Addr;
use std::path::Path;

use qres_api::server::{self, Limits};
use qres_node::mesh::{MeshConfig, Mode};
use qres_node::store::Quota;
use qres_node::{HEADER_BYTES_MAX, NodeConfig, NodeHandle};
use qres_tests::Node;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// A running gRPC server. It ends when this value is dropped.
pub struct Served {
    /// Address on which the server listens: `127.0.0.1:port`.
    pub address: String,
    dir: TempDir,
    _stop: oneshot::Sender<()>,
}

impl Served {
    /// Starts a node and a server with these [`Limits`].
    pub async fn start(limits: Limits) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mesh = MeshConfig {
            listen: vec![Ipv4Addr::LOCALHOST.into()],
            port: 0,
            ..MeshConfig::new(Mode::Node, dir.path().join("hints"))
        };
        let config = NodeConfig {
            data_dir: dir.path().join("data"),
            identity_file: None,
            mesh,
            trainers: 1,
            join: vec![],
            creators: Default::default(),
            trust: [].into(),
            keep_rounds: Some(8),
            members: Default::default(),
            blob_bytes_max: Quota::Unlimited,
            header_bytes_max: HEADER_BYTES_MAX,
        };
        let node = NodeHandle::start(config).await.expect("a node");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (stop, stopped) = oneshot::channel();
        let listeners = server::Listeners {
            tcp: listener,
            unix: None,
        };
        let options = server::Options {
            limits,
            ..server::Options::default()
        };
        tokio::spawn(server::serve(node, listeners, options, async {
            let _: Result<(), _> = stopped.await;
        }));
        Self {
            address,
            dir,
            _stop: stop,
        }
    }

    /// Returns a [`Node`], a caller that behaves well.
    pub fn node(&self) -> Node {
        Node::new(&self.address)
    }

    /// Number of files of weights that this process has open.
    pub fn open_weights(&self) -> usize {
        open_files(std::process::id(), &self.dir.path().join("data/blobs"))
    }
}

/// Number of files below a folder that a process has open.
fn open_files(pid: u32, folder: &Path) -> usize {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("a process of ours");
    let links = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links.filter(|path| path.starts_with(folder)).count()
}
