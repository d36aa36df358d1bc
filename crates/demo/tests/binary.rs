//! Tests the program as a user starts it. A test in this folder also makes `cargo test` build the program, with the features
//! that the tests have.

use std::process::Command;

#[test]
fn it_explains_its_flags() {
    let output = Command::new(env!("CARGO_BIN_EXE_qres-demo"))
        .arg("--help")
        .output()
        .expect("it runs");
    let help = String::from_utf8(output.stdout).expect("text");
    for flag in ["--rounds", "--learner", "--nodes", "--seed", "--out"] {
        assert!(help.contains(flag), "{flag} is not in:\n{help}");
    }
}
