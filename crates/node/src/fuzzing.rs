//! The readers of foreign bytes, for the fuzz targets (`fuzz/`) alone. They are no public interface, and free to change.
#![allow(missing_docs)]

pub use crate::trace::link_text as trace_link;

pub mod announce {
    pub use crate::engine::announce::{Announcement, contribution, decode, proof, seal, spec};
}

pub mod blob {
    pub use crate::transfer::blob::fuzzing::{fetch, serve};
}

pub mod heartbeat {
    pub use crate::mesh::heartbeat::{Heartbeat, encode, parse};
}

pub mod hello {
    pub use crate::mesh::hello::{Mismatch, check_identify, compare, goodbye, parse};
}

pub mod saved_peers {
    pub use crate::mesh::saved_peers::SavedPeers;
}

pub mod state {
    pub use crate::engine::state::read;
}

pub mod sync {
    pub use crate::transfer::sync::fuzzing::{answer, ask};
}

pub mod value {
    pub use crate::store::value::*;
}

pub mod wire {
    pub use crate::wire::*;
}
