//! Small files that only this user reads, and that are replaced as a whole: after a crash, or on a full disk, there is
//! the old file or the new one, and never a part.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// Mode of a private file: read and write for the owner alone.
pub const MODE: u32 = 0o600;
/// Flag for opening a file: a link in the last place of a path is an error.
pub const NO_LINK: i32 = OFlags::NOFOLLOW.bits().cast_signed();

/// Replaces a file: writes the new content to [`aside`], flushes it, renames it over the file, and flushes the directory.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = aside(path);
    // Removes the file that an earlier try left behind. It is made anew, so that no other process has it open and no
    // other name links to it.
    remove(&aside)?;
    let written = write_new(&aside, bytes).and_then(|()| fs::rename(&aside, path));
    if let Err(error) = written {
        // A full disk needs the room. If the file stays, the next try removes it.
        let _ = remove(&aside);
        return Err(error);
    }
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// Replaces the file that a path leads to, links followed, as [`replace`] does, and keeps its owner, group and mode: another
/// user may be its reader. A file that is not there yet is made private.
pub fn replace_alike(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = match path.canonicalize() {
        Err(error) if error.kind() == ErrorKind::NotFound => return replace(path, bytes),
        found => found?,
    };
    let before = fs::metadata(&path)?;
    let aside = aside(&path);
    remove(&aside)?;
    let alike = || {
        write_new(&aside, bytes)?;
        std::os::unix::fs::chown(&aside, Some(before.uid()), Some(before.gid()))?;
        fs::set_permissions(&aside, before.permissions())?;
        fs::rename(&aside, &path)
    };
    if let Err(error) = alike() {
        let _ = remove(&aside);
        return Err(error);
    }
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// Reads the whole file; a file of more than `bytes_max` bytes, or a link, is an error.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(NO_LINK).open(path)?;
    let mut bytes = vec![];
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// Sets the mode of a file to [`MODE`], so that only its owner can read it.
pub fn make_private(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().read(true).custom_flags(NO_LINK).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(MODE))
}

/// Returns the path at which [`replace`] writes the next content of a file: its path with `.new` after it.
pub fn aside(path: &Path) -> PathBuf {
    let mut aside = path.to_owned();
    aside.as_mut_os_string().push(".new");
    aside
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .custom_flags(NO_LINK)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_stays_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        replace(&path, b"first, and longer").unwrap();
        // A file that a crash left behind, and that others could read.
        fs::write(aside(&path), "torn").unwrap();
        fs::set_permissions(aside(&path), fs::Permissions::from_mode(0o666)).unwrap();
        replace(&path, b"second").unwrap();
        assert_eq!(read(&path, 6).unwrap(), b"second");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(read(&path, 5).unwrap_err().to_string().contains("5 bytes"));
    }

    #[test]
    fn a_file_that_others_read_stays_theirs_behind_its_link() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("file"), dir.path().join("link"));
        replace_alike(&path, b"new").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, MODE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&path, &link).unwrap();
        replace_alike(&link, b"newer").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert_eq!(fs::read(&path).unwrap(), b"newer");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn what_cannot_be_written_leaves_the_old_file_and_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        // A directory that is not empty cannot be renamed over: the last step fails.
        let path = dir.path().join("file");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "").unwrap();
        replace(&path, b"new").unwrap_err();
        assert!(path.join("inside").exists() && !aside(&path).exists());
    }

    #[test]
    fn nothing_is_written_or_read_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (path, precious) = (dir.path().join("file"), dir.path().join("precious"));
        fs::write(&precious, "precious").unwrap();
        symlink(&precious, &path).unwrap();
        assert!(read(&path, 100).is_err());
        // A hard link beside the file, at the path where an older version of the node would have written.
        fs::hard_link(&precious, aside(&path)).unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
        assert_eq!(read(&path, 100).unwrap(), b"new");
    }
}
