//! Tests with real meshes on 127.0.0.1, each on a port that the system picks. Every wait is for a condition, with a deadline.
//!
//! The library's eight traps (`docs/adr/0003-mesh.md`), and the tests that cover them:
//!
//! 1. The read buffer is measured, not the frame: `limits::envelopes_of_every_size_up_to_the_limit_arrive`
//! 2. A payload of exactly the limit is taken and never arrives: the same test, and
//!    `limits::above_the_limit_is_an_error_that_names_it`
//! 3. IHAVE is not split: `limits::a_thousand_messages_within_a_heartbeat_leave_every_link_alive`
//! 4. Gossip dies in one direction, silently: `watchdog::*`
//! 5. A protocol prefix loses IDONTWANT: `foreign::gossip_speaks_its_newest_protocol`
//! 6. More than ten peers on one address are graylisted: `limits::seventeen_nodes_on_one_host_hear_each_other`
//! 7. Bursts of inbound streams are dropped, and opening may hang: `streams::*`
//! 8. This kernel has no `netem`: no test here needs it, since the peers themselves make loss and silence.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_types,
    reason = "a test that cannot go on fails"
)]

mod discovery;
mod foreign;
mod forger;
mod gossip;
mod handshakes;
mod harness;
mod hello;
mod limits;
mod names;
mod places;
mod private;
mod raw;
mod reach;
mod strangers;
mod streams;
mod transports;
mod trust;
mod twins;
mod watchdog;
