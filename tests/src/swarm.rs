//! Several daemons that know only a bootstrap node.

use crate::{Daemon, Node, Options};

/// A bootstrap node and several other nodes, which are all connected.
pub struct Swarm {
    /// The [`Daemon`] in bootstrap mode.
    pub bootstrap: Daemon,
    /// The other daemons, in node mode.
    pub daemons: Vec<Daemon>,
}

impl Swarm {
    /// Starts a bootstrap node and `nodes` other nodes, and waits until all are connected to each other.
    pub async fn start(nodes: usize) -> Self {
        Self::start_with(nodes, &Options::default()).await
    }

    /// Does the same as [`Swarm::start`], with these [`Options`] for each node but the bootstrap node.
    pub async fn start_with(nodes: usize, options: &Options) -> Self {
        let bootstrap = Daemon::start(Options {
            bootstrap_mode: true,
            ..Options::default()
        });
        let mut options = options.clone();
        // The address has no peer id, as users give it.
        options.bootstrap.push(format!("127.0.0.1:{}", bootstrap.mesh_port()));
        let daemons: Vec<_> = (0..nodes).map(|_| Daemon::start(options.clone())).collect();
        let swarm = Self { bootstrap, daemons };
        for node in swarm.nodes() {
            node.wait_for_peers(u32::try_from(nodes).expect("few nodes")).await;
        }
        swarm
    }

    /// Returns one [`Node`] for each of the [`Swarm::daemons`].
    pub fn nodes(&self) -> Vec<Node> {
        self.daemons.iter().map(Daemon::node).collect()
    }
}
