//! Turns the merged settings into a checked configuration.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use qres_node::HEADER_BYTES_MAX;
use qres_node::identity;
use qres_node::mesh::check_address;
use qres_node::store::{Quota, QuotaError};
use tracing_subscriber::EnvFilter;

use super::problems::{ConfigErrors, Problems};
use super::setting::{path, socket, within};
use super::{
    Config, ConfigError, Environment, Layers, LogFormat, MembersChange, Mode, Retention, announce, resolve_grpc,
};

/// Port of the mesh if no layer sets `port`.
const MESH_PORT: u16 = 4001;
/// Most entries of one list (`listen`, `bootstrap`, `announce`, `join`, `creator`, `trust`): a node needs a handful.
const LIST_MAX: usize = 64;
/// Most peers that may be allowed by name: a network of this size is better kept closed by a key.
const ALLOWED_MAX: usize = 4096;
/// Most addresses to listen on: each takes a socket for TCP and one for QUIC.
const LISTEN_MAX: usize = 8;
/// Most trainers of one node. Their submissions are merged together, so this bounds a merge.
const TRAINERS_MAX: u32 = 1024;
/// Most bytes of a network's name: the name is part of the first message between two nodes.
const NETWORK_BYTES_MAX: usize = 64;
/// Most bytes of one entry of a list, an address for example.
const ADDRESS_BYTES_MAX: usize = 512;

type Outcome<T> = Result<T, ConfigError>;

/// Checks every setting of `layers` and fills in the defaults that depend on this machine. Returns all settings that are
/// wrong.
pub fn resolve(layers: &Layers, env: &Environment) -> Result<Config, ConfigErrors> {
    let mut problems = Problems::default();
    let whole = all(layers, env, &mut problems);
    problems.finish(whole)
}

fn all(layers: &Layers, env: &Environment, problems: &mut Problems) -> Option<Config> {
    let said = &layers.settings;
    let mode = said.mode.unwrap_or(Mode::Node);
    // Every setting is looked at before the first wrong one ends this.
    let grpc = resolve_grpc::resolve(layers, problems);
    let listen = problems.keep(listen(layers));
    let bootstrap = problems.keep(bootstrap(layers));
    let announce = problems.keep(announced(layers, env));
    let network = problems.keep(network(layers));
    let allowed = problems.keep(nodes(layers, "allow_peer", said.allow_peer.as_ref(), ALLOWED_MAX));
    let connections_max = problems.keep(within(layers, "connections_max", said.connections_max, 1, 65_536));
    let data_dir = problems.keep(data_dir(layers));
    let identity_file = problems.keep(identity_file(layers, env));
    let trainers = problems.keep(within(layers, "trainers", said.trainers, 1, TRAINERS_MAX));
    let join = problems.keep(join(layers, mode));
    let creators = problems.keep(nodes(layers, "creator", said.creator.as_ref(), LIST_MAX));
    let trust = problems.keep(nodes(layers, "trust", said.trust.as_ref(), LIST_MAX));
    let retention = problems.keep(retention(layers));
    let blob_bytes_max = problems.keep(quota(layers));
    let header_bytes_max = problems.keep(header_bytes_max(layers));
    let log = problems.keep(log(layers));
    let admin_addr = problems.keep(optional_socket(layers, "admin_addr", said.admin_addr.as_ref()));
    Some(Config {
        mode,
        port: said.port.unwrap_or(MESH_PORT),
        listen: listen?,
        bootstrap: bootstrap?,
        announce: announce?,
        network: network?,
        network_key: path(said.network_key.as_ref()),
        allowed: allowed?,
        connections_max: connections_max?,
        grpc: grpc?,
        data_dir: data_dir?,
        identity_file: identity_file?,
        trainers: trainers?,
        join: join?,
        creators: creators?,
        trust: trust?,
        members_change: said.members_change.unwrap_or(MembersChange::Ask),
        retention: retention?,
        blob_bytes_max: blob_bytes_max?,
        header_bytes_max: header_bytes_max?,
        log: log?,
        log_format: said.log_format.unwrap_or(LogFormat::Text),
        admin_addr: admin_addr?,
        audit_log: path(said.audit_log.as_ref()),
    })
}

