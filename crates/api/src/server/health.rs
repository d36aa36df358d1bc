//! The health that the services report.

use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::pb;

/// The services that report their health: the server as a whole (the empty name) and each service.
pub(super) const SERVICES: [&str; 8] = [
    "",
    pb::model_service_server::SERVICE_NAME,
    pb::weights_service_server::SERVICE_NAME,
    pb::submission_service_server::SERVICE_NAME,
    pb::round_service_server::SERVICE_NAME,
    pb::state_service_server::SERVICE_NAME,
    pb::peer_service_server::SERVICE_NAME,
    pb::node_service_server::SERVICE_NAME,
];

pub(super) async fn set_health(health: &HealthReporter, services: &[&str], status: ServingStatus) {
    for service in services {
        health.set_service_status(*service, status).await;
    }
}
