//! The programs under test. They are built once, before the first test that runs them, so that no test runs an old build.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Builds every program once and returns the folder of the binaries.
///
/// A debug test builds with the profile and the features of the tests, because another selection would build libp2p anew. A
/// release run, such as the benchmark, builds the binaries in release.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // The test is target/<profile>/deps/<test>; cargo puts the programs into target/<profile>.
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
        // The build script of a library (ring) runs again whenever a variable of these has changed, and then libp2p is built anew.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                build.env_remove(&name);
            }
        }
        let status = build.status().expect("cargo runs");
        assert!(status.success(), "the programs under test do not build");
        folder
    })
}

/// Path of the `qres-daemon` binary in [`folder`].
pub fn daemon() -> PathBuf {
    folder().join("qres-daemon")
}

/// Path of the `qres` binary, the command-line client, in [`folder`].
pub fn cli() -> PathBuf {
    folder().join("qres")
}
