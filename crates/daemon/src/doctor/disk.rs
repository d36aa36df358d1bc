//! The disk: how much room there is, and how long a flush takes.

use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use qres_node::clock;
use qres_node::finding::Finding;
use qres_node::store::{DiskUse, ROOM_BYTES_MIN, free_bytes};

use super::blocking::blocking;

const SPACE: &str = "disk-space";
const SPEED: &str = "disk-speed";

/// Free bytes below which an operator is warned: a model of 250 million weights in f32 is as long.
const FREE_LOW: u64 = 1 << 30;
/// Part of the quota from which on an operator is warned.
const QUOTA_HIGH: f64 = 0.9;

/// Bytes and number of the writes that are measured. A transaction of the store writes some pages of 4 KiB.
const WRITE_BYTES: usize = 4096;
const WRITES: usize = 7;
/// A node flushes once for each group of submissions and for each step of a round. Above this time an upload of small weights is
/// slower than a network: disks take 0.1 to 10 ms.
const SLOW: Duration = Duration::from_millis(50);
/// From this time on each round takes seconds longer, on a fast network too.
const STUCK: Duration = Duration::from_secs(1);
/// Most time for the measurement.
const MEASURE_MAX: Duration = Duration::from_secs(10);

/// Judges the room on the disk of the data directory, or of the place where it would be made.
pub fn space_before_start(data_dir: &Path) -> Finding {
    space(None, existing(data_dir).and_then(|directory| free_bytes(&directory)))
}

/// Judges the room on the disk: what a running node takes of it, and the free bytes.
pub fn space(used: Option<DiskUse>, free: Option<u64>) -> Finding {
    let remedy = "make room on the disk of --data-dir, or keep it on a larger one; `qres model leave MODEL` frees a model's room";
    let free_text = free.map_or("the system does not say how much is free".to_owned(), |free| {
        format!("{} are free", bytes(free))
    });
    if free.is_some_and(|free| free < ROOM_BYTES_MIN) {
        let text = format!(
            "{free_text} on the disk, {} are needed to take in weights",
            bytes(ROOM_BYTES_MIN)
        );
        return Finding::failed(SPACE, text, remedy);
    }
    if let Some(used) = used
        && let Some(limit) = used.limit
    {
        let taken = used.held.saturating_add(used.pending);
        let text = format!(
            "weights take {} of {} (blob_bytes_max); {free_text}",
            bytes(taken),
            bytes(limit)
        );
        if taken >= limit {
            return Finding::failed(SPACE, text, format!("{remedy}; or raise --blob-bytes-max"));
        }
        #[allow(clippy::cast_precision_loss)] // a part, for people
        if taken as f64 >= limit as f64 * QUOTA_HIGH {
            return Finding::warning(SPACE, text, format!("{remedy}; or raise --blob-bytes-max"));
        }
    }
    match free {
        Some(free) if free < FREE_LOW => Finding::warning(SPACE, free_text, remedy),
        Some(_) => Finding::ok(SPACE, free_text),
        None => Finding::skipped(SPACE, free_text, ""),
    }
}

/// Measures the time of a flush in the data directory, or at the place where it would be made.
pub async fn speed(data_dir: &Path) -> Finding {
    let Some(directory) = existing(data_dir) else {
        return Finding::skipped(SPEED, "the data directory and those above it are not there", "");
    };
    let measured = {
        let directory = directory.clone();
        // A file system that hangs keeps this thread, and nothing else.
        tokio::time::timeout(MEASURE_MAX, blocking(move || measure(&directory))).await
    };
    match measured {
        Ok(Ok(median)) => judge(&directory, median),
        Ok(Err(error)) => Finding::failed(
            SPEED,
            format!("no file can be written in {}: {error}", directory.display()),
            "see the findings of data-dir and disk-space",
        ),
        Err(_) => Finding::failed(
            SPEED,
            format!(
                "{WRITES} small flushes in {} did not end within {} s",
                directory.display(),
                MEASURE_MAX.as_secs()
            ),
            "check the disk (`dmesg`), or the server of a network file system",
        ),
    }
}

fn judge(directory: &Path, median: Duration) -> Finding {
    let text = format!(
        "a flush of 4 KiB in {} takes {:.1} ms",
        directory.display(),
        median.as_secs_f64() * 1000.0
    );
    let remedy = "keep --data-dir on a local SSD; network file systems and busy disks make each round wait";
    if median >= STUCK {
        return Finding::failed(SPEED, text, remedy);
    }
    if median >= SLOW {
        return Finding::warning(SPEED, text, remedy);
    }
    Finding::ok(SPEED, text)
}

/// Writes and flushes a file several times; returns the median of the times. The file has no name where the system can do without
/// one, and is removed in any case.
fn measure(directory: &Path) -> io::Result<Duration> {
    let mut file = tempfile::tempfile_in(directory)?;
    let mut times = [Duration::ZERO; WRITES];
    for time in &mut times {
        let start = clock::now();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&[0x5a; WRITE_BYTES])?;
        file.sync_all()?;
        *time = clock::now() - start;
    }
    times.sort_unstable();
    Ok(times[WRITES / 2])
}

/// Returns the directory, or the nearest one above it that is there.
pub fn existing(directory: &Path) -> Option<PathBuf> {
    directory.ancestors().find(|path| path.is_dir()).map(Path::to_owned)
}

/// Formats a number of bytes for people.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    #[allow(clippy::cast_precision_loss)] // one decimal, for people
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use qres_node::finding::Verdict;

    use super::*;

    #[test]
    fn the_limits_hold_at_their_edges() {
        let at = |ms| judge(Path::new("/d"), Duration::from_millis(ms)).verdict;
        assert_eq!(
            [49, 50, 999, 1000].map(at),
            [Verdict::Ok, Verdict::Warning, Verdict::Warning, Verdict::Failed]
        );
        let free = |free| space(None, Some(free)).verdict;
        assert_eq!(free(ROOM_BYTES_MIN - 1), Verdict::Failed);
        assert_eq!(free(ROOM_BYTES_MIN), Verdict::Warning);
        assert_eq!(free(FREE_LOW), Verdict::Ok);
        assert_eq!(space(None, None).verdict, Verdict::Skipped);
        let quota = |held, limit| {
            let used = DiskUse {
                held,
                pending: 100,
                limit,
                ..DiskUse::default()
            };
            space(Some(used), Some(FREE_LOW)).verdict
        };
        assert_eq!(quota(799, Some(1000)), Verdict::Ok);
        assert_eq!(quota(800, Some(1000)), Verdict::Warning);
        assert_eq!(quota(900, Some(1000)), Verdict::Failed);
        assert_eq!(quota(900, None), Verdict::Ok);
        assert_eq!([bytes(1023), bytes(1 << 30)], ["1023 B", "1.0 GiB"]);
    }

    #[tokio::test]
    async fn a_flush_is_measured_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let finding = speed(&dir.path().join("not/yet")).await;
        assert!(finding.text.contains(" ms"), "{finding:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
