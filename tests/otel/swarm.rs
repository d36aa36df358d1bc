//! Three daemons that learn one model together, with their admin ports open.

use qres_api::pb;
use qres_tests::scrape::scrape;
use qres_tests::weights::vector;
use qres_tests::{Daemon, Node, Options, Swarm};

/// The name of the model.
pub const MODEL: &str = "watched/vector";
/// The deadline of a round in milliseconds: far more than a round of three small submissions takes, even on a loaded machine.
const DEADLINE_MS: u64 = 120_000;

/// Three daemons and the head that they stand on.
pub struct Three {
    /// The daemons.
    pub swarm: Swarm,
    base: String,
    round: u64,
}

impl Three {
    /// Starts three daemons with these environment variables, and joins all to the model.
    pub async fn start(environment: Vec<(String, String)>) -> Self {
        let options = Options {
            arguments: ["--admin-addr", "127.0.0.1:0"].map(str::to_owned).to_vec(),
            environment,
            ..Options::default()
        };
        let swarm = Swarm::start_with(3, &options).await;
        let nodes = swarm.nodes();
        let request = pb::CreateModelRequest {
            name: MODEL.into(),
            members: swarm.daemons.iter().map(|daemon| daemon.peer_id.clone()).collect(),
            data: vector(&[0.0]).into(),
            // On a loaded machine a member may look slow, and a round would not wait for its contribution.
            min_contributions: Some(3),
            deadline_ms: Some(DEADLINE_MS),
            deadline_max_ms: Some(DEADLINE_MS),
            ..Default::default()
        };
        let model = nodes[0].create(request).await.unwrap();
        for node in &nodes[1..] {
            node.join(MODEL).await;
            node.wait_for_round(MODEL, 0).await;
        }
        let base = model.head.unwrap().id;
        Self { swarm, base, round: 0 }
    }

    /// Returns the daemons.
    pub fn daemons(&self) -> &[Daemon] {
        &self.swarm.daemons
    }

    /// Makes one round. The first daemon's trainer calls inside the span of this `traceparent`, if there is one.
    pub async fn round(&mut self, traceparent: Option<&str>) {
        let nodes = self.swarm.nodes();
        self.round += 1;
        for (i, node) in nodes.iter().enumerate() {
            let weights = vector(&[self.round as f32 + i as f32]);
            self.submit(node, weights, traceparent.filter(|_| i == 0)).await;
        }
        for node in &nodes {
            self.base = node.wait_for_round(MODEL, self.round).await.id();
        }
    }

    async fn submit(&self, node: &Node, weights: Vec<u8>, traceparent: Option<&str>) {
        let header = pb::SubmitWeightsRequest {
            model: MODEL.into(),
            base: self.base.clone(),
            samples: 1,
            data: weights.into(),
            ..Default::default()
        };
        let mut request = tonic::Request::new(tokio_stream::once(header));
        if let Some(traceparent) = traceparent {
            request
                .metadata_mut()
                .insert("traceparent", traceparent.parse().unwrap());
        }
        node.weights().submit_weights(request).await.unwrap();
    }

    /// Asserts that every daemon took part in every round, and that no round came to it from others afterwards.
    pub fn assert_no_round_was_missed(&self) {
        for daemon in self.daemons() {
            let page = scrape(daemon.metrics.as_ref().unwrap());
            let line = format!(
                "qres_rounds_total{{model=\"{MODEL}\",outcome=\"complete\"}} {}",
                self.round
            );
            assert!(page.lines().any(|found| found == line), "{line} is not in:\n{page}");
        }
    }

    /// Returns the addresses of the admin ports, such as `127.0.0.1:9464`.
    pub fn targets(&self) -> Vec<String> {
        let admin = self.daemons().iter().map(|daemon| daemon.admin.as_ref().unwrap());
        admin.map(|url| url.trim_start_matches("http://").to_owned()).collect()
    }
}
