//! The typed client: connects, streams data both ways, and reads errors.
//!
//! Everything else goes through the generated stubs, which [`Client`] hands out ready for use.
//!
//! One round of a trainer (`examples/trainer.rs` has the whole loop, with its errors):
//!
//! ```no_run
//! use qres_api::client::{Client, ClientError};
//! use qres_api::pb::{FetchWeightsRequest, SubmitWeightsRequest};
//!
//! # use qres_fed::tensor::Tensors;
//! # fn train(weights: &Tensors) -> Tensors { weights.clone() }
//! # async fn round() -> Result<(), ClientError> {
//! let node = Client::connect("127.0.0.1:4002").await?;
//! let request = FetchWeightsRequest {
//!     model: "example".into(),
//!     ..Default::default()
//! };
//! // Tensors by name, each an array of `ndarray`.
//! let (head, weights) = node.fetch_tensors(request).await?;
//! let header = SubmitWeightsRequest {
//!     model: "example".into(),
//!     base: head.checkpoint.id.clone(),
//!     samples: 1_000,
//!     ..Default::default()
//! };
//! let submission = node.submit_tensors(header, &train(&weights)).await?;
//! println!("round {}: submission {}", head.checkpoint.round, submission.id);
//! # Ok(())
//! # }
//! ```
//!
//! Rounds as they happen:
//!
//! ```no_run
//! use futures::StreamExt;
//! # use qres_api::client::{Client, ClientError};
//! # async fn follow() -> Result<(), ClientError> {
//! let node = Client::connect("127.0.0.1:4002").await?;
//! let mut rounds = node.watch_rounds("example", 0).await?;
//! while let Some(event) = rounds.next().await {
//!     println!("{:?}", event?);
//! }
//! # Ok(())
//! # }
//! ```

mod credentials;
mod error;
mod fetch;
mod metadata;
mod model;
mod submit;
mod tensors;
mod watch;

use std::time::Duration;

use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

pub use credentials::Credentials;
pub use error::ClientError;
pub use fetch::Fetch;
use metadata::CallMetadata;
pub use submit::file_chunks;
pub use watch::Watch;

use crate::{Address, FRAME_BYTES_MAX, pb};

/// Flow-control window of a stream: at 100 ms round-trip time 8 MiB still allow 80 MB/s.
const STREAM_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// Flow-control window of the connection, four times that of a stream: a slow stream does not hold up the others.
const CONNECTION_WINDOW_BYTES: u32 = 4 * STREAM_WINDOW_BYTES;
/// Most time for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Interval of pings while a call waits. A node that vanished is noticed after this and half as long again, 45 s in all.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// A connection that adds trace context and the caller's token to every call.
pub type Traced = InterceptedService<Channel, CallMetadata>;

/// A connection to one node. A clone is cheap and shares the connection, which is made again by itself when it breaks.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Traced,
    address: String,
}

macro_rules! stub {
    ($(#[$doc:meta])* $method:ident, $module:ident :: $stub:ident) => {
        $(#[$doc])*
        pub fn $method(&self) -> pb::$module::$stub<Traced> {
            pb::$module::$stub::new(self.channel.clone())
        }
    };
}

impl Client {
    /// Connects to the node at `address`, in a form that [`Address`] reads. Returns [`ClientError::Address`] for a text that is
    /// no address, and [`ClientError::Connect`] if no node answers.
    pub async fn connect(address: impl AsRef<str>) -> Result<Self, ClientError> {
        Self::connect_as(address, &Credentials::default()).await
    }

    /// Connects as [`Client::connect`] does, and shows these [`Credentials`]. Returns [`ClientError::Credentials`] if they cannot
    /// be used.
    pub async fn connect_as(address: impl AsRef<str>, credentials: &Credentials) -> Result<Self, ClientError> {
        let address = credentials.applied_to(address.as_ref().parse()?);
        let authorization = credentials.bearer(&address)?;
        let failed = |error: tonic::transport::Error| ClientError::Connect {
            address: address.to_string(),
            problem: error::innermost(&error),
            hint: error::hint(&address),
        };
        let uri = match &address {
            Address::Tcp { tls: true, .. } | Address::Socket(_) => address.to_string(),
            Address::Tcp { tls: false, .. } => format!("http://{address}"),
        };
        let endpoint = Endpoint::from_shared(uri).map_err(failed)?;
        let channel = credentials
            .secure(endpoint, &address)?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES_MAX)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE / 2)
            .connect()
            .await
            .map_err(failed)?;
        Ok(Self {
            channel: InterceptedService::new(channel, CallMetadata { authorization }),
            address: address.to_string(),
        })
    }

    /// Returns the node's [`Address`] as text, with its port.
    pub fn address(&self) -> &str {
        &self.address
    }

    stub!(
        /// Returns the stub of the service for models.
        models,
        model_service_client::ModelServiceClient
    );
    stub!(
        /// Returns the stub of the service for weights.
        weights,
        weights_service_client::WeightsServiceClient
    );
    stub!(
        /// Returns the stub of the service for submissions.
        submissions,
        submission_service_client::SubmissionServiceClient
    );
    stub!(
        /// Returns the stub of the service for rounds.
        rounds,
        round_service_client::RoundServiceClient
    );
    stub!(
        /// Returns the stub of the service for states.
        states,
        state_service_client::StateServiceClient
    );
    stub!(
        /// Returns the stub of the service for peers.
        peers,
        peer_service_client::PeerServiceClient
    );
    stub!(
        /// Returns the stub of the service for the node itself.
        node,
        node_service_client::NodeServiceClient
    );
}
