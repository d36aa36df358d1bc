//! The data directory: its lock, its format, and the directories inside it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::guard::Group;
use super::reserve::Reserve;
use super::{StoreError, file, guard};

/// The format that this build writes. A change that an older build would misread adds 1.
pub(super) const FORMAT: u32 = 9;

/// The file that holds the format's number.
const FORMAT_FILE: &str = "format";

/// The directories below the data directory.
const DIRECTORIES: [&str; 4] = ["blobs", "tmp", "uploads", "partial"];

/// File in which Linux gives the id of this boot. Another id than at the last start means that files that were not
/// flushed may be lost.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The data directory of this node, locked until it is dropped.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
    rebooted: bool,
    reserve: Arc<Reserve>,
    _lock: File,
}

impl Directory {
    /// Opens the data directory, or makes it, and empties `tmp`. Refuses a directory that others may write to
    /// ([`StoreError::Guard`]), that is in use ([`StoreError::InUse`]), or of another format ([`StoreError::Newer`],
    /// [`StoreError::Older`]).
    pub(super) fn open(root: &Path) -> Result<Self, StoreError> {
        let made = file::make_dir(root)?;
        let mended = guard::root(root, Group::Mend)?;
        guard::warn(mended.then(|| root.to_owned()).as_slice());
        let lock = lock(root)?;
        guard::warn(&guard::inside(root, &DIRECTORIES, Group::Mend)?);
        if !has_format(root)? {
            file::replace(&root.join(FORMAT_FILE), format!("{FORMAT}\n").as_bytes())?;
        }
        for name in DIRECTORIES {
            file::make_dir(&root.join(name))?;
        }
        file::sync_dir(root)?;
        if made {
            file::sync_dir_of(root)?;
        }
        let tmp = root.join("tmp");
        for (name, _) in file::files(&tmp)? {
            file::remove(&tmp.join(name))?;
        }
        Ok(Self {
            // The reserve comes after `tmp` is empty: files there may have held the room.
            reserve: Arc::new(Reserve::open(root)),
            root: root.to_owned(),
            rebooted: boot_id().is_none_or(|now| fs::read_to_string(root.join("boot")).ok() != Some(now)),
            _lock: lock,
        })
    }

    /// Returns the reserve: room that is kept for a full disk.
    pub(super) fn reserve(&self) -> Arc<Reserve> {
        self.reserve.clone()
    }

    /// Returns the path of the data directory.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns true if the machine started anew since the last [`Directory::settle`]: then files that were never flushed
    /// may hold anything.
    pub(super) fn rebooted(&self) -> bool {
        self.rebooted
    }

    /// Remembers this boot: all files that were not flushed have been checked. On a full disk it is not remembered, and
    /// the next start checks the files again.
    pub(super) fn settle(&mut self) -> Result<(), StoreError> {
        if let (true, Some(id)) = (self.rebooted, boot_id()) {
            match file::replace(&self.root.join("boot"), id.as_bytes()) {
                Err(error @ StoreError::Full(_)) => {
                    tracing::warn!(%error, "the next start looks through all files again")
                }
                done => done?,
            }
        }
        self.rebooted = false;
        Ok(())
    }
}

/// Returns the id of this boot; `None` where the system has none: every start then counts as one after a reboot.
fn boot_id() -> Option<String> {
    fs::read_to_string(BOOT_ID).ok()
}

fn lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join("lock");
    let file = file::open_or_make(&path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(StoreError::InUse(root.to_owned())),
        Err(error) => Err(StoreError::from_io(&path, error.into())),
    }
}

/// What a look at a data directory shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Examination {
    /// True if a process holds the directory's lock: a node runs on it.
    pub in_use: bool,
    /// Paths that their group may write to. The next start takes that right away.
    pub group_writable: Vec<PathBuf>,
}

/// Looks at a data directory that is there, and changes nothing. Returns the error with which [`Store::open`](super::Store::open)
/// would refuse it, except for a directory in use.
pub fn examine(root: &Path) -> Result<Examination, StoreError> {
    let mut group_writable = vec![];
    if guard::root(root, Group::Look)? {
        group_writable.push(root.to_owned());
    }
    group_writable.extend(guard::inside(root, &DIRECTORIES, Group::Look)?);
    has_format(root)?;
    let in_use = match File::open(root.join("lock")) {
        Ok(file) => flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK),
        // No node has worked here yet, or its lock cannot be read: the guard has judged that.
        Err(_) => false,
    };
    Ok(Examination { in_use, group_writable })
}

