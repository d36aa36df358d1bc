//! The allocator of the process: keeps the heaps of glibc's small, and takes the place of musl's, which is slow with threads.

/// The allocator of a static binary.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Number of heaps (arenas) that glibc's allocator may make.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS: i32 = 2;

/// Limits glibc's malloc to two arenas; does nothing with another C library. Must be called before the first thread starts.
///
/// By default malloc makes up to eight arenas a core, and each keeps its own freed chunks of a megabyte: with 10 million
/// parameters a round's peak was 120 MiB (3.1 × the model) instead of 60 MiB (1.6 ×), measured with `make bench` on two
/// cores; jemalloc came to 127 MiB, mimalloc to 105 MiB. The few large buffers of a transfer do not contend for an arena.
pub fn limit_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code, reason = "mallopt has no safe wrapper")]
    // SAFETY: mallopt takes two integers by value and touches only the allocator's own settings; no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
}
