//! Every target on every file of its corpus, and on what once broke it: what CI runs instead of the fuzzer.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use qres_fuzz::{Fixture, TARGETS, Target, seed_name};

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return vec![];
    };
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

fn names(folder: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let name = |path: PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
    files(&folder).into_iter().map(name).collect()
}

// One test and no more: memory is counted for the whole process.
#[test]
fn every_promise_holds_on_every_file_and_every_target_accepts_its_seeds() {
    let known: BTreeSet<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(
        names("corpus"),
        known,
        "a corpus each: `cargo run -p qres-fuzz -- seed` writes the seeds"
    );
    assert!(names("crashes").is_subset(&known));
    let fixture = Fixture::new();
    for target in TARGETS {
        replay(target, &fixture);
    }
}

fn replay(target: &Target, fixture: &Fixture) {
    let seeds = target.seeds(fixture);
    assert!(!seeds.is_empty(), "{} has no seeds", target.name);
    for (number, seed) in seeds.iter().enumerate() {
        let path = target.corpus().join(seed_name(number));
        let kept = std::fs::read(&path).unwrap_or_default();
        assert!(kept == *seed, "{} is not what `qres-fuzz seed` writes", path.display());
        assert!(target.run(fixture, seed), "{} refuses {}", target.name, path.display());
    }
    for path in files(&target.corpus()).into_iter().chain(files(&target.crashes())) {
        let data = std::fs::read(&path).expect("a file");
        // Shown when a promise is broken.
        eprintln!("{}", path.display());
        target.run(fixture, &data);
    }
}
