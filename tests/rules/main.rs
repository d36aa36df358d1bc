//! Rules of this repository, as tests.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_types,
    reason = "a test that cannot go on fails"
)]

mod chart;
mod metrics;
mod modules;

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn cargo(arguments: &[&str]) -> String {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let output = command
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints text")
}

/// Collects the files below a folder whose names have this ending. Generated and hidden folders are left out.
fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                files(&path, ending, found);
            }
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

#[test]
fn the_arrows_between_crates_are_those_of_the_architecture() {
    let metadata: serde_json::Value =
        serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1"])).expect("JSON");
    let allowed: &[(&str, &[&str])] = &[
        ("qres-access", &[]),
        ("qres-fed", &[]),
        ("qres-files", &[]),
        ("qres-wire", &["qres-fed", "qres-files"]),
        ("qres-store", &["qres-fed", "qres-files"]),
        ("qres-mesh", &["qres-fed", "qres-files", "qres-wire"]),
        ("qres-transfer", &["qres-fed", "qres-mesh", "qres-store", "qres-wire"]),
        (
            "qres-node",
            &[
                "qres-fed",
                "qres-files",
                "qres-mesh",
                "qres-store",
                "qres-transfer",
                "qres-wire",
            ],
        ),
        ("qres-api", &["qres-access", "qres-fed", "qres-node"]),
        ("qres-daemon", &["qres-access", "qres-api", "qres-node", "qres-fed"]),
        ("qres-cli", &["qres-access", "qres-api", "qres-fed", "qres-files"]),
        ("qres-demo", &["qres-api", "qres-fed"]),
        (
            "qres-fuzz",
            &[
                "qres-access",
                "qres-api",
                "qres-daemon",
                "qres-fed",
                "qres-mesh",
                "qres-store",
                "qres-transfer",
                "qres-wire",
            ],
        ),
        ("qres-tests", &["qres-api", "qres-fed", "qres-node"]),
    ];
    let packages = metadata["packages"].as_array().expect("packages");
    assert_eq!(
        packages.len(),
        allowed.len(),
        "a crate is missing from the list of arrows"
    );
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        let (_, allowed) = allowed.iter().find(|(n, _)| *n == name).expect("a known crate");
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let to = dependency["name"].as_str().expect("a name");
            let normal = dependency["kind"].is_null();
            assert!(
                !to.starts_with("qres-") || !normal || allowed.contains(&to),
                "{name} may not depend on {to}"
            );
        }
    }
}

/// Folders and the paths that no file in them may name: data below, what works on the data above.
const ARROWS_WITHIN: [(&str, &[&str]); 1] = [("crates/fed/src/round/table", &["round::machine", "round::Machine"])];

#[test]
fn no_table_knows_the_machine_that_works_on_it() {
    for (folder, above) in ARROWS_WITHIN {
        let mut rust = vec![];
        files(&root().join(folder), ".rs", &mut rust);
        assert!(rust.len() > 5, "found only {} files in {folder}", rust.len());
        for path in rust {
            let text = std::fs::read_to_string(&path).expect("text");
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for line in code {
                let named = above.iter().find(|path| line.contains(**path));
                assert!(named.is_none(), "{}: {line}", path.display());
            }
        }
    }
}

#[test]
fn the_cli_is_without_libp2p_and_the_learning_without_tokio() {
    let tree = |package| cargo(&["tree", "--offline", "-e", "normal", "--prefix", "none", "-p", package]);
    let has = |tree: &str, krate: &str| tree.lines().any(|line| line.split(' ').next() == Some(krate));
    let cli = tree("qres-cli");
    assert!(
        has(&cli, "tonic") && !has(&cli, "libp2p") && !has(&cli, "redb"),
        "qres speaks gRPC and nothing else"
    );
    let fed = tree("qres-fed");
    assert!(
        has(&fed, "rayon") && !has(&fed, "tokio") && !has(&fed, "getrandom"),
        "fed has no async and no entropy"
    );
    let store = tree("qres-store");
    assert!(
        has(&store, "redb") && !has(&store, "libp2p") && !has(&store, "tokio"),
        "the store blocks its caller, and knows nothing of the network"
    );
}

#[test]
fn files_stay_short_enough_to_read() {
    let mut rust = vec![];
    for folder in ["crates", "fuzz", "tests"] {
        files(&root().join(folder), ".rs", &mut rust);
    }
    assert!(rust.len() > 50, "found only {} files", rust.len());
    for path in rust {
        let lines = std::fs::read_to_string(&path).expect("text").lines().count();
        assert!(lines <= 500, "{} has {lines} lines: at most 500", path.display());
    }
}

#[test]
fn nothing_is_unbounded() {
    let mut rust = vec![];
    files(&root().join("crates"), ".rs", &mut rust);
    for path in rust {
        let text = std::fs::read_to_string(&path).expect("text");
        for word in ["unbounded_channel", "mpsc::unbounded"] {
            assert!(
                !text.contains(word),
                "{} uses {word}: every queue has a limit",
                path.display()
            );
        }
    }
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let mut rust = vec![];
    for folder in ["crates", "fuzz", "tests"] {
        files(&root().join(folder), ".rs", &mut rust);
    }
    let code: String = rust
        .iter()
        .map(|path| std::fs::read_to_string(path).expect("text"))
        .collect();
    let page = std::fs::read_to_string(root().join("docs/security.md")).expect("docs/security.md");
    // The names of tests are quoted in the last column of the tables, and in the last section.
    let quoted = page.split('`').skip(1).step_by(2);
    let is_test =
        |word: &&str| word.matches('_').count() >= 3 && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let named: Vec<_> = quoted.filter(is_test).collect();
    assert!(named.len() > 30, "found only {named:?}");
    for name in named {
        assert!(
            code.contains(&format!("fn {name}(")),
            "docs/security.md names {name}: no such test"
        );
    }
}
