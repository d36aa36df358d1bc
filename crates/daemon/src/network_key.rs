//! The file of the network's key.

use std::path::Path;

use qres_node::mesh::PreSharedKey;

use crate::security;

/// Reads the network's key. Returns an error text that names the file and the remedy.
pub fn read(path: &Path) -> Result<PreSharedKey, String> {
    let bytes = security::read(path).map_err(|problem| format!("network_key {problem}"))?;
    let key = String::from_utf8_lossy(&bytes).trim().parse::<PreSharedKey>();
    key.map_err(|error| {
        format!(
            "network_key {}: no key of a network ({error:?}): `qres network-key` makes one",
            path.display()
        )
    })
}
