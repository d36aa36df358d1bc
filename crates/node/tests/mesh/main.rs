//! Real meshes on 127.0.0.1, each on a port that the system picks. Every wait is for a condition, with a deadline.

mod discovery;
mod gossip;
mod harness;
mod hello;
mod streams;
