//! The data directory and the node's key: whose they are, and who else may write to them.

use std::path::Path;

use qres_node::KEY_FILE;
use qres_node::finding::Finding;
use qres_node::identity::Identity;
use qres_node::store::{self, Examination};
use rustix::fs::{Access, access};

use super::disk::existing;
use crate::config::Config;

const DIRECTORY: &str = "data-dir";
const KEY: &str = "identity-key";

/// Judges the directory before a start. Returns true, too, if a node runs on it.
pub fn before_start(config: &Config) -> (Vec<Finding>, bool) {
    let directory = &config.data_dir;
    if !directory.exists() {
        return (vec![to_be_made(directory), key(config)], false);
    }
    let (finding, examination) = examine(directory);
    let in_use = examination.is_some_and(|found| found.in_use);
    let finding = match in_use {
        true => Finding::failed(
            DIRECTORY,
            format!("another qres-daemon runs on {}", directory.display()),
            "ask the running node with `qres doctor`; to start another one, give it its own --data-dir, --port and --grpc-addr",
        ),
        false => finding,
    };
    (vec![finding, key(config)], in_use)
}

/// Judges the directory of the node that runs in this process.
pub fn of_running(config: &Config) -> Vec<Finding> {
    vec![examine(&config.data_dir).0, key(config)]
}

fn examine(directory: &Path) -> (Finding, Option<Examination>) {
    let shown = directory.display();
    let found = match store::examine(directory) {
        Ok(found) => found,
        // The store's errors name the path and the remedy.
        Err(error) => {
            return (
                Finding::failed(
                    DIRECTORY,
                    error.to_string(),
                    "do as the text says, then start the node again",
                ),
                None,
            );
        }
    };
    let finding = if let Err(error) = access(directory, Access::WRITE_OK | Access::EXEC_OK) {
        Finding::failed(
            DIRECTORY,
            format!("this user may not write to {shown}: {error}"),
            "run the daemon as the user that owns the directory, or name another --data-dir",
        )
    } else if let Some(first) = found.group_writable.first() {
        Finding::warning(
            DIRECTORY,
            format!(
                "its group may write to {} ({} such paths); the node takes that right away when it starts",
                first.display(),
                found.group_writable.len()
            ),
            format!("chmod -R g-w {shown}"),
        )
    } else {
        Finding::ok(
            DIRECTORY,
            format!("{shown} belongs to the node, and nobody else may write to it"),
        )
    };
    (finding, Some(found))
}

/// Judges whether a directory that is not there can be made.
fn to_be_made(directory: &Path) -> Finding {
    let shown = directory.display();
    let remedy = "make the directory for the daemon's user (mode 0700), or name another --data-dir";
    let Some(above) = existing(directory) else {
        return Finding::failed(
            DIRECTORY,
            format!("{shown} cannot be made: no directory above it is there"),
            remedy,
        );
    };
    // A file in the way: the nearest directory is then not the one that the first missing directory would lie in.
    let in_the_way = directory.ancestors().find(|path| path.exists() && !path.is_dir());
    if let Some(path) = in_the_way {
        return Finding::failed(
            DIRECTORY,
            format!("{shown} cannot be made: {} is no directory", path.display()),
            remedy,
        );
    }
    match access(&above, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Finding::ok(
            DIRECTORY,
            format!("{shown} is not there yet: the daemon makes it at its first start"),
        ),
        Err(error) => Finding::failed(
            DIRECTORY,
            format!(
                "{shown} cannot be made: this user may not write to {}: {error}",
                above.display()
            ),
            remedy,
        ),
    }
}

fn key(config: &Config) -> Finding {
    let path = config.data_dir.join(KEY_FILE);
    match Identity::examine(&path) {
        Ok(None) => Finding::ok(
            KEY,
            "there is no key yet: the daemon makes it, or copies identity_file, at its first start",
        ),
        Ok(Some(mode)) if mode & 0o077 != 0 => Finding::warning(
            KEY,
            format!(
                "{} has mode {mode:04o}: others may read this node's key",
                path.display()
            ),
            format!("chmod 600 {}", path.display()),
        ),
        Ok(Some(mode)) => Finding::ok(KEY, format!("{} has mode {mode:04o}", path.display())),
        Err(error) => Finding::failed(KEY, error.to_string(), "do as the text says, then start the node again"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use qres_node::finding::Verdict;

    use super::*;
    use crate::config::test_config;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_directory_is_judged_as_a_start_would_and_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let config = test_config(&dir.path().join("a/data"));
        let verdicts = || {
            let (findings, in_use) = before_start(&config);
            assert!(!in_use);
            findings.into_iter().map(|finding| finding.verdict).collect::<Vec<_>>()
        };
        assert_eq!(verdicts(), [Verdict::Ok, Verdict::Ok], "nothing is there yet");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        fs::create_dir_all(&config.data_dir).unwrap();
        chmod(&config.data_dir, 0o700);
        let key = config.data_dir.join(KEY_FILE);
        fs::write(&key, [7; 32]).unwrap();
        chmod(&key, 0o600);
        assert_eq!(verdicts(), [Verdict::Ok, Verdict::Ok]);
        chmod(&key, 0o644);
        assert_eq!(verdicts(), [Verdict::Ok, Verdict::Warning]);
        chmod(&config.data_dir, 0o770);
        assert_eq!(verdicts()[0], Verdict::Warning);
        chmod(&config.data_dir, 0o777);
        let text = before_start(&config).0.remove(0).text;
        assert!(text.contains("mode 0777") && text.contains("chmod 700"), "{text}");
        fs::write(&key, "short").unwrap();
        assert_eq!(verdicts()[1], Verdict::Failed);
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let (findings, _) = before_start(&test_config(&dir.path().join("file/data")));
        assert_eq!(findings[0].verdict, Verdict::Failed);
        assert!(findings[0].text.contains("is no directory"), "{findings:?}");
    }
}
