//! What nodes say to each other (`proto/qres/mesh/v1`), compiled.
#![allow(missing_docs, clippy::all)]

include!(concat!(env!("OUT_DIR"), "/qres.mesh.v1.rs"));
