//! The alert rules hold what their own tests say.

use std::process::Command;

use crate::program::on_path;
use crate::prometheus::chart;

#[test]
fn the_alert_rules_hold_what_their_tests_say() {
    let Some(promtool) = on_path("promtool") else { return };
    for arguments in [
        ["check", "rules", &chart("files/rules.yaml")],
        ["test", "rules", &chart("tests/rules_test.yaml")],
    ] {
        let output = Command::new(&promtool).args(arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    }
}
