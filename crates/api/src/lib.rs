//! The gRPC contract in Rust: tonic services over the node's handle (feature `server`) and the typed client (feature
//! `client`). Without a feature there are only the messages.
//!
//! Architecture invariant: this crate does not know how a node works. The server maps the contract onto the node's handle;
//! the client knows the contract alone, and never libp2p.

#[cfg(feature = "client")]
mod address;
#[cfg(feature = "client")]
pub mod client;
#[cfg(any(feature = "client", feature = "server"))]
mod code;
#[cfg(feature = "server")]
pub mod server;

/// The generated messages of the contract, and the stubs of the enabled features.
#[allow(missing_docs, clippy::all, clippy::too_many_lines)]
pub mod pb {
    include!(concat!(env!("OUT_DIR"), "/qres.v1.rs"));
}

#[cfg(feature = "client")]
pub use address::{Address, AddressError};
pub use qres_fed::record::{is_printable, printable};

/// The contract as an encoded `FileDescriptorSet`, with imports and comments.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/qres.v1.binpb"));

/// Most bytes of data in one message (1 MiB): a quarter of the message that gRPC's implementations accept by default (4 MiB).
pub const CHUNK_BYTES_MAX: usize = 1024 * 1024;

/// Most bytes of an HTTP/2 frame that either side takes (256 KiB). A chunk is four such frames; with the default of 16 KiB it
/// would be 64, each with a write and a read of its own.
#[cfg(any(feature = "client", feature = "server"))]
const FRAME_BYTES_MAX: u32 = 256 * 1024;

/// The `domain` of the `google.rpc.ErrorInfo` in every error of the contract.
pub const ERROR_DOMAIN: &str = "qres";
