//! The programs under test, built once before the first test that runs them: else it would test yesterday's.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Builds every program in the tests' own profile and with the tests' own features (another selection would build libp2p
/// anew), for the benchmark in release; answers where they are.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // target/<profile>/deps/<test>: two up is where the programs go.
        let test = std::env::current_exe().expect("a test knows its own path");
        let folder = test
            .ancestors()
            .nth(2)
            .expect("a test lives below target/<profile>")
            .to_owned();
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        if folder.file_name().is_some_and(|name| name == "release") {
            build.args(["build", "--quiet", "--workspace", "--bins", "--release"]);
        } else {
            build.args(["test", "--quiet", "--workspace", "--no-run"]);
        }
        let status = build.status().expect("cargo runs");
        assert!(status.success(), "the programs under test do not build");
        folder
    })
}

/// `qres-daemon`.
pub fn daemon() -> PathBuf {
    folder().join("qres-daemon")
}

/// `qres`.
pub fn cli() -> PathBuf {
    folder().join("qres")
}
