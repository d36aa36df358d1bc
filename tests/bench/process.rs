//! A process's memory, as the kernel counts it.

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
