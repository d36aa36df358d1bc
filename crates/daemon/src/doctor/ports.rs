//! The ports: before a start, whether they are free; of a running node, where it listens.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use qres_node::finding::Finding;
use qres_node::mesh::{Transport, try_listen};

use crate::config::{Config, GrpcConfig};
use crate::socket;

const MESH: &str = "mesh-port";
const GRPC: &str = "grpc-port";
const SOCKET: &str = "grpc-socket";
const ADMIN: &str = "admin-port";

/// Tries each port. `in_use`: a node runs on the data directory, so it probably holds the ports.
pub fn before_start(config: &Config, in_use: bool) -> Vec<Finding> {
    let holder = match in_use {
        true => "in use, probably by the qres-daemon that runs on this data directory",
        false => "in use by another process",
    };
    let mut all = mesh(config, holder);
    all.push(tcp(GRPC, "gRPC", "--grpc-addr", config.grpc.addr, holder));
    if let Some(path) = &config.grpc.socket {
        all.push(socket_file(path));
    }
    if let Some(address) = config.admin_addr {
        all.push(tcp(ADMIN, "the admin port", "--admin-addr", address, holder));
    }
    all
}

/// Names the ports of a running node.
pub fn of_running(grpc: &GrpcConfig, address: SocketAddr, admin: Option<SocketAddr>) -> Vec<Finding> {
    let socket = grpc.socket.as_ref();
    let socket = socket.map_or(String::new(), |path| format!(" and on the socket {}", path.display()));
    let mut all = vec![Finding::ok(GRPC, format!("gRPC listens on {address}{socket}"))];
    all.push(match admin {
        Some(address) => Finding::ok(ADMIN, format!("metrics and health are served on {address}")),
        None => Finding::skipped(
            ADMIN,
            "the admin port is off",
            "--admin-addr turns metrics and health checks on",
        ),
    });
    all
}

fn mesh(config: &Config, holder: &str) -> Vec<Finding> {
    let transports: &[Transport] = match config.network_key {
        Some(_) => &[Transport::Tcp],
        None => &[Transport::Tcp, Transport::Udp],
    };
    let mut problems = vec![];
    let mut free = vec![];
    let mut absent = vec![];
    for host in &config.listen {
        for transport in transports {
            let name = match transport {
                Transport::Tcp => "TCP",
                Transport::Udp => "UDP",
            };
            let at = format!("{name} {}", SocketAddr::new(*host, config.port));
            match try_listen(*host, config.port, *transport) {
                Ok(()) => free.push(at),
                // A machine without IPv6 (or IPv4) does without it.
                Err(error) if host.is_unspecified() && error.kind() != io::ErrorKind::AddrInUse => {
                    absent.push((at, error))
                }
                Err(error) => problems.push(taken(MESH, "the mesh", &at, "--port or --listen", &error, holder)),
            }
        }
    }
    if free.is_empty() && problems.is_empty() {
        let each = absent
            .iter()
            .map(|(at, error)| taken(MESH, "the mesh", at, "--listen", error, holder));
        problems.extend(each);
    }
    if problems.is_empty() {
        let text = match config.port {
            0 => "the system picks a free port for the mesh (port 0)".to_owned(),
            _ => format!("free for the mesh: {}", free.join(", ")),
        };
        problems.push(Finding::ok(MESH, text));
    }
    problems
}

fn tcp(check: &'static str, what: &str, setting: &str, address: SocketAddr, holder: &str) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) if address.port() == 0 => Finding::ok(check, format!("the system picks a free port for {what} (port 0)")),
        Ok(_) => Finding::ok(check, format!("free for {what}: TCP {address}")),
        Err(error) => taken(check, what, &format!("TCP {address}"), setting, &error, holder),
    }
}

fn taken(check: &'static str, what: &str, at: &str, setting: &str, error: &io::Error, holder: &str) -> Finding {
    match error.kind() {
        io::ErrorKind::AddrInUse => Finding::failed(
            check,
            format!("{what} cannot listen: {at} is {holder}"),
            format!("stop that process (`ss -lntup` names it), or choose another with {setting}"),
        ),
        io::ErrorKind::PermissionDenied => Finding::failed(
            check,
            format!("{what} cannot listen on {at}: {error}"),
            format!("ports below 1024 need a right of their own (CAP_NET_BIND_SERVICE): choose another with {setting}"),
        ),
        _ => Finding::failed(
            check,
            format!("{what} cannot listen on {at}: {error}"),
            format!("name an address of this machine with {setting} (`ip address` lists them)"),
        ),
    }
}

fn socket_file(path: &Path) -> Finding {
    match socket::examine(path) {
        Ok(text) => Finding::ok(SOCKET, text),
        Err(problem) => Finding::failed(
            SOCKET,
            problem,
            "name another path with --grpc-socket, in a directory of the daemon's user",
        ),
    }
}

#[cfg(test)]
mod tests {
    use qres_node::finding::Verdict;

    use super::*;
    use crate::config::test_config;

    #[test]
    fn a_port_that_is_taken_is_named_with_its_transport() {
        let dir = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = test_config(&dir.path().join("data"));
        config.listen = vec!["127.0.0.1".parse().unwrap()];
        config.port = taken.local_addr().unwrap().port();
        config.grpc.addr = taken.local_addr().unwrap();
        let found = before_start(&config, false);
        let failed: Vec<_> = found
            .iter()
            .filter(|finding| finding.verdict == Verdict::Failed)
            .collect();
        assert_eq!(failed.len(), 2, "{found:?}");
        assert!(
            failed[0]
                .text
                .contains(&format!("TCP 127.0.0.1:{} is in use", config.port)),
            "{failed:?}"
        );
        assert!(
            failed[0].remedy.contains("--port") && failed[1].remedy.contains("--grpc-addr"),
            "{failed:?}"
        );
        drop(taken);
        config.port = 0;
        config.grpc.addr = "127.0.0.1:0".parse().unwrap();
        assert!(
            before_start(&config, false)
                .iter()
                .all(|finding| finding.verdict == Verdict::Ok)
        );
        config.listen = vec!["192.0.2.1".parse().unwrap()];
        assert!(
            before_start(&config, false)[0]
                .remedy
                .contains("address of this machine")
        );
    }
}
