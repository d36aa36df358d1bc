//! Turns the settings of gRPC into a checked configuration: where it listens, TLS, callers and their limits.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use qres_access::tls::Oldest;

use super::problems::Problems;
use super::{ConfigError, GrpcConfig, Layers, SecurityFiles, setting};

/// Most bytes of the path of a Unix socket on Linux, without the zero at its end.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Checks the settings of gRPC. `None` if one of them is wrong; `problems` then has it.
pub(super) fn resolve(layers: &Layers, problems: &mut Problems) -> Option<GrpcConfig> {
    let said = &layers.settings;
    let security = security(layers, problems);
    let addr = problems.keep(setting::socket(
        layers,
        "grpc_addr",
        said.grpc_addr.as_deref().unwrap_or_default(),
    ));
    if let (Some(addr), Some(security)) = (addr, &security)
        && let Some(problem) = exposed(addr, security, said.grpc_insecure == Some(true))
    {
        problems.add(layers.error("grpc_addr", problem));
        return None;
    }
    let mut count = |key, value: Option<u32>, least| problems.keep(setting::within(layers, key, value, least, 1 << 20));
    let connections_max = count("grpc_connections_max", said.grpc_connections_max, 1);
    let calls_max = count("grpc_calls_max", said.grpc_calls_max, 1);
    let streams_max = count("grpc_streams_max", said.grpc_streams_max, 1);
    let rate_max = count("grpc_rate_max", said.grpc_rate_max, 0);
    let socket = problems.keep(socket_path(layers));
    let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    Some(GrpcConfig {
        addr: addr?,
        socket: socket?,
        security: security?,
        connections_max: size(connections_max?),
        calls_max: size(calls_max?),
        streams_max: streams_max?,
        rate_max: NonZeroU32::new(rate_max?),
    })
}

fn security(layers: &Layers, problems: &mut Problems) -> Option<SecurityFiles> {
    let said = &layers.settings;
    let (chain, key) = (
        setting::path(said.grpc_tls_cert.as_ref()),
        setting::path(said.grpc_tls_key.as_ref()),
    );
    let tls = match (chain, key) {
        (Some(chain), Some(key)) => Some((chain, key)),
        (None, None) => None,
        (Some(_), None) => {
            problems.add(layers.error("grpc_tls_key", "is missing: grpc_tls_cert needs its private key"));
            return None;
        }
        (None, Some(_)) => {
            problems.add(layers.error("grpc_tls_cert", "is missing: grpc_tls_key needs its certificate"));
            return None;
        }
    };
    let client_ca = setting::path(said.grpc_client_ca.as_ref());
    if client_ca.is_some() && tls.is_none() {
        let problem = "client certificates need TLS: give grpc_tls_cert and grpc_tls_key, too";
        problems.add(layers.error("grpc_client_ca", problem));
        return None;
    }
    let oldest = match said.grpc_tls_min.as_deref().unwrap_or("1.3") {
        "1.3" => Oldest::Tls13,
        "1.2" => Oldest::Tls12,
        other => {
            problems.add(layers.error("grpc_tls_min", format!("{other:?} is no version of TLS: 1.3 or 1.2")));
            return None;
        }
    };
    Some(SecurityFiles {
        tls,
        client_ca,
        callers: setting::path(said.grpc_callers.as_ref()),
        oldest,
    })
}

/// Returns the problem of an address that other machines can reach; `None` if it is encrypted and knows its callers, or if the
/// operator takes the risk.
fn exposed(addr: SocketAddr, security: &SecurityFiles, insecure: bool) -> Option<String> {
    if addr.ip().is_loopback() || insecure {
        return None;
    }
    let missing = match (security.tls.is_some(), security.has_credentials()) {
        (true, true) => return None,
        (false, true) => "has no encryption: tokens could be read on their way. Give grpc_tls_cert and grpc_tls_key",
        (true, false) => {
            "knows no callers: whoever reaches it reads and changes your models. Give grpc_client_ca or grpc_callers"
        }
        (false, false) => {
            "has no encryption and knows no callers: whoever reaches it reads and changes your models. Give grpc_tls_cert, \
             grpc_tls_key, and grpc_client_ca or grpc_callers (`qres tls init` makes them all for a trial)"
        }
    };
    Some(format!(
        "{addr} can be reached from other machines, and gRPC {missing}; or use 127.0.0.1:{}; or say --grpc-insecure \
         (QRES_GRPC_INSECURE=true) if the network around this node is trusted",
        addr.port()
    ))
}

fn socket_path(layers: &Layers) -> Result<Option<PathBuf>, ConfigError> {
    let Some(path) = setting::path(layers.settings.grpc_socket.as_ref()) else {
        return Ok(None);
    };
    let whole =
        std::path::absolute(&path).map_err(|error| layers.error("grpc_socket", format!("{path:?}: {error}")))?;
    let bytes = whole.as_os_str().len();
    if bytes > SOCKET_PATH_BYTES_MAX {
        let problem =
            format!("the path has {bytes} bytes, the system takes {SOCKET_PATH_BYTES_MAX}: choose a shorter one");
        return Err(layers.error("grpc_socket", problem));
    }
    Ok(Some(whole))
}
