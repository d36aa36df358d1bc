//! The program as a user starts it. Being here also makes `cargo test` build it, with the features that the tests have.

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
    // Nothing listens on the discard port of a loopback address of its own.
    let dead = run(&["--addr", "127.0.0.9:9", "status"]);
    assert_eq!(dead.status.code(), Some(1));
    let said = String::from_utf8(dead.stderr).expect("text");
    assert!(said.contains("127.0.0.9:9"), "{said}");
}
