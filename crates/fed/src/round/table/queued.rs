//! A record that waits to be taken in.

use crate::record::{Contribution, Seal, Signed};

/// A record that waits to be taken in.
#[derive(Debug)]
pub(in crate::round) enum Queued {
    Contribution(Signed<Contribution>),
    Seal(Signed<Seal>),
}
