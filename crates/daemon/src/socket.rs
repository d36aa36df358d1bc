//! The Unix socket of gRPC: a file that only this user can open.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::fs::{Access, Mode, access};
use rustix::process::umask;
use tokio::net::UnixListener;

/// A socket that is listened on. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// The file's number, so that the file of a daemon that came later is left alone.
    inode: u64,
}

/// Listens on a new Unix socket with mode 0600. A socket that a dead process left is replaced; a file, a link, or the socket of
/// a living process is an error.
pub fn bind(path: &Path) -> anyhow::Result<(UnixListener, SocketFile)> {
    clear(path)?;
    // The mode is set by the mask, so that there is no moment at which others can connect. The daemon makes no other file at
    // this time, and one that it made would only be more private.
    let before = umask(Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    umask(before);
    let listener = bound.with_context(|| format!("gRPC cannot listen on the socket {}", path.display()))?;
    let inode = fs::symlink_metadata(path)?.ino();
    let path = path.to_owned();
    Ok((listener, SocketFile { path, inode }))
}

/// Looks at the place of a socket, and changes nothing. Returns a text that says why [`bind`] would succeed or fail.
pub fn examine(path: &Path) -> Result<String, String> {
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let above = path.parent().unwrap_or(Path::new("/"));
            match access(above, Access::WRITE_OK | Access::EXEC_OK) {
                Ok(()) => Ok(format!("free for gRPC: the socket {shown}")),
                Err(error) => Err(format!(
                    "the socket {shown} cannot be made in {}: {error}",
                    above.display()
                )),
            }
        }
        Err(error) => Err(format!("the socket {shown}: {error}")),
        Ok(found) if !found.file_type().is_socket() => Err(format!("{shown} is there and is no socket")),
        Ok(_) => match net::UnixStream::connect(path) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(format!(
                "the socket {shown} is that of a dead process: the daemon replaces it"
            )),
            Ok(_) => Err(format!("the socket {shown} belongs to a process that runs")),
            Err(error) => Err(format!("the socket {shown}: {error}")),
        },
    }
}

/// Removes the socket of a process that no longer runs.
fn clear(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found.with_context(|| format!("grpc_socket {shown}"))?,
    };
    if !metadata.file_type().is_socket() {
        bail!("grpc_socket {shown} is there and is no socket: name another path");
    }
    match net::UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).with_context(|| format!("grpc_socket {shown}: the old socket cannot be removed"))
        }
        Ok(_) => bail!("grpc_socket {shown} belongs to a process that runs: name another path"),
        Err(error) => Err(error).with_context(|| format!("grpc_socket {shown}")),
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode) {
            // The next start replaces a file that stays.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[tokio::test]
    async fn only_this_user_can_open_the_socket_and_it_goes_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("grpc.sock");
        let (listener, file) = bind(&path).unwrap();
        assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = bind(&path).unwrap_err().to_string();
        assert!(error.contains("process that runs"), "{error}");
        drop(file);
        assert!(!path.exists());
        drop(listener);
    }

    #[tokio::test]
    async fn the_socket_of_a_dead_process_is_replaced_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("grpc.sock");
        drop(net::UnixListener::bind(&path).unwrap());
        assert!(examine(&path).unwrap().contains("dead process"));
        let (_listener, first) = bind(&path).unwrap();
        assert!(examine(&path).unwrap_err().contains("process that runs"));
        // A later daemon has the path; the earlier one must leave its file alone.
        fs::remove_file(&path).unwrap();
        let (_other, _second) = bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
        let precious = dir.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        assert!(bind(&precious).is_err() && examine(&precious).is_err());
        assert!(examine(&dir.path().join("new")).is_ok() && examine(&dir.path().join("no/new")).is_err());
        let link = dir.path().join("link");
        symlink(&precious, &link).unwrap();
        assert!(bind(&link).is_err());
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    }
}
