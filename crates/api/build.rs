//! Compiles the gRPC contract. protox reads the files, so `protoc` need not be installed.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use protox::prost_reflect::DescriptorPool;

/// The option of an RPC that names the least role of its callers.
const ROLE_OPTION: &str = "qres.v1.required_role";

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
    let mut compiler = protox::Compiler::new([&root])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(&files)?;
    // The comments stay in the set: `grpcurl describe` shows them.
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("qres.v1.binpb"), compiler.encode_file_descriptor_set())?;
    std::fs::write(out.join("roles.rs"), roles(&compiler.descriptor_pool())?)?;
    let feature = |name| std::env::var_os(format!("CARGO_FEATURE_{name}")).is_some();
    tonic_prost_build::configure()
        // Data fields become slices of the received message instead of copies.
        .bytes(".")
        .btree_map(".")
        .build_client(feature("CLIENT"))
        .build_server(feature("SERVER"))
        .build_transport(false)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// Writes a Rust array of all RPCs with their roles, ascending. Returns an error for an RPC without a role: it would be an RPC
/// without a decision.
fn roles(pool: &DescriptorPool) -> Result<String, String> {
    let option = pool
        .get_extension_by_name(ROLE_OPTION)
        .ok_or("access.proto has no option")?;
    let mut rows = vec![];
    for method in pool
        .services()
        .flat_map(|service| service.methods().collect::<Vec<_>>())
    {
        let path = format!("{}/{}", method.parent_service().full_name(), method.name());
        let options = method.options();
        let number = options.get_extension(&option).as_enum_number().unwrap_or_default();
        let role = match number {
            1 => "Reader",
            2 => "Trainer",
            3 => "Operator",
            _ => return Err(format!("{path} has no option ({ROLE_OPTION})")),
        };
        rows.push((path, role));
    }
    rows.sort();
    let mut text = String::from("[\n");
    for (path, role) in rows {
        writeln!(text, "    ({path:?}, Role::{role}),").map_err(|error| error.to_string())?;
    }
    Ok(text + "]\n")
}
