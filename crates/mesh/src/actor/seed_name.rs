//! Questions about the bootstrap names, and their answers.

use std::time::Instant;

use super::Actor;
use crate::resolver::{self, Answer};

impl Actor {
    /// Due work: asks for the addresses of bootstrap names, while peers are missing.
    pub(super) fn tick_seed_names(&mut self, missing: bool, now: Instant) {
        if !missing {
            return;
        }
        for (at, name) in self.discovery.names.iter_mut().enumerate() {
            let Some(host) = name.ask(now) else { continue };
            let (hosts, answers) = (self.config.overrides.hosts.clone(), self.discovery.answers.clone());
            tokio::spawn(async move {
                let answer = resolver::addresses(host, hosts).await;
                // The channel has room for one answer per name. Without a receiver the mesh has stopped.
                drop(answers.send((at, answer)).await);
            });
        }
    }

    /// Handles the answer to a question about the bootstrap name `at`.
    pub(super) fn on_resolved(&mut self, at: usize, answer: Answer, now: Instant) {
        let (min, max) = (self.config.timings.dial_wait_min, self.config.timings.dial_wait_max);
        self.discovery.resolved(at, answer, min, max, now);
    }
}
