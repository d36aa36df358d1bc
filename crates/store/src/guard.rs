//! Checks that only this node's user and root may write to the data directory, and that no link inside leads out of it.
//!
//! A container platform may give the group of a volume every right to all files in it, at each mount (Kubernetes'
//! `fsGroup`). The node takes these rights away again from its own files. A file that all users may write to is refused.

use std::fs::{self, Metadata, OpenOptions, Permissions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use qres_files::private::NO_LINK;

use super::reserve::RESERVE_FILE;
use super::{GuardError, StoreError};

/// The write bits of the group and of all other users.
const OTHERS_WRITE: u32 = 0o022;
/// The write bit of all other users.
const ALL_WRITE: u32 = 0o002;
/// The bits that let the group and all other users reach the files inside a directory.
const OTHERS_ENTER: u32 = 0o011;
const ROOT: u32 = 0;

/// The files that a node keeps in its data directory. Every other file there is made under a name that was free.
const FILES: [&str; 7] = [
    "lock",
    "format",
    "boot",
    "records.redb",
    "identity.key",
    "routing.hints",
    RESERVE_FILE,
];

/// What to do about a group that may write to a file of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// Its right is taken away.
    Mend,
    /// Nothing is changed, only read.
    Look,
}

/// Refuses a data directory that others may write to ([`GuardError`]). The directory may itself be a link: the operator
/// named it. Returns true if its group could write to it.
pub(super) fn root(path: &Path, group: Group) -> Result<bool, StoreError> {
    let metadata = fs::metadata(path).map_err(|error| StoreError::from_io(path, error))?;
    Ok(private(path, &metadata, "700", group)?)
}

/// Refuses links inside the data directory, and files and directories there that others may write to. The result stays
/// valid: no other user can write there. Returns the paths that their group could write to.
pub(super) fn inside(root: &Path, directories: &[&str], group: Group) -> Result<Vec<PathBuf>, StoreError> {
    let around = fs::metadata(root).map_err(|error| StoreError::from_io(root, error))?;
    // Where no other user can enter the directory, a file's own mode does not matter: older versions left the mode of
    // hints to the umask.
    let open = around.permissions().mode() & OTHERS_ENTER != 0;
    let mut mended = vec![];
    for name in FILES {
        let path = root.join(name);
        if let Some(metadata) = look(&path)? {
            if !metadata.is_file() {
                return Err(of_another_kind(path, &metadata, "regular file").into());
            }
            if open && private(&path, &metadata, "600", group)? {
                mended.push(path);
            }
        }
    }
    let mut left: Vec<PathBuf> = directories.iter().map(|name| root.join(name)).collect();
    while let Some(path) = left.pop() {
        let Some(metadata) = look(&path)? else { continue };
        if !metadata.is_dir() {
            return Err(of_another_kind(path, &metadata, "directory").into());
        }
        if private(&path, &metadata, "700", group)? {
            mended.push(path.clone());
        }
        let fail = |error| StoreError::from_io(&path, error);
        for entry in fs::read_dir(&path).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let kind = entry.file_type().map_err(fail)?;
            if kind.is_symlink() {
                return Err(GuardError::Link { path: entry.path() }.into());
            }
            if kind.is_dir() {
                left.push(entry.path());
            }
        }
    }
    Ok(mended)
}

/// Logs one line for all paths whose group could write to them.
pub(super) fn warn(mended: &[PathBuf]) {
    let Some(first) = mended.first() else { return };
    tracing::warn!(
        path = %first.display(),
        more = mended.len() - 1,
        "the group could write to it, which this node has ended (a volume with fsGroup sets such modes)"
    );
}

/// Returns the metadata of the path itself (a link is not followed); `None` when it is not there.
fn look(path: &Path) -> Result<Option<Metadata>, StoreError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::from_io(path, error)),
    }
}

fn of_another_kind(path: PathBuf, metadata: &Metadata, wanted: &'static str) -> GuardError {
    if metadata.is_symlink() {
        return GuardError::Link { path };
    }
    GuardError::Kind { path, wanted }
}

