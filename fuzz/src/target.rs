//! The targets, one file for each kind of bytes.

mod callers;
mod config;
mod gossip;
mod grpc;
mod mesh;
mod records;
mod store;
mod tensors;
mod transfer;

use crate::Target;

/// All targets: every reader of foreign bytes.
pub const TARGETS: &[Target] = &[
    records::SPEC,
    records::CONTRIBUTION,
    records::SEAL,
    records::CHECKPOINT,
    records::PROOF,
    records::STATE,
    tensors::SAFETENSORS,
    tensors::UPDATE_NONE,
    tensors::UPDATE_BF16,
    tensors::UPDATE_F16,
    tensors::UPDATE_INT8,
    tensors::UPDATE_TCQ,
    tensors::STATE,
    gossip::ENVELOPE,
    gossip::STATE_ENVELOPE,
    gossip::HEARTBEAT,
    mesh::HELLO,
    mesh::REACH,
    mesh::HINTS,
    transfer::BLOB_SERVER,
    transfer::BLOB_CLIENT,
    transfer::SYNC_SERVER,
    transfer::SYNC_CLIENT,
    store::VALUE,
    config::CONFIG,
    callers::FILE,
    callers::CERTIFICATE,
    grpc::METADATA,
    grpc::FIELDS,
];
