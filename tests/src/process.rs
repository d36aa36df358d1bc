//! Memory and processor time of a process, as the kernel counts them.

use std::time::Duration;

fn status_mib(pid: u32, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib: f64 = line
        .and_then(|l| l.split_whitespace().nth(1))
        .and_then(|n| n.parse().ok())
        .unwrap_or(f64::NAN);
    kib / 1024.0
}

/// Resident memory of a process now, in MiB; NaN if the kernel does not show it.
pub fn resident_mib(pid: u32) -> f64 {
    status_mib(pid, "VmRSS")
}

/// Peak of the resident memory since [`reset_peak`], in MiB; NaN if the kernel does not show it.
pub fn peak_mib(pid: u32) -> f64 {
    status_mib(pid, "VmHWM")
}

/// Resets the peak that [`peak_mib`] returns (`man 5 proc`: 5 written to `clear_refs`).
pub fn reset_peak(pid: u32) {
    // If this test has no right to reset it, the peak covers the whole life of the process: larger, never smaller.
    let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

/// Processor time that a process has used so far, in its own code and in the kernel (`man 5 proc`: fields 14 and 15 of `stat`,
/// in hundredths of a second on every Linux that Rust runs on).
pub fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is the name of the program in parentheses. The name may hold any character, so the search is from the end.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(10 * ticks)
}
