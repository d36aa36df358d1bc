//! Several daemons that know only a bootstrap node.

use crate::{Daemon, Node, Options};

/// A bootstrap node and nodes.
pub struct Swarm {
    /// The bootstrap node.
    pub bootstrap: Daemon,
    /// The others.
    pub daemons: Vec<Daemon>,
}

impl Swarm {
    /// Starts them and waits until all are connected to each other.
    pub async fn start(nodes: usize) -> Self {
        Self::start_with(nodes, &Options::default()).await
    }

    /// The same with options for each node.
    pub async fn start_with(nodes: usize, options: &Options) -> Self {
        let bootstrap = Daemon::start(Options {
            bootstrap_mode: true,
            ..Options::default()
        });
        let mut options = options.clone();
        // As a user gives it: an address without a peer id.
        options.bootstrap.push(format!("127.0.0.1:{}", bootstrap.mesh_port()));
        let daemons: Vec<_> = (0..nodes).map(|_| Daemon::start(options.clone())).collect();
        let swarm = Self { bootstrap, daemons };
        for node in swarm.nodes() {
            node.wait_for_peers(u32::try_from(nodes).expect("few nodes")).await;
        }
        swarm
    }

    /// Their clients.
    pub fn nodes(&self) -> Vec<Node> {
        self.daemons.iter().map(Daemon::node).collect()
    }
}
