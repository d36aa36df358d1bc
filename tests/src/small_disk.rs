//! A disk that a test can fill: a tmpfs in a mount namespace of its own, for which Linux asks no privileges.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::Options;

/// Size of a block, in bytes: the least that a file system gives to a file.
const BLOCK_BYTES: usize = 4096;

/// A small disk of its own. It exists until this value is dropped.
pub struct SmallDisk {
    holder: Child,
    dir: TempDir,
}

impl SmallDisk {
    /// Mounts a disk of `mib` MiB.
    ///
    /// # Panics
    /// Panics if unprivileged namespaces are switched off: use `sysctl kernel.unprivileged_userns_clone=1`, or run as root.
    pub fn new(mib: u32) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mount = r#"mount -t tmpfs -o "size=$1m,mode=0700" tmpfs "$0" && echo mounted && exec sleep infinity"#;
        let mut holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", mount])
            .arg(dir.path())
            .arg(mib.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare (util-linux) is there");
        let mut said = String::new();
        let stdout = holder.stdout.take().expect("stdout is piped");
        let _ = BufReader::new(stdout).read_line(&mut said);
        assert_eq!(said.trim(), "mounted", "a test disk needs user and mount namespaces");
        Self { holder, dir }
    }

    /// Returns the [`Options`] of a daemon that has its data directory on this disk.
    pub fn options(&self) -> Options {
        let mut wrapper = ["nsenter", "--preserve-credentials", "--user", "--mount", "--target"]
            .map(str::to_owned)
            .to_vec();
        wrapper.push(self.holder.id().to_string());
        Options {
            wrapper,
            data_dir: Some(self.dir.path().join("data")),
            ..Options::default()
        }
    }

    /// Path of the disk, as this process sees it.
    pub fn path(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.dir.path().strip_prefix("/").expect("an absolute path"))
    }

    /// Fills the disk; only `left` blocks of 4,096 bytes stay free.
    pub fn fill(&self, left: usize) {
        let path = self.path().join("fill");
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .expect("a file on the disk");
        let mut blocks = file.metadata().expect("its length").len() / BLOCK_BYTES as u64;
        loop {
            match file.write(&[1; BLOCK_BYTES]) {
                Ok(BLOCK_BYTES) => blocks += 1,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("{error}"),
            }
        }
        let kept = blocks.saturating_sub(left as u64) * BLOCK_BYTES as u64;
        file.set_len(kept).expect("it can be shorter");
    }

    /// Frees the space that [`SmallDisk::fill`] took.
    pub fn empty(&self) {
        fs::remove_file(self.path().join("fill")).expect("the disk was filled");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The namespace, and with it the disk, ends with its last process.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
