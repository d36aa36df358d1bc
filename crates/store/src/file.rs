//! File operations of the store: private files, durable renames, durable directories.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use qres_files::private::{self, MODE as PRIVATE, NO_LINK};

use super::{GuardError, StoreError};

/// Mode of directories: all rights for the owner alone.
const PRIVATE_DIRECTORY: u32 = 0o700;

/// Makes a directory and its missing parents. Returns `true` when the directory was not there. Fails with
/// [`GuardError::Kind`] when the path is no directory.
pub(super) fn make_dir(path: &Path) -> Result<bool, StoreError> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Ok(false),
        Ok(_) => {
            return Err(GuardError::Kind {
                path: path.to_owned(),
                wanted: "directory",
            }
            .into());
        }
        Err(_) => {}
    }
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_DIRECTORY)
        .create(path)
        .map_err(|error| StoreError::from_io(path, error))?;
    Ok(true)
}

/// Makes the directory in which a file will be.
pub(super) fn make_dir_of(path: &Path) -> Result<(), StoreError> {
    path.parent()
        .map_or(Ok(()), |directory| make_dir(directory).map(|_| ()))
}

/// Opens a file for reading and writing, and makes it when it is not there; its content stays. A link is an error
/// ([`GuardError::Link`]).
pub(super) fn open_or_make(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PRIVATE)
        .custom_flags(NO_LINK)
        .open(path)
        .map_err(|error| StoreError::from_io(path, error))
}

/// Makes a file; it is an error when the path exists already.
pub(super) fn make(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(PRIVATE)
        .open(path)
        .map_err(|error| StoreError::from_io(path, error))
}

/// Replaces a file as a whole: after a crash it is the old one or the new one.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    private::replace(path, bytes).map_err(|error| StoreError::from_io(path, error))
}

/// Makes the disk begin to write these bytes, so that a later fsync finds little left; does not wait. This is a hint: the
/// fsync reports any error (a `sync_data` from another thread would take the error away from it). Linux only.
pub(super) fn start_writeback(file: &File, offset: u64, length: u64) {
    #[cfg(target_os = "linux")]
    if let (Ok(offset), Ok(length)) = (offset.try_into(), length.try_into()) {
        use std::os::fd::AsRawFd;
        #[allow(unsafe_code, reason = "neither std nor rustix wraps sync_file_range")]
        // SAFETY: integers by value, and a descriptor that is open as long as `file` is borrowed.
        unsafe {
            libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, offset, length);
}

/// Makes renames and new names in a directory durable.
pub(super) fn sync_dir(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| StoreError::from_io(path, error))
}

/// Makes renames and new names durable in the directory that a file is in.
pub(super) fn sync_dir_of(path: &Path) -> Result<(), StoreError> {
    path.parent().map_or(Ok(()), sync_dir)
}

/// Removes a file; returns `false` when it is not there.
pub(super) fn remove(path: &Path) -> Result<bool, StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::from_io(path, error)),
    }
}

/// Returns a file's length in bytes; `None` when the path is not there or is no regular file (a link, for example).
pub(super) fn len(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path)
        .ok()
        .filter(fs::Metadata::is_file)
        .map(|m| m.len())
}

/// Lists the names of the directories in a directory, in any order. Leaves names out that are not valid Unicode.
pub(super) fn directories(path: &Path) -> Result<Vec<String>, StoreError> {
    let fail = |error| StoreError::from_io(path, error);
    let mut out = Vec::new();
    for entry in fs::read_dir(path).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        if let (true, Ok(name)) = (
            entry.file_type().map_err(fail)?.is_dir(),
            entry.file_name().into_string(),
        ) {
            out.push(name);
        }
    }
    Ok(out)
}

/// Lists the files of a directory with their metadata, in any order. Leaves out entries that are no files, and names that
/// are not valid Unicode.
pub(super) fn files(path: &Path) -> Result<Vec<(String, fs::Metadata)>, StoreError> {
    let fail = |error| StoreError::from_io(path, error);
    let mut out = Vec::new();
    for entry in fs::read_dir(path).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        // A file may be removed during the listing: then it is left out.
        let Ok(metadata) = entry.metadata() else { continue };
        if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
            out.push((name, metadata));
        }
    }
    Ok(out)
}

/// Returns true if the file was last written `idle` or longer ago. A time in the future (the clock was set back) does not
/// count as idle.
pub(super) fn is_idle(metadata: &fs::Metadata, idle: Duration) -> bool {
    metadata
        .modified()
        .ok()
        .and_then(|at| at.elapsed().ok())
        .is_some_and(|age| age >= idle)
}
