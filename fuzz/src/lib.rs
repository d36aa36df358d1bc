//! Fuzz targets: every reader of foreign bytes, and the promises that each reader must keep for any bytes.
//!
//! A target is a function of bytes. It panics when a promise is broken: a value that was decoded is encoded to the same
//! bytes, a value that was checked is usable, and memory grows with the bytes that came, not with the length that they
//! announce. `make fuzz` lets libFuzzer look for bytes that break a promise; `tests/replay.rs` runs every target on the
//! files of `corpus/`, on stable and in CI.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_types,
    reason = "a target fails by a panic"
)]

mod allocation;
mod fixture;
mod record;
mod target;

use std::path::{Path, PathBuf};

pub use fixture::Fixture;
pub use target::TARGETS;

/// Bytes of memory (8 MiB) that any input may cost, beside [`BYTES_PER_BYTE`]: borsh reserves up to 1 MiB for a list of
/// bytes before it reads them, a frame has up to 256 KiB, and a batch of an update goes through some hundred KiB a
/// thread.
const BYTES_MAX: usize = 8 << 20;
/// Bytes of memory that each byte of input may cost: a tensor of a spec has 9 bytes in the input and 56 in memory, twice
/// while a list grows.
const BYTES_PER_BYTE: usize = 64;

/// A reader of foreign bytes, with its checks and its seeds.
pub struct Target {
    /// Name of the bytes that are read; the corpus of the target is `corpus/<name>`.
    pub name: &'static str,
    /// Reads the bytes and checks what must hold; returns true if the bytes were accepted.
    run: fn(&Fixture, &[u8]) -> bool,
    /// Makes valid inputs to begin with, the same every time.
    seeds: fn(&Fixture) -> Vec<Vec<u8>>,
}

impl Target {
    /// Returns the target of this name, if there is one in [`TARGETS`].
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Runs the target on `data`; returns true if the bytes were accepted.
    ///
    /// # Panics
    /// When a promise is broken.
    pub fn run(&self, fixture: &Fixture, data: &[u8]) -> bool {
        let (accepted, bytes) = allocation::peak_of(|| (self.run)(fixture, data));
        let most = BYTES_MAX + BYTES_PER_BYTE * data.len();
        assert!(
            bytes <= most,
            "{}: {} bytes of input took {bytes} bytes of memory, at most {most} are allowed",
            self.name,
            data.len()
        );
        accepted
    }

    /// Returns valid inputs to begin with, the same every time.
    pub fn seeds(&self, fixture: &Fixture) -> Vec<Vec<u8>> {
        (self.seeds)(fixture)
    }

    /// Returns the folder of the target's corpus.
    pub fn corpus(&self) -> PathBuf {
        folder().join("corpus").join(self.name)
    }

    /// Returns the folder of the inputs that once broke a promise: after the fix they are replayed like the corpus.
    pub fn crashes(&self) -> PathBuf {
        folder().join("crashes").join(self.name)
    }
}

/// Returns the name of the file of a seed.
pub fn seed_name(number: usize) -> String {
    format!("seed-{number}")
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
