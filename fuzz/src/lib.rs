//! Fuzz targets: every reader of foreign bytes, and what must hold of each whatever the bytes are.
//!
//! A target is a function of bytes. It panics when a promise is broken: what decodes encodes to the same bytes, what was
//! checked is usable, memory grows with the bytes that came and not with those that were announced. `make fuzz` lets
//! libFuzzer look for such bytes; `tests/replay.rs` runs every target on the files of `corpus/`, on stable and in CI.

mod allocation;
mod fixture;
mod record;
mod target;

use std::path::{Path, PathBuf};

pub use fixture::Fixture;
pub use target::TARGETS;

/// Bytes that any input may cost, beside [`BYTES_PER_BYTE`]: borsh reserves up to 1 MiB for a list of bytes before it reads
/// them, a frame has up to 256 KiB, and a batch of an update goes through some hundred KiB a thread.
const BYTES_MAX: usize = 8 << 20;
/// Bytes that a byte of input may cost: a tensor of a spec has 9 bytes on the way and 56 here, twice while a list grows.
const BYTES_PER_BYTE: usize = 64;

/// A reader of foreign bytes.
pub struct Target {
    /// What is read; its corpus is `corpus/<name>`.
    pub name: &'static str,
    /// Reads, checks what must hold, and says whether the bytes were accepted.
    run: fn(&Fixture, &[u8]) -> bool,
    /// Valid bytes to begin with, the same every time.
    seeds: fn(&Fixture) -> Vec<Vec<u8>>,
}

impl Target {
    /// The one of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Runs it; whether the bytes were accepted.
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

    /// Valid bytes to begin with.
    pub fn seeds(&self, fixture: &Fixture) -> Vec<Vec<u8>> {
        (self.seeds)(fixture)
    }

    /// Where its corpus is.
    pub fn corpus(&self) -> PathBuf {
        folder().join("corpus").join(self.name)
    }

    /// Where inputs that broke a promise are kept: once mended they are replayed like the corpus.
    pub fn crashes(&self) -> PathBuf {
        folder().join("crashes").join(self.name)
    }
}

/// The name of a seed's file.
pub fn seed_name(number: usize) -> String {
    format!("seed-{number}")
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
