//! Tests of the configuration as a user meets it: files, variables and flags go in, a value or an error text comes out.

use std::net::{Ipv4Addr, Ipv6Addr};

use clap::Parser;

use super::*;
use crate::args::Args;
use crate::settings;

/// Returns the [`Config`] and the [`Layers`] of a daemon with these flags, this file and this environment.
fn load(file: Option<&str>, env: &[(&str, &str)], flags: &[&str]) -> Result<(Config, Layers), String> {
    let dir = tempfile::tempdir().unwrap();
    let mut args = Args::try_parse_from(std::iter::once("qres-daemon").chain(flags.iter().copied())).unwrap();
    if let Some(text) = file {
        let path = dir.path().join("qres.toml");
        std::fs::write(&path, text).unwrap();
        args.config = Some(path);
    }
    let mut env: Environment = env.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    env.insert("HOSTNAME".into(), "qres-1".into());
    Config::load(&args, &env).map_err(|error| error.to_string())
}

fn config(file: Option<&str>, env: &[(&str, &str)], flags: &[&str]) -> Config {
    load(file, env, flags).unwrap().0
}

fn error(file: Option<&str>, env: &[(&str, &str)], flags: &[&str]) -> String {
    load(file, env, flags).unwrap_err()
}

#[test]
fn nothing_said_is_a_node_on_4001_with_grpc_on_loopback() {
    let config = config(None, &[], &[]);
    assert_eq!(config.mode, Mode::Node);
    assert_eq!(config.port, 4001);
    let everywhere: [std::net::IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    assert_eq!(config.listen, everywhere);
    assert_eq!(config.grpc.addr.to_string(), "127.0.0.1:4002");
    assert_eq!(config.network, "qres");
    assert_eq!(config.trainers, 1);
    assert_eq!(config.retention, Retention::Rounds(8));
    assert_eq!(config.blob_bytes_max, Quota::Share(90));
    assert_eq!(config.admin_addr, None);
    assert!(config.bootstrap.is_empty() && config.join.is_empty() && config.announce.is_empty());
    assert!(config.data_dir.ends_with("qres") && config.data_dir.is_absolute());
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let file = Some("port = 1\ntrainers = 2\nnetwork = \"file\"\n");
    let env = [("QRES_PORT", "10"), ("QRES_TRAINERS", "20")];
    let (config, layers) = load(file, &env, &["--port", "100"]).unwrap();
    assert_eq!(
        (config.port, config.trainers, config.network.as_str()),
        (100, 20, "file")
    );
    assert_eq!(layers.origin("port"), Origin::Flag("--port".into()));
    assert_eq!(layers.origin("trainers"), Origin::Environment("QRES_TRAINERS".into()));
    assert!(matches!(layers.origin("network"), Origin::File(path) if path.ends_with("qres.toml")));
    assert_eq!(layers.origin("mode"), Origin::Default);
}

#[test]
fn every_setting_can_be_said_in_every_layer() {
    let said = [
        ("mode", "bootstrap", "\"bootstrap\""),
        ("port", "7", "7"),
        ("listen", "127.0.0.1,[::1]", "[\"127.0.0.1\", \"[::1]\"]"),
        ("bootstrap", "a.example,203.0.113.7", "[\"a.example\", \"203.0.113.7\"]"),
        (
            "announce",
            "/ip4/203.0.113.7/tcp/4001",
            "[\"/ip4/203.0.113.7/tcp/4001\"]",
        ),
        ("network", "42", "\"42\""),
        ("network_key", "swarm.key", "\"swarm.key\""),
        (
            "allow_peer",
            "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp",
            "[\"12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp\"]",
        ),
        ("connections_max", "9", "9"),
        ("grpc_addr", "127.0.0.1:9", "\"127.0.0.1:9\""),
        ("grpc_insecure", "true", "true"),
        ("grpc_tls_cert", "a.crt", "\"a.crt\""),
        ("grpc_tls_key", "a.key", "\"a.key\""),
        ("grpc_tls_min", "1.2", "1.2"),
        ("grpc_client_ca", "ca.crt", "\"ca.crt\""),
        ("grpc_callers", "callers.toml", "\"callers.toml\""),
        ("grpc_socket", "/run/qres.sock", "\"/run/qres.sock\""),
        ("grpc_connections_max", "20", "20"),
        ("grpc_calls_max", "21", "21"),
        ("grpc_streams_max", "22", "22"),
        ("grpc_rate_max", "0", "0"),
        ("audit_log", "audit.jsonl", "\"audit.jsonl\""),
        ("data_dir", "/d", "\"/d\""),
        ("identity_file", "/k", "\"/k\""),
        ("trainers", "3", "3"),
        ("join", "", "[]"),
        (
            "creator",
            "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp",
            "[\"12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp\"]",
        ),
        (
            "trust",
            "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp",
            "[\"12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp\"]",
        ),
        ("members_change", "follow", "\"follow\""),
        ("retention", "all", "\"all\""),
        ("blob_bytes_max", "1000000", "1000000"),
        ("header_bytes_max", "1000000", "1000000"),
        ("log", "debug", "\"debug\""),
        ("log_format", "json", "\"json\""),
        ("admin_addr", "127.0.0.1:8", "\"127.0.0.1:8\""),
    ];
    assert_eq!(said.map(|(key, ..)| key), settings::KEYS.map(|(key, _)| key));
    let file: String = said.iter().map(|(key, _, toml)| format!("{key} = {toml}\n")).collect();
    let names = said.map(|(key, ..)| format!("QRES_{}", key.to_uppercase()));
    let env: Vec<_> = names
        .iter()
        .zip(said)
        .map(|(name, (_, text, _))| (name.as_str(), text))
        .collect();
    let flags: Vec<_> = said
        .iter()
        .filter(|(_, text, _)| !text.is_empty())
        .map(|(key, text, _)| format!("--{}={text}", key.replace('_', "-")))
        .collect();
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let from_file = config(Some(&file), &[], &[]);
    assert_eq!(config(None, &env, &[]), from_file);
    assert_eq!(config(None, &[], &flags), from_file);
    assert_eq!(from_file.bootstrap, ["a.example", "203.0.113.7"]);
    assert_eq!(from_file.retention, Retention::All);
}

#[test]
fn each_pod_of_a_statefulset_finds_its_own_key() {
    let file = Some("identity_file = \"/keys/$(HOSTNAME)\"");
    let path = config(file, &[], &[]).identity_file;
    assert_eq!(path, Some("/keys/qres-1".into()));
    let error = error(Some("identity_file = \"/keys/$(NONE)\""), &[], &[]);
    assert!(error.contains("identity_file") && error.contains("NONE"), "{error}");
}

#[test]
fn a_later_list_replaces_an_earlier_one() {
    let file = Some("bootstrap = [\"a.example\", \"b.example\"]");
    assert_eq!(
        config(file, &[], &["--bootstrap", "c.example"]).bootstrap,
        ["c.example"]
    );
    assert_eq!(
        config(file, &[("QRES_BOOTSTRAP", " d.example , ")], &[]).bootstrap,
        ["d.example"]
    );
}

#[test]
fn an_unknown_key_in_the_file_names_the_nearest_known_one() {
    let text = error(Some("grcp-addr = \"127.0.0.1:1\""), &[], &[]);
    assert!(
        text.contains("qres.toml: there is no setting \"grcp-addr\", did you mean \"grpc_addr\"?"),
        "{text}"
    );
    let text = error(Some("bootstraps = []"), &[], &[]);
    assert!(text.contains("did you mean \"bootstrap\"?"), "{text}");
    let text = error(Some("zzz = 1"), &[], &[]);
    assert!(!text.contains("did you mean"), "{text}");
}

#[test]
fn an_error_names_where_the_value_came_from() {
    let text = error(None, &[("QRES_PORT", "seventy")], &[]);
    assert_eq!(
        text,
        "port (from QRES_PORT): invalid type: found string \"seventy\", expected u16"
    );
    let text = error(Some("port = 70000"), &[], &[]);
    assert!(text.starts_with("port (from file ") && text.contains("70000"), "{text}");
    let text = error(None, &[], &["--grpc-addr", "4002"]);
    assert!(
        text.starts_with("grpc_addr (from --grpc-addr): \"4002\" is no IP address with a port"),
        "{text}"
    );
    let text = error(None, &[("QRES_MODE", "seed")], &[]);
    assert!(
        text.starts_with("mode (from QRES_MODE)") && text.contains("bootstrap"),
        "{text}"
    );
}

#[test]
fn a_wrong_value_is_an_error_even_where_it_is_overridden() {
    let text = error(Some("port = \"x\""), &[], &["--port", "1"]);
    assert!(text.starts_with("port (from file "), "{text}");
}

#[test]
fn a_file_that_is_missing_or_no_toml_says_so() {
    let args = Args {
        config: Some("/nowhere/qres.toml".into()),
        ..Args::default()
    };
    let text = Config::load(&args, &Environment::new()).unwrap_err().to_string();
    assert!(
        text.contains("/nowhere/qres.toml") && text.contains("--config"),
        "{text}"
    );
    let text = error(Some("port = = 1"), &[], &[]);
    assert!(text.contains("is not valid TOML") && text.contains("line 1"), "{text}");
}

#[test]
fn grpc_beyond_loopback_must_be_asked_for_by_name() {
    for address in ["0.0.0.0:4002", "192.0.2.1:4002", "[::]:4002"] {
        let text = error(None, &[], &["--grpc-addr", address]);
        assert!(
            text.contains("--grpc-insecure") && text.contains("no encryption"),
            "{text}"
        );
        let config = config(None, &[("QRES_GRPC_INSECURE", "true")], &["--grpc-addr", address]);
        assert_eq!(config.grpc.addr.to_string(), address);
    }
    for address in ["127.0.0.1:0", "[::1]:4002", "127.8.8.8:1", "localhost:5"] {
        assert!(
            config(None, &[], &["--grpc-addr", address])
                .grpc
                .addr
                .ip()
                .is_loopback()
        );
    }
    let text = error(
        None,
        &[("QRES_GRPC_INSECURE", "true")],
        &["--grpc-addr", "0.0.0.0:1", "--grpc-insecure=false"],
    );
    assert!(text.contains("no encryption"), "{text}");
}

#[test]
fn every_wrong_setting_is_named_at_once() {
    let file = Some("port = \"x\"\nretenton = 8\ntrainers = true\n");
    let text = error(file, &[("QRES_NETWORK", "a b")], &[]);
    for part in [
        "port (from ",
        "\"retenton\", did you mean \"retention\"",
        "trainers (from ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = error(
        Some("trainers = 0\nretention = \"some\"\n"),
        &[("QRES_NETWORK", "a b")],
        &["--grpc-tls-min", "1.1", "--bootstrap", "//"],
    );
    for part in [
        "trainers (from ",
        "retention (from ",
        "network (from QRES_NETWORK",
        "1.3 or 1.2",
        "bootstrap (from ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn tls_and_callers_must_fit_together() {
    let tls = ["--grpc-tls-cert", "a.crt", "--grpc-tls-key", "a.key"];
    let exposed = ["--grpc-addr", "0.0.0.0:4002"];
    for (flags, part) in [
        (&["--grpc-tls-cert", "a.crt"][..], "needs its private key"),
        (&["--grpc-tls-key", "a.key"], "needs its certificate"),
        (&["--grpc-client-ca", "ca.crt"], "client certificates need TLS"),
        (&[&tls[..], &exposed].concat(), "knows no callers"),
        (
            &[&exposed[..], &["--grpc-callers", "c.toml"]].concat(),
            "has no encryption: tokens could be read",
        ),
        (&["--grpc-socket", &format!("/{}", "x".repeat(120))], "a shorter one"),
    ] {
        let text = error(None, &[], flags);
        assert!(text.contains(part), "{part}: {text}");
    }
    let whole = [&tls[..], &exposed, &["--grpc-callers", "c.toml"]].concat();
    assert!(config(None, &[], &whole).grpc.security.has_credentials());
}

#[test]
fn a_value_out_of_bounds_names_the_bounds() {
    for (flags, part) in [
        (
            ["--trainers", "0"],
            "trainers (from --trainers): 0 is outside 1 to 1024",
        ),
        (["--connections-max", "0"], "outside 1 to 65536"),
        (["--retention", "0"], "neither `all` nor a number"),
        (["--blob-bytes-max", "0"], "no quota"),
        (["--blob-bytes-max", "101%"], "from 1% to 100%, or none"),
        (["--header-bytes-max", "7"], "outside 64 to 100000000"),
        (["--network", "a b"], "no network name"),
        (["--listen", "localhost"], "no IP address"),
        (["--listen", ""], "is empty"),
        (
            ["--bootstrap", "a.example:99999"],
            "no IP address, host, host:port or multiaddr",
        ),
        (
            ["--bootstrap", "http://a.example"],
            "no IP address, host, host:port or multiaddr",
        ),
        (
            ["--bootstrap", "/ip4/1.2.3/tcp/1"],
            "no IP address, host, host:port or multiaddr",
        ),
        (
            ["--bootstrap", "/ip4/127.0.0.1/udp/9"],
            "no IP address, host, host:port or multiaddr",
        ),
        (
            ["--bootstrap", "10.0.0.1:0"],
            "no IP address, host, host:port or multiaddr",
        ),
        (["--announce", "203.0.113.7"], "no multiaddr"),
        (["--data-dir", ""], "name a directory"),
        (["--trust", "node-2"], "is no peer id of a node"),
        (["--creator", "node-2"], "is no peer id of a node"),
        (["--admin-addr", "9000"], "no IP address with a port"),
    ] {
        let text = error(None, &[], &flags);
        assert!(text.contains(part), "{flags:?}: {text}");
    }
    let many = vec!["a.example"; 65].join(",");
    assert!(error(None, &[("QRES_BOOTSTRAP", &many)], &[]).contains("at most 64"));
    assert!(error(None, &[], &["--mode", "bootstrap", "--join", "m"]).contains("joins no model"));
}

#[test]
fn every_form_of_a_bootstrap_address_is_taken() {
    let forms = "203.0.113.7,203.0.113.7:4001,2001:db8::1,[2001:db8::1]:4001,node.example,node.example:4001,\
                 /dns4/node.example/udp/4001/quic-v1";
    assert_eq!(config(None, &[("QRES_BOOTSTRAP", forms)], &[]).bootstrap.len(), 7);
}

#[test]
fn a_relative_data_directory_becomes_absolute() {
    let dir = config(None, &[], &["--data-dir", "d1"]).data_dir;
    assert_eq!(dir, std::env::current_dir().unwrap().join("d1"));
}

#[test]
fn a_service_link_of_kubernetes_is_not_taken_for_the_port() {
    let env = [
        ("QRES_PORT", "tcp://10.96.0.7:4001"),
        ("QRES_SERVICE_HOST", "10.96.0.7"),
    ];
    assert_eq!(config(None, &env, &[]).port, 4001);
}

#[test]
fn a_misspelt_variable_names_the_nearest_setting_and_others_variables_are_left_alone() {
    let text = error(None, &[("QRES_GRPC_ADR", "127.0.0.1:1")], &[]);
    assert!(
        text.contains("QRES_GRPC_ADR: there is no setting") && text.contains("did you mean \"grpc_addr\"?"),
        "{text}"
    );
    let others = [
        ("QRES_ADDR", "127.0.0.1:4002"),
        ("QRES_CONFIG", "qres.toml"),
        ("QRES_PORT_4001_UDP_ADDR", "10.96.0.7"),
        ("QRES_MESH_SERVICE_PORT_GRPC", "4002"),
        ("QRES_EMPTY", ""),
        ("PATH", "/bin"),
    ];
    assert_eq!(config(None, &others, &[]), config(None, &[], &[]));
}

#[test]
fn the_report_is_a_file_that_says_the_same() {
    let flags = [
        "--port",
        "0",
        "--data-dir",
        "/var/lib/qres",
        "--bootstrap",
        "a.example",
        "--admin-addr",
        "[::1]:9",
    ];
    let (first, layers) = load(None, &[("QRES_RETENTION", "all"), ("QRES_LOG_FORMAT", "json")], &flags).unwrap();
    let text = report(&first, &layers);
    assert!(
        text.contains("# --port") && text.contains("# QRES_RETENTION") && text.contains("# default"),
        "{text}"
    );
    assert_eq!(config(Some(&text), &[], &[]), first);
}
