//! The demo as `make demo` runs it, but with three rounds only.

use std::process::Command;

use qres_tests::binaries;

#[test]
fn the_demo_ends_with_equal_heads_and_its_curves() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let curves = dir.path().join("accuracy.svg");
    let mut command = Command::new(binaries::folder().join("qres-demo"));
    let output = command
        .args(["--rounds", "3", "--out"])
        .arg(&curves)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("all nodes hold the same bits"), "{said}");
    assert!(said.contains("3 of 3 in"), "{said}");
    let svg = std::fs::read_to_string(curves).expect("the curves");
    assert!(
        svg.starts_with("<svg") && svg.contains("polyline"),
        "{}",
        &svg[..200.min(svg.len())]
    );
}
