//! The fuzzer: libFuzzer on the target that `QRES_FUZZ_TARGET` names. `run.sh` builds and runs it.
#![no_main]
#![allow(unsafe_code, missing_docs)]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use qres_fuzz::{Fixture, Target};

static TARGET: LazyLock<(&Target, Fixture)> = LazyLock::new(|| {
    let name = std::env::var("QRES_FUZZ_TARGET").unwrap_or_default();
    let target = Target::named(&name).unwrap_or_else(|| panic!("QRES_FUZZ_TARGET={name:?} names no target"));
    let fixture = Fixture::new();
    // Runs the seeds first: memory that is allocated once, on first use, must not count against the first input.
    for seed in target.seeds(&fixture) {
        target.run(&fixture, &seed);
    }
    (target, fixture)
});

fuzz_target!(init: { LazyLock::force(&TARGET); }, |data: &[u8]| {
    let (target, fixture) = &*TARGET;
    target.run(fixture, data);
});