/// Refuses a file or directory that others may write to. If it is this node's own and only its group may write to it,
/// does with the group's right what `group` says, and returns `true`.
fn private(path: &Path, metadata: &Metadata, wanted: &'static str, group: Group) -> Result<bool, GuardError> {
    let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner != user && owner != ROOT {
        return Err(GuardError::Owner {
            path: path.to_owned(),
            owner,
            user,
        });
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & OTHERS_WRITE == 0 {
        return Ok(false);
    }
    let end = || group == Group::Look || take_from_group(path, mode).is_ok();
    if mode & ALL_WRITE == 0 && owner == user && end() {
        return Ok(true);
    }
    Err(GuardError::Mode {
        path: path.to_owned(),
        mode,
        wanted,
    })
}

fn take_from_group(path: &Path, mode: u32) -> std::io::Result<()> {
    let file = OpenOptions::new().read(true).custom_flags(NO_LINK).open(path)?;
    file.set_permissions(Permissions::from_mode(mode & !OTHERS_WRITE))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{chown, symlink};

    use super::super::{Store, StoreOptions};
    use super::*;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn refused(root: &Path) -> GuardError {
        match Store::open(root, StoreOptions::default()).err() {
            Some(StoreError::Guard(refused)) => refused,
            other => panic!("refused by the guard, not {other:?}"),
        }
    }

    /// Makes a data directory that was used once.
    fn used() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("data");
        let store = Store::open(&root, StoreOptions::default()).unwrap();
        store.blobs_of(super::super::Owner::Node).put(b"abc", true).unwrap();
        (dir, root)
    }

    #[test]
    fn what_others_may_write_to_is_refused_with_its_mode() {
        let (_dir, root) = used();
        let prefix = fs::read_dir(root.join("blobs"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let places = [
            // The operator may want that others can read it.
            (root.clone(), 0o755, "700"),
            (root.join("tmp"), 0o700, "700"),
            (prefix, 0o700, "700"),
            (root.join("records.redb"), 0o600, "600"),
            (root.join("format"), 0o600, "600"),
        ];
        for (place, private, wanted) in places {
            for others in [0o002, 0o022] {
                chmod(&place, private | others);
                let refused = refused(&root);
                let text = refused.to_string();
                assert!(
                    matches!(&refused, GuardError::Mode { path, .. } if *path == place),
                    "{text}"
                );
                let expected = [format!("mode {:04o}", private | others), format!("chmod {wanted} ")];
                assert!(expected.iter().all(|part| text.contains(part)), "{text}");
            }
            chmod(&place, private);
            Store::open(&root, StoreOptions::default()).unwrap();
        }
        chmod(&root, 0o700);
        chmod(&root.join("format"), 0o666);
        Store::open(&root, StoreOptions::default()).unwrap();
    }

    #[test]
    fn what_the_group_may_write_to_is_mended_where_it_is_the_node_s_own() {
        let (_dir, root) = used();
        chmod(&root, 0o2771);
        let places = [
            root.clone(),
            root.join("tmp"),
            root.join("blobs"),
            root.join("records.redb"),
        ];
        for place in &places[1..] {
            chmod(place, 0o660 | if place.is_dir() { 0o2110 } else { 0 });
        }
        Store::open(&root, StoreOptions::default()).unwrap();
        for place in &places {
            let mode = fs::metadata(place).unwrap().permissions().mode();
            assert_eq!(mode & 0o022, 0, "{}: {mode:o}", place.display());
        }
        if !rustix::process::geteuid().is_root() {
            return;
        }
        // Directories of other users, and of root, are not the node's to change.
        chmod(&root, 0o775);
        chown(&root, Some(12_345), None).unwrap();
        assert!(matches!(refused(&root), GuardError::Owner { .. }));
    }

    #[test]
    fn nothing_is_made_in_a_directory_that_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        chmod(dir.path(), 0o777);
        refused(dir.path());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        if !rustix::process::geteuid().is_root() {
            // Only root can give a directory to another user.
            return;
        }
        let (_dir, root) = used();
        chmod(&root, 0o755);
        for place in [root.clone(), root.join("blobs"), root.join("lock")] {
            chown(&place, Some(12_345), None).unwrap();
            let refused = refused(&root);
            let text = refused.to_string();
            assert!(
                matches!(&refused, GuardError::Owner { path, owner: 12_345, user: 0 } if *path == place),
                "{text}"
            );
            assert!(text.contains("chown"), "{text}");
            chown(&place, Some(0), None).unwrap();
        }
    }

    #[test]
    fn a_link_inside_is_refused_and_what_it_names_is_left_alone() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("precious"), "precious").unwrap();
        for name in ["tmp", "blobs", "uploads", "partial", "blobs/ab", "uploads/x", "tmp/0"] {
            let (_dir, root) = used();
            let place = root.join(name);
            let _ = fs::remove_dir_all(&place);
            symlink(outside.path(), &place).unwrap();
            assert!(matches!(refused(&root), GuardError::Link { path } if path == place));
        }
        for name in FILES {
            let (_dir, root) = used();
            let place = root.join(name);
            let _ = fs::remove_file(&place);
            symlink(outside.path().join("precious"), &place).unwrap();
            assert!(
                matches!(refused(&root), GuardError::Link { path } if path == place),
                "{name}"
            );
        }
        let kept = fs::read_dir(outside.path()).unwrap().count();
        assert_eq!(
            (
                kept,
                fs::read_to_string(outside.path().join("precious")).unwrap().as_str()
            ),
            (1, "precious")
        );
    }

    #[test]
    fn a_data_directory_may_itself_be_a_link() {
        let (dir, root) = used();
        let link = dir.path().join("link");
        symlink(&root, &link).unwrap();
        Store::open(&link, StoreOptions::default()).unwrap();
    }

    #[test]
    fn a_file_where_a_directory_should_be_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(refused(file.path()), GuardError::Kind { path, wanted: "directory" } if path == file.path()));
        let (_dir, root) = used();
        fs::remove_dir(root.join("tmp")).unwrap();
        fs::write(root.join("tmp"), "").unwrap();
        assert!(matches!(refused(&root), GuardError::Kind { path, wanted: "directory" } if path == root.join("tmp")));
        fs::remove_file(root.join("tmp")).unwrap();
        fs::remove_file(root.join("boot")).unwrap();
        fs::create_dir(root.join("boot")).unwrap();
        assert!(matches!(refused(&root), GuardError::Kind { path, .. } if path == root.join("boot")));
    }
}
