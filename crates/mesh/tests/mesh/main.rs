//! Real meshes on 127.0.0.1, each on a port that the system picks. Every wait is for a condition, with a deadline.
//!
//! The library's eight traps (`docs/adr/0003-mesh.md`) and their tests:
//!
//! 1. the read buffer is measured, not the frame: `limits::envelopes_of_every_size_up_to_the_limit_arrive`
//! 2. a payload of exactly the limit is taken and never arrives: the same, and `limits::above_the_limit_is_an_error`
//! 3. IHAVE is not split: `limits::a_thousand_messages_within_a_heartbeat_leave_every_link_alive`
//! 4. gossip dies in one direction, silently: `watchdog::*`
//! 5. a protocol prefix loses IDONTWANT: `foreign::gossip_speaks_its_newest_protocol`
//! 6. more than ten peers on one address are graylisted: `limits::seventeen_nodes_on_one_host_hear_each_other`
//! 7. bursts of inbound streams are dropped, opening may hang: `streams::*`
//! 8. this kernel has no `netem`: nothing here needs it. Loss and silence are made by the peers themselves.

mod discovery;
mod foreign;
mod forger;
mod gossip;
mod handshakes;
mod harness;
mod hello;
mod limits;
mod places;
mod raw;
mod strangers;
mod streams;
mod transports;
mod trust;
mod twins;
mod watchdog;
