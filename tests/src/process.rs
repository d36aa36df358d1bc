//! A process's memory and processor time, as the kernel counts them.

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

/// Resident now.
pub fn resident_mib(pid: u32) -> f64 {
    status_mib(pid, "VmRSS")
}

/// Resident at most since `reset_peak`.
pub fn peak_mib(pid: u32) -> f64 {
    status_mib(pid, "VmHWM")
}

/// Starts counting the peak anew (`man 5 proc`: 5 written to `clear_refs`).
pub fn reset_peak(pid: u32) {
    // Without the right to do it the peak is the process's whole life: larger, never smaller.
    let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

/// What it has spent on the processors so far, in its own code and in the kernel (`man 5 proc`: fields 14 and 15 of `stat`, in
/// hundredths of a second on every Linux that Rust runs on).
pub fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is the program's name in parentheses, which may hold anything.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(10 * ticks)
}
