//! Starts probes at addresses where this node's own key answered.

use std::time::Instant;

use libp2p::Multiaddr;

use super::Actor;
use crate::address;
use crate::hello::{self, GoodbyeCode};
use crate::limits::TWIN_ADDRESS_BYTES_MAX;
use crate::probe::{self, ANSWER_MAX};

impl Actor {
    /// Handles a dial that ended at the own key. An address that this node listens on is surely its own; other addresses are
    /// probed.
    pub(super) fn on_own_answer(&mut self, address: &Multiaddr, now: Instant) {
        let bare = address::split_peer(address.clone()).map(|(_, bare)| bare);
        if let Some(bare) = bare.filter(|bare| !self.listening.contains(bare)) {
            self.probes.ask(bare, now);
        }
    }

    /// Due work: starts the probes that are due.
    pub(super) fn tick_probes(&mut self, now: Instant) {
        for address in self.probes.due(now) {
            let mut hello = self.greeting();
            // The goodbye keeps the other side from taking the probe for a node; `twins` tells it which run asks.
            hello.goodbye = Some(hello::goodbye(
                GoodbyeCode::Shutdown,
                "asks whether two processes have one identity",
            ));
            let mut own = self.twins.boot.sign(qres_wire::clock::unix_ms());
            let first = self.listen_addresses().first().cloned().unwrap_or_default();
            own.address = hello::cut(&first, TWIN_ADDRESS_BYTES_MAX);
            hello.twins = vec![own];
            let (peer, answers) = (self.own, self.probes.answers.clone());
            let key = self.config.network_key;
            tokio::spawn(async move {
                let asked = tokio::time::timeout(ANSWER_MAX, probe::ask(peer, address.clone(), hello, key));
                let answer = asked.await.ok().and_then(Result::ok);
                // The channel has room for one answer per address. Without a receiver the mesh has stopped.
                drop(answers.send((address, answer)).await);
            });
        }
    }
}
