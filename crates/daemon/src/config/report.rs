//! The output of `--check-config`: the resolved configuration as a TOML file, with the origin of each value as a comment.

use std::fmt::Write;

use qres_node::store::Quota;

use super::{Config, Layers, Retention};

/// Returns `config` as the text of a TOML file, with the origin of each value from `layers`. Read back with `--config`, the
/// file gives the same [`Config`].
pub fn report(config: &Config, layers: &Layers) -> String {
    let said = &layers.settings;
    let number = |n: u64| i64::try_from(n).map_or_else(|_| toml::Value::from(n.to_string()), toml::Value::from);
    let text = |value: Option<&String>| value.map(|text| toml::Value::from(text.clone()));
    let count = |value: Option<u32>| value.map(|count| toml::Value::from(i64::from(count)));
    let retention = match config.retention {
        Retention::All => toml::Value::from("all"),
        Retention::Rounds(rounds) => number(rounds),
    };
    let quota = match config.blob_bytes_max {
        Quota::Bytes(bytes) => number(bytes),
        other => toml::Value::from(other.to_string()),
    };
    let admin = config
        .admin_addr
        .map_or("off".to_owned(), |address| address.to_string());
    let listen: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
    let values = [
        ("mode", toml::Value::try_from(config.mode).ok()),
        ("port", Some(i64::from(config.port).into())),
        ("listen", Some(listen.into())),
        ("bootstrap", Some(config.bootstrap.clone().into())),
        ("announce", Some(config.announce.clone().into())),
        ("network", Some(config.network.clone().into())),
        ("network_key", text(said.network_key.as_ref())),
        ("allow_peer", Some(config.allowed.clone().into())),
        ("connections_max", Some(i64::from(config.connections_max).into())),
        ("grpc_addr", Some(config.grpc.addr.to_string().into())),
        ("grpc_insecure", Some(said.grpc_insecure.unwrap_or(false).into())),
        ("grpc_tls_cert", text(said.grpc_tls_cert.as_ref())),
        ("grpc_tls_key", text(said.grpc_tls_key.as_ref())),
        ("grpc_tls_min", text(said.grpc_tls_min.as_ref())),
        ("grpc_client_ca", text(said.grpc_client_ca.as_ref())),
        ("grpc_callers", text(said.grpc_callers.as_ref())),
        ("grpc_socket", text(said.grpc_socket.as_ref())),
        ("grpc_connections_max", count(said.grpc_connections_max)),
        ("grpc_calls_max", count(said.grpc_calls_max)),
        ("grpc_streams_max", count(said.grpc_streams_max)),
        ("grpc_rate_max", count(said.grpc_rate_max)),
        ("audit_log", text(said.audit_log.as_ref())),
        ("data_dir", Some(config.data_dir.display().to_string().into())),
        (
            "identity_file",
            config
                .identity_file
                .as_ref()
                .map(|path| path.display().to_string().into()),
        ),
        ("trainers", Some(i64::from(config.trainers).into())),
        ("join", Some(config.join.clone().into())),
        ("creator", Some(config.creators.clone().into())),
        ("trust", Some(config.trust.clone().into())),
        ("members_change", toml::Value::try_from(config.members_change).ok()),
        ("retention", Some(retention)),
        ("blob_bytes_max", Some(quota)),
        ("header_bytes_max", Some(number(config.header_bytes_max))),
        ("log", Some(config.log.clone().into())),
        ("log_format", toml::Value::try_from(config.log_format).ok()),
        ("admin_addr", Some(admin.into())),
    ];
    let mut lines = String::new();
    for (key, value) in values {
        let line = match value {
            Some(value) => format!("{key} = {value}"),
            None => format!("# {key} is not set"),
        };
        // Writing into a String cannot fail.
        let _ = writeln!(lines, "{line:<48} # {}", layers.origin(key));
    }
    lines
}
