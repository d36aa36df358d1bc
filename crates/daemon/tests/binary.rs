//! Tests the program as a user starts it. A test in this folder also makes `cargo test` build the program, with the features
//! that the tests have.

use std::process::Command;

#[test]
fn it_says_its_version_and_explains_every_flag_of_the_guide() {
    let run = |argument: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_qres-daemon"))
            .arg(argument)
            .output()
            .expect("it runs");
        assert!(output.status.success());
        String::from_utf8(output.stdout).expect("text")
    };
    assert!(run("--version").contains(env!("CARGO_PKG_VERSION")));
    let help = run("--help");
    for flag in [
        "--mode",
        "--port",
        "--bootstrap",
        "--grpc-addr",
        "--grpc-insecure",
        "--data-dir",
        "--check-config",
    ] {
        assert!(help.contains(flag), "{flag} is not in:\n{help}");
    }
}
