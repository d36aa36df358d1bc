//! Tests the program as a user starts it. A test in this folder also makes `cargo test` build the program, with the features
//! that the tests have.

use std::process::Command;

#[test]
fn it_lists_its_commands_and_says_which_node_does_not_answer() {
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_qres"))
            .args(arguments)
            .output()
            .expect("it runs")
    };
    let help = String::from_utf8(run(&["--help"]).stdout).expect("text");
    for command in [
        "status",
        "peers",
        "model",
        "submit",
        "fetch",
        "submissions",
        "watch",
        "state",
    ] {
        assert!(help.contains(command), "{command} is not in:\n{help}");
    }
    // No program listens on the discard port of this loopback address, which no other test uses.
    let dead = run(&["--addr", "127.0.0.9:9", "status"]);
    assert_eq!(dead.status.code(), Some(1));
    let said = String::from_utf8(dead.stderr).expect("text");
    assert!(said.contains("127.0.0.9:9"), "{said}");
}
