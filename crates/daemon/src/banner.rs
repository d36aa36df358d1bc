//! The few lines that a daemon prints when it starts: its version, identity and addresses. People and tests read them.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use qres_node::view::NodeView;

use crate::config::{GrpcConfig, SecurityFiles};

/// Returns the lines of the banner, one `key value` each, values in one column. The last line, [`READY`], is printed apart,
/// once everything answers.
pub fn banner(
    node: &NodeView,
    grpc: SocketAddr,
    config: &GrpcConfig,
    admin: Option<SocketAddr>,
    data_dir: &Path,
) -> String {
    let mut lines = vec![
        (
            "version",
            format!("{} (swarm protocol {})", node.version, node.protocol),
        ),
        ("peer id", node.peer_id.clone()),
        ("node id", node.node.to_string()),
        ("mode", node.mode.clone()),
    ];
    lines.extend(node.listen.iter().map(|address| ("mesh", address.clone())));
    lines.push(("grpc", grpc.to_string()));
    lines.extend(
        config
            .socket
            .iter()
            .map(|path| ("socket", format!("unix:{}", path.display()))),
    );
    lines.push(("access", access(&config.security)));
    lines.extend(admin.map(|address| ("admin", format!("http://{address}"))));
    lines.push(("data", data_dir.display().to_string()));
    let mut text = String::new();
    for (key, value) in lines {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{key:<9} {value}");
    }
    text
}

/// Says how gRPC is protected.
fn access(security: &SecurityFiles) -> String {
    let encrypted = if security.tls.is_some() { "TLS" } else { "no TLS" };
    let callers = match security.has_credentials() {
        true => "callers show a credential",
        false => "each program that reaches the address may do everything",
    };
    format!("{encrypted}; {callers}")
}

/// The line that the daemon prints once everything answers.
pub const READY: &str = "ready";

#[cfg(test)]
mod tests {
    use qres_fed::id::NodeId;
    use qres_node::descriptors::Descriptors;
    use qres_node::view::DiskUse;

    use super::*;

    #[test]
    fn says_who_and_where_in_one_column() {
        let node = NodeView {
            node: NodeId([0xab; 32]),
            peer_id: "12D3KooWExample".into(),
            version: "0.1.0".into(),
            protocol: "10.0".into(),
            mode: "node".into(),
            listen: vec![
                "/ip4/127.0.0.1/tcp/4001".into(),
                "/ip4/127.0.0.1/udp/4001/quic-v1".into(),
            ],
            uptime_ms: 0,
            peers: 0,
            draining: false,
            revision: 0,
            blob_bytes: 0,
            disk: DiskUse::default(),
            descriptors: Descriptors::default(),
        };
        let grpc = GrpcConfig {
            addr: "127.0.0.1:4002".parse().unwrap(),
            socket: Some("/run/qres.sock".into()),
            security: SecurityFiles::default(),
            connections_max: 1,
            calls_max: 1,
            streams_max: 1,
            rate_max: None,
        };
        let text = banner(
            &node,
            "127.0.0.1:4002".parse().unwrap(),
            &grpc,
            None,
            Path::new("/var/lib/qres"),
        );
        let expected = format!(
            "version   0.1.0 (swarm protocol 10.0)\n\
             peer id   12D3KooWExample\n\
             node id   {}\n\
             mode      node\n\
             mesh      /ip4/127.0.0.1/tcp/4001\n\
             mesh      /ip4/127.0.0.1/udp/4001/quic-v1\n\
             grpc      127.0.0.1:4002\n\
             socket    unix:/run/qres.sock\n\
             access    no TLS; each program that reaches the address may do everything\n\
             data      /var/lib/qres\n",
            "ab".repeat(32)
        );
        assert_eq!(text, expected);
    }
}