fn join(layers: &Layers, mode: Mode) -> Outcome<Vec<String>> {
    let join = list(layers, "join", layers.settings.join.as_ref(), LIST_MAX)?;
    if mode == Mode::Bootstrap && !join.is_empty() {
        return Err(layers.error(
            "join",
            "a bootstrap node joins no model: leave it out, or say --mode node",
        ));
    }
    Ok(join)
}

/// Returns the address of a listener that may be `off`.
fn optional_socket(layers: &Layers, key: &'static str, value: Option<&String>) -> Outcome<Option<SocketAddr>> {
    match text(value) {
        "off" => Ok(None),
        address => socket(layers, key, address).map(Some),
    }
}

fn text(value: Option<&String>) -> &str {
    value.map_or("", String::as_str)
}

fn listen(layers: &Layers) -> Outcome<Vec<IpAddr>> {
    let values = list(layers, "listen", layers.settings.listen.as_ref(), LIST_MAX)?;
    let mut addresses = Vec::new();
    for value in &values {
        let address: IpAddr = value
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse()
            .map_err(|_| {
                let problem =
                    format!("{value:?} is no IP address: 0.0.0.0 and :: listen everywhere; the port is --port's");
                layers.error("listen", problem)
            })?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() || addresses.len() > LISTEN_MAX {
        let problem = format!("{} addresses, 1 to {LISTEN_MAX} are possible", addresses.len());
        return Err(layers.error("listen", problem));
    }
    Ok(addresses)
}

/// Returns the at most `most` peer ids of a list as they were written, or an error if one of them is no peer id.
fn nodes(layers: &Layers, key: &'static str, values: Option<&Vec<String>>, most: usize) -> Outcome<Vec<String>> {
    let nodes = list(layers, key, values, most)?;
    match nodes.iter().find(|node| identity::parse(node).is_none()) {
        None => Ok(nodes),
        Some(other) => Err(layers.error(
            key,
            format!("{other:?} is no peer id of a node: `qres peers` and a node's own start show them (12D3Koo…)"),
        )),
    }
}

fn list(layers: &Layers, key: &'static str, values: Option<&Vec<String>>, most: usize) -> Outcome<Vec<String>> {
    let values: Vec<String> = values
        .map_or(&[][..], Vec::as_slice)
        .iter()
        .map(|v| v.trim().to_owned())
        .collect();
    if values.len() > most {
        return Err(layers.error(key, format!("{} entries, at most {most} are possible", values.len())));
    }
    if let Some(bad) = values
        .iter()
        .find(|v| v.is_empty() || v.len() > ADDRESS_BYTES_MAX || v.contains(char::is_whitespace))
    {
        let problem = format!("{bad:?} is empty, longer than {ADDRESS_BYTES_MAX} bytes, or has spaces in it");
        return Err(layers.error(key, problem));
    }
    Ok(values)
}

/// Checks the form of the bootstrap addresses only. A host name is not looked up here: the mesh looks it up at each dial.
fn bootstrap(layers: &Layers) -> Outcome<Vec<String>> {
    let addresses = list(layers, "bootstrap", layers.settings.bootstrap.as_ref(), LIST_MAX)?;
    if let Some(bad) = addresses
        .iter()
        .find(|address| !is_dialable(address) || check_address(address).is_err())
    {
        let problem = format!(
            "{bad:?} is no IP address, host, host:port or multiaddr, e.g. 203.0.113.7, node.example:4001 or \
             /ip4/203.0.113.7/tcp/4001"
        );
        return Err(layers.error("bootstrap", problem));
    }
    Ok(addresses)
}

fn is_dialable(address: &str) -> bool {
    let host = |host: &str| {
        let label = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        !host.is_empty() && host.len() <= 253 && host.bytes().all(label)
    };
    if address.starts_with('/') {
        return address.len() > 1;
    }
    if address.parse::<IpAddr>().is_ok() || address.parse::<SocketAddr>().is_ok() {
        return true;
    }
    match address.rsplit_once(':') {
        Some((name, port)) => host(name) && port.parse::<u16>().is_ok_and(|port| port > 0),
        None => host(address),
    }
}

fn announced(layers: &Layers, env: &Environment) -> Outcome<Vec<String>> {
    let templates = list(layers, "announce", layers.settings.announce.as_ref(), LIST_MAX)?;
    let fill = |template: &String| {
        let address = announce::expand(template, env).map_err(|problem| layers.error("announce", problem))?;
        if address.starts_with('/') {
            return Ok(address);
        }
        let problem = format!("{address:?} is no multiaddr, e.g. /ip4/203.0.113.7/tcp/4001");
        Err(layers.error("announce", problem))
    };
    templates.iter().map(fill).collect()
}

fn network(layers: &Layers) -> Outcome<String> {
    let name = text(layers.settings.network.as_ref());
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > NETWORK_BYTES_MAX || !name.bytes().all(known) {
        let problem = format!("{name:?} is no network name: 1 to {NETWORK_BYTES_MAX} of [A-Za-z0-9._-]");
        return Err(layers.error("network", problem));
    }
    Ok(name.to_owned())
}

fn retention(layers: &Layers) -> Outcome<Retention> {
    let value = text(layers.settings.retention.as_ref());
    if value == "all" {
        return Ok(Retention::All);
    }
    match value.parse() {
        Ok(rounds) if rounds > 0 => Ok(Retention::Rounds(rounds)),
        _ => Err(layers.error(
            "retention",
            format!("{value:?} is neither `all` nor a number of rounds from 1"),
        )),
    }
}

/// Returns the limit of a header in bytes: from 64, about the smallest header of one tensor, to 100,000,000, the longest
/// header that the safetensors format allows.
fn header_bytes_max(layers: &Layers) -> Outcome<u64> {
    let value = layers.settings.header_bytes_max.unwrap_or(HEADER_BYTES_MAX);
    if (64..=100_000_000).contains(&value) {
        return Ok(value);
    }
    Err(layers.error("header_bytes_max", format!("{value} bytes is outside 64 to 100000000")))
}

fn quota(layers: &Layers) -> Outcome<Quota> {
    let value = text(layers.settings.blob_bytes_max.as_ref());
    value
        .parse()
        .map_err(|error: QuotaError| layers.error("blob_bytes_max", error.to_string()))
}

fn log(layers: &Layers) -> Outcome<String> {
    let filter = text(layers.settings.log.as_ref());
    match EnvFilter::try_new(filter) {
        Ok(_) => Ok(filter.to_owned()),
        Err(error) => {
            let problem =
                format!("{filter:?} is no log filter ({error}): say e.g. info, debug or info,qres_mesh=debug");
            Err(layers.error("log", problem))
        }
    }
}

fn identity_file(layers: &Layers, env: &Environment) -> Outcome<Option<PathBuf>> {
    let fill = |said: &String| match said.is_empty() {
        true => Err(layers.error("identity_file", "is empty: name a file")),
        false => announce::expand(said, env).map_err(|problem| layers.error("identity_file", problem)),
    };
    let path = layers.settings.identity_file.as_ref().map(fill).transpose()?;
    Ok(path.map(PathBuf::from))
}

fn data_dir(layers: &Layers) -> Outcome<PathBuf> {
    if let Some(said) = &layers.settings.data_dir {
        if said.is_empty() {
            return Err(layers.error("data_dir", "is empty: name a directory"));
        }
        // The path is made absolute, so that a printed or logged path leads to the directory from anywhere.
        return std::path::absolute(said).map_err(|error| layers.error("data_dir", format!("{said:?}: {error}")));
    }
    match directories::BaseDirs::new() {
        Some(base) => Ok(base.data_dir().join("qres")),
        None => Err(layers.error(
            "data_dir",
            "this user has no home directory to keep data in: name one with --data-dir or QRES_DATA_DIR",
        )),
    }
}
