//! The resources that a daemon holds at some round.

use std::path::Path;

use qres_tests::{Daemon, process, scrape};

/// Relative growth that is tolerated: one round more or less may be in the middle of its work.
const NOISE: f64 = 0.03;
/// Further growth that is tolerated for counts, beyond [`NOISE`], because counts are small numbers.
const NOISE_COUNT: f64 = 12.0;
/// Most files of a node: 15 rounds of the weights and of four updates are 75, and up to 156 were seen between two runs of the
/// garbage collector, with the files that are kept to be written over.
const FILES_MAX: f64 = 200.0;

/// The resources that one [`Daemon`] holds at one round.
pub struct Reading {
    round: u64,
    /// Resident memory, in MiB.
    resident: f64,
    records: f64,
    descriptors: f64,
    tasks: f64,
    files: f64,
    /// Size of `records.redb` on the disk, in MiB.
    store: f64,
}

impl Reading {
    /// Takes a reading of this [`Daemon`] now; `round` is the round of its head.
    pub fn of(daemon: &Daemon, round: u64) -> Self {
        let page = scrape::scrape(daemon.metrics.as_deref().expect("metrics are served"));
        let gauge = |name: &str| {
            let mut lines = page.lines().filter(|line| line.starts_with(name));
            let value = lines.next().and_then(|line| line.rsplit(' ').next());
            value
                .and_then(|value| value.parse().ok())
                .unwrap_or_else(|| panic!("{name} is on the page"))
        };
        let store = std::fs::metadata(daemon.data_dir().join("records.redb")).expect("the records are there");
        Self {
            round,
            resident: process::resident_mib(daemon.pid()),
            records: gauge("qres_model_records{"),
            descriptors: gauge("qres_open_descriptors "),
            tasks: gauge("qres_tasks "),
            files: count_files(&daemon.data_dir()) as f64,
            store: store.len() as f64 / 1048576.0,
        }
    }
}

fn count_files(dir: &Path) -> usize {
    // A folder that is removed during the reading counts as empty.
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => count_files(&entry.path()),
            _ => 1,
        })
        .sum()
}

/// Prints the readings of one node as a table, one line for each [`Reading`].
pub fn print(node: usize, readings: &[Reading]) {
    println!("\nnode {node}\n  round  resident MiB  records  descriptors  tasks  files  store MiB");
    for at in readings {
        println!(
            "{:>7} {:>13.1} {:>8} {:>12} {:>6} {:>6} {:>10.2}",
            at.round, at.resident, at.records, at.descriptors, at.tasks, at.files, at.store
        );
    }
}

/// Selects one figure of a [`Reading`].
type Figure = fn(&Reading) -> f64;

fn median(readings: &[Reading], of: Figure) -> f64 {
    let mut all: Vec<_> = readings.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Returns the lowest value of a figure. Files and tasks come in waves (90 to 156 files between two runs of the garbage
/// collector), and a reading may hit a wave anywhere. Resources that are never freed raise the lowest value, too.
fn least(readings: &[Reading], of: Figure) -> f64 {
    readings.iter().map(of).fold(f64::INFINITY, f64::min)
}

/// Panics if the second half of the readings holds more than the first half. Memory is checked in a `whole` run only, because a
/// short run says nothing about memory.
pub fn check(readings: &[Reading], whole: bool) {
    let (first, second) = readings.split_at(readings.len() / 2);
    let counted: [(&str, Figure); 4] = [
        ("records", |r| r.records),
        ("descriptors", |r| r.descriptors),
        ("tasks", |r| r.tasks),
        ("files", |r| r.files),
    ];
    let most = readings.iter().map(|r| r.files).fold(0.0, f64::max);
    assert!(most <= FILES_MAX, "{most} files, at most {FILES_MAX}");
    // A wave of files is longer than half of a short run.
    let compared = if whole { &counted[..] } else { &counted[..3] };
    for (what, of) in compared {
        let (before, after) = (least(first, *of), least(second, *of));
        assert!(
            after <= before * (1.0 + NOISE) + NOISE_COUNT,
            "{what}: {before}, later {after}"
        );
    }
    let (before, after) = (median(first, |r| r.resident), median(second, |r| r.resident));
    assert!(
        !whole || after <= before * (1.0 + NOISE),
        "resident memory: {before:.1} MiB, later {after:.1} MiB"
    );
}
