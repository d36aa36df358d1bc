//! Compiles the gRPC contract. protox reads the files, so `protoc` need not be installed.

use std::path::{Path, PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.join("qres/v1").display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root.join("qres/v1"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "proto") {
            files.push(path);
        }
    }
    files.sort();
    let set = protox::compile(&files, [&root])?;
    // The comments stay in the set: `grpcurl describe` shows them.
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("qres.v1.binpb"), set.encode_to_vec())?;
    let feature = |name| std::env::var_os(format!("CARGO_FEATURE_{name}")).is_some();
    tonic_prost_build::configure()
        // Data fields become slices of the received message instead of copies.
        .bytes(".")
        .btree_map(".")
        .build_client(feature("CLIENT"))
        .build_server(feature("SERVER"))
        .build_transport(false)
        .compile_fds(set)?;
    Ok(())
}
