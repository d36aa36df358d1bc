//! The readers of foreign bytes, for the fuzz targets (`fuzz/`) alone. They are no public interface, and free to change.
#![allow(missing_docs)]

pub use qres_wire::trace::link_text as trace_link;

pub mod announce {
    pub use qres_wire::envelope::{Announcement, contribution, decode, proof, seal, spec};
}

pub mod blob {
    pub use qres_transfer::blob::fuzzing::{fetch, serve};
}

pub mod heartbeat {
    pub use qres_mesh::heartbeat::{Heartbeat, encode, parse};
}

pub mod hello {
    pub use qres_mesh::hello::{Mismatch, check_identify, compare, goodbye, parse};
}

pub mod saved_peers {
    pub use qres_mesh::saved_peers::SavedPeers;
}

pub mod state {
    pub use crate::service::states::read;
}

pub mod sync {
    pub use qres_transfer::sync::fuzzing::{answer, ask};
}

pub mod value {
    pub use qres_store::value::*;
}

pub mod wire {
    pub use qres_wire::pb::*;
}
