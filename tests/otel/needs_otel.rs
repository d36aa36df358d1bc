//! The tests that need the collector or Prometheus. `make test` leaves them out, and says so, where these are missing.

mod dashboard;
mod outage;
mod promtool;
mod story;
