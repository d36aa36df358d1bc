//! The state that all services share.

use std::sync::Arc;

use qres_node::handle::NodeHandle;
use tokio::sync::Semaphore;
use tonic_health::server::HealthReporter;

use super::limits::Limits;
use super::metrics::Metrics;
use super::place::Places;
use super::stop::Stop;
use super::surroundings::Surroundings;

/// The state that all services share.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) node: NodeHandle,
    pub(super) stop: Stop,
    pub(super) health: HealthReporter,
    pub(super) places: Arc<Places>,
    pub(super) limits: Arc<Limits>,
    pub(super) metrics: Metrics,
    /// One permit: only one schema that comes in several messages is read at a time.
    pub(super) schemas: Arc<Semaphore>,
    pub(super) surroundings: Surroundings,
    /// One permit: a diagnosis makes peers dial and writes to the disk, so one is made at a time.
    pub(super) diagnoses: Arc<Semaphore>,
}