/// Returns true if the directory has this build's format, false if it has none yet.
fn has_format(root: &Path) -> Result<bool, StoreError> {
    let path = root.join(FORMAT_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim_end().parse() {
            Ok(found) if found > FORMAT => Err(StoreError::Newer {
                path: root.to_owned(),
                found,
                known: FORMAT,
            }),
            Ok(FORMAT) => Ok(true),
            Ok(found) if found > 0 => Err(StoreError::Older {
                path: root.to_owned(),
                found,
                known: FORMAT,
            }),
            _ => Err(StoreError::Damaged(format!(
                "{} should hold a format version, it holds {:?}",
                path.display(),
                text.chars().take(40).collect::<String>()
            ))),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::from_io(&path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_look_changes_nothing_and_tells_what_a_start_would() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("data");
        assert!(examine(&root).is_err() && !root.exists());
        let open = Directory::open(&root).unwrap();
        assert!(examine(&root).unwrap().in_use);
        drop(open);
        assert_eq!(examine(&root).unwrap(), Examination::default());
        let chmod = |mode| fs::set_permissions(&root, fs::Permissions::from_mode(mode)).unwrap();
        chmod(0o770);
        assert_eq!(examine(&root).unwrap().group_writable, std::slice::from_ref(&root));
        assert_eq!(
            fs::metadata(&root).unwrap().permissions().mode() & 0o777,
            0o770,
            "a look changes nothing"
        );
        chmod(0o700);
        let blobs = root.join("blobs");
        fs::set_permissions(&blobs, fs::Permissions::from_mode(0o770)).unwrap();
        assert_eq!(examine(&root).unwrap().group_writable, std::slice::from_ref(&blobs));
        assert_eq!(fs::metadata(&blobs).unwrap().permissions().mode() & 0o777, 0o770);
        chmod(0o777);
        assert!(examine(&root).unwrap_err().to_string().contains("chmod 700"));
        chmod(0o700);
        fs::write(root.join("format"), "99\n").unwrap();
        assert!(matches!(examine(&root), Err(StoreError::Newer { found: 99, .. })));
    }

    #[test]
    fn a_directory_in_use_is_refused_and_free_again_after() {
        let dir = tempfile::tempdir().unwrap();
        let first = Directory::open(dir.path()).unwrap();
        let error = Directory::open(dir.path()).unwrap_err();
        assert!(
            matches!(&error, StoreError::InUse(path) if path == dir.path()),
            "{error}"
        );
        assert!(error.to_string().contains("--data-dir"), "{error}");
        drop(first);
        Directory::open(dir.path()).unwrap();
    }

    #[test]
    fn what_is_made_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a/b");
        Directory::open(&root).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&root), 0o700);
        assert_eq!(mode(&root.join("blobs")), 0o700);
        assert_eq!(mode(&root.join("format")), 0o600);
    }

    #[test]
    fn a_format_from_before_the_first_release_is_refused_with_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        drop(Directory::open(dir.path()).unwrap());
        fs::write(dir.path().join("format"), "1\n").unwrap();
        let error = Directory::open(dir.path()).unwrap_err();
        assert!(matches!(&error, StoreError::Older { found: 1, .. }), "{error}");
        assert!(error.to_string().contains("copy identity.key"), "{error}");
    }

    #[test]
    fn a_newer_format_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        drop(Directory::open(dir.path()).unwrap());
        assert_eq!(
            fs::read_to_string(dir.path().join("format")).unwrap(),
            format!("{FORMAT}\n")
        );
        fs::write(dir.path().join("format"), format!("{}\n", FORMAT + 1)).unwrap();
        let error = Directory::open(dir.path()).unwrap_err();
        assert!(
            matches!(error, StoreError::Newer { found, known: FORMAT, .. } if found == FORMAT + 1),
            "{error}"
        );
        assert_eq!(
            fs::read_to_string(dir.path().join("format")).unwrap(),
            format!("{}\n", FORMAT + 1)
        );
        for text in ["", "0", "x", "-1"] {
            fs::write(dir.path().join("format"), text).unwrap();
            let error = Directory::open(dir.path()).unwrap_err();
            assert!(matches!(error, StoreError::Damaged(_)), "{text:?}: {error}");
        }
    }

    #[test]
    fn torn_files_of_ours_do_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        drop(Directory::open(dir.path()).unwrap());
        fs::write(dir.path().join("format.new"), "to").unwrap();
        fs::write(dir.path().join("tmp/7"), "torn").unwrap();
        fs::remove_file(dir.path().join("format")).unwrap();
        Directory::open(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
        assert!(!dir.path().join("format.new").exists());
    }

    #[test]
    fn an_unwritable_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        // A file where a directory should be: no user can write below it, not even root.
        let root = dir.path().join("file/data");
        fs::write(dir.path().join("file"), "").unwrap();
        let error = Directory::open(&root).unwrap_err();
        assert!(
            matches!(&error, StoreError::Io { path, .. } if *path == root),
            "{error}"
        );
        if rustix::process::geteuid().is_root() {
            return;
        }
        let root = dir.path().join("closed");
        fs::create_dir(&root).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o500)).unwrap();
        let error = Directory::open(&root).unwrap_err();
        assert!(
            matches!(&error, StoreError::Io { path, .. } if path.starts_with(&root)),
            "{error}"
        );
    }

    #[test]
    fn a_reboot_is_noticed_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = Directory::open(dir.path()).unwrap();
        first.settle().unwrap();
        drop(first);
        if boot_id().is_some() {
            assert!(!Directory::open(dir.path()).unwrap().rebooted());
        }
        fs::write(dir.path().join("boot"), "another boot\n").unwrap();
        let mut second = Directory::open(dir.path()).unwrap();
        assert!(second.rebooted());
        second.settle().unwrap();
        assert!(!second.rebooted());
    }
}
