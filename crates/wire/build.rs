//! Compiles the messages between nodes. protox reads the proto files, so `protoc` need not be installed.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.join("qres/mesh/v1").display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root.join("qres/mesh/v1"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "proto") {
            files.push(path);
        }
    }
    files.sort();
    let set = protox::compile(&files, [&root])?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .compile_fds(set)?;
    Ok(())
}
