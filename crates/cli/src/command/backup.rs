//! The commands `qres backup` and `qres restore`: a data directory as one file, and back. The node must not run.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use qres_files::private;
use serde_json::json;
use tar::{Archive, Builder, EntryType, Header};

use crate::failure::Failure;
use crate::output::Output;

/// What the node makes again by itself: the lock, the room for a full disk, files on their way, and the note of the machine's boot.
/// Without that note the next start checks every file.
const LEFT_OUT: [&str; 5] = ["lock", "reserve", "tmp", "partial", "boot"];
/// File with the node's key.
const IDENTITY: &str = "identity.key";
/// File by which a data directory is known.
const FORMAT: &str = "format";
/// Mode of the directories that are restored.
const DIRECTORY_MODE: u32 = 0o700;

/// Writes the data directory of a stopped node to one file.
#[derive(Debug, clap::Args)]
pub struct Backup {
    /// The node's data directory
    #[arg(long, value_name = "DIR", env = "QRES_DATA_DIR")]
    data_dir: PathBuf,
    /// The new file, a tar archive
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Leave the node's key out: for a copy of which others may not become this node
    #[arg(long)]
    without_identity: bool,
}

/// Makes a data directory from the file of a backup.
#[derive(Debug, clap::Args)]
pub struct Restore {
    /// The file of the backup
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// The new data directory: not there yet, or empty
    #[arg(long, value_name = "DIR", env = "QRES_DATA_DIR")]
    data_dir: PathBuf,
}

impl Backup {
    /// Writes the file.
    pub fn run(self, output: Output) -> Result<(), Failure> {
        let fails = |error: io::Error| Failure::file(&self.data_dir, error);
        if !self.data_dir.join(FORMAT).is_file() {
            return Err(Failure::file(
                &self.data_dir,
                "is no data directory of a node: it has no file `format`",
            ));
        }
        let lock = File::open(self.data_dir.join("lock")).map_err(fails)?;
        // The daemon holds the same lock for as long as it runs.
        lock.try_lock().map_err(|_| {
            Failure::file(
                &self.data_dir,
                "a node runs on it: stop the node first, or take a snapshot of the whole volume",
            )
        })?;
        let aside = private::aside(&self.out);
        if self.out.exists() {
            return Err(Failure::file(&self.out, "is there already: choose another name"));
        }
        let written = self
            .write(&aside)
            .and_then(|files| fs::rename(&aside, &self.out).map(|()| files));
        let (files, bytes) = written.map_err(|error| {
            // Half a backup is none.
            let _ = fs::remove_file(&aside);
            Failure::file(&self.out, error)
        })?;
        let shown = self.out.display().to_string();
        output.print(
            || json!({"file": shown, "files": files, "bytes": bytes, "identity": !self.without_identity}),
            || {
                format!(
                    "{shown} has {files} files, {bytes} bytes{}",
                    if self.without_identity { ", no key" } else { "" }
                )
            },
        );
        Ok(())
    }

    fn write(&self, path: &Path) -> io::Result<(usize, u64)> {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(private::MODE)
            .custom_flags(private::NO_LINK)
            .open(path)?;
        let mut archive = Builder::new(io::BufWriter::new(file));
        let mut count = (0, 0);
        // The format comes first, so that a restore knows what it reads.
        self.add(&mut archive, Path::new(FORMAT), &mut count)?;
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            let mut entries: Vec<_> = fs::read_dir(self.data_dir.join(&folder))?.collect::<io::Result<_>>()?;
            entries.sort_by_key(fs::DirEntry::file_name);
            for entry in entries {
                let inside = folder.join(entry.file_name());
                let top = folder.as_os_str().is_empty();
                let left_out = top && LEFT_OUT.iter().any(|name| inside == Path::new(name));
                let key = top && self.without_identity && inside == Path::new(IDENTITY);
                if left_out || key || inside == Path::new(FORMAT) {
                    continue;
                }
                match entry.file_type()? {
                    kind if kind.is_dir() => folders.push(inside),
                    kind if kind.is_file() => self.add(&mut archive, &inside, &mut count)?,
                    _ => {
                        return Err(io::Error::other(format!(
                            "{} is neither a file nor a directory",
                            inside.display()
                        )));
                    }
                }
            }
        }
        let mut buffered = archive.into_inner()?;
        buffered.flush()?;
        buffered.get_ref().sync_all()?;
        Ok(count)
    }

    fn add<W: Write>(&self, archive: &mut Builder<W>, inside: &Path, count: &mut (usize, u64)) -> io::Result<()> {
        let mut file = File::open(self.data_dir.join(inside))?;
        let bytes = file.metadata()?.len();
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(bytes);
        header.set_mode(private::MODE);
        archive.append_data(&mut header, inside, &mut file)?;
        *count = (count.0 + 1, count.1 + bytes);
        Ok(())
    }
}

impl Restore {
    /// Makes the data directory.
    pub fn run(self, output: Output) -> Result<(), Failure> {
        let fails = |error: io::Error| Failure::file(&self.data_dir, error);
        let taken = match fs::read_dir(&self.data_dir) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(fails(error)),
        };
        if taken {
            return Err(Failure::file(
                &self.data_dir,
                "is not empty: a backup becomes a new data directory",
            ));
        }
        // A restore that was interrupted leaves no directory that a node would start on.
        let aside = private::aside(&std::path::absolute(&self.data_dir).map_err(fails)?);
        let made = self.unpack(&aside).and_then(|files| {
            if self.data_dir.exists() {
                fs::remove_dir(&self.data_dir)?;
            }
            fs::rename(&aside, &self.data_dir)?;
            Ok(files)
        });
        let files = made.map_err(|error| {
            let _ = fs::remove_dir_all(&aside);
            Failure::file(&self.file, error)
        })?;
        let has_key = self.data_dir.join(IDENTITY).is_file();
        let dir = self.data_dir.display().to_string();
        output.print(
            || json!({"data_dir": dir, "files": files, "identity": has_key}),
            || match has_key {
                true => format!(
                    "{dir} has {files} files. The node signs nothing until it has compared its records with a quorum. Start it only \
                     if no other process runs with its key."
                ),
                false => format!("{dir} has {files} files and no key: the node makes a new one, or give it one (--identity-file)"),
            },
        );
        Ok(())
    }

    fn unpack(&self, to: &Path) -> io::Result<usize> {
        let make = |path: &Path| fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path);
        make(to)?;
        let mut archive = Archive::new(io::BufReader::new(File::open(&self.file)?));
        let mut files = 0;
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
            if !inside || entry.header().entry_type() != EntryType::Regular {
                return Err(io::Error::other(format!("{} is no file of a backup", path.display())));
            }
            if files == 0 && path != Path::new(FORMAT) {
                return Err(io::Error::other(
                    "no backup of a node: it does not begin with the format",
                ));
            }
            let target = to.join(&path);
            if let Some(folder) = target.parent() {
                make(folder)?;
            }
            let mut file = File::options()
                .write(true)
                .create_new(true)
                .mode(private::MODE)
                .open(&target)?;
            io::copy(&mut entry, &mut file)?;
            file.sync_all()?;
            files += 1;
        }
        match files {
            0 => Err(io::Error::other("no backup of a node: it is empty")),
            files => Ok(files),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A data directory with a key, a record, a blob, and what a backup leaves out.
    fn data_dir(root: &Path) -> PathBuf {
        let dir = root.join("data");
        for folder in ["blobs/model", "tmp", "partial"] {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        for (name, text) in [
            (FORMAT, "4\n"),
            (IDENTITY, "secret"),
            ("records.redb", "records"),
            ("blobs/model/ab", "weights"),
            ("lock", ""),
            ("reserve", "room"),
            ("boot", "boot"),
            ("tmp/x", "rubbish"),
        ] {
            fs::write(dir.join(name), text).unwrap();
        }
        dir
    }

    fn backup(data_dir: PathBuf, out: PathBuf, without_identity: bool) -> Result<(), Failure> {
        let backup = Backup {
            data_dir,
            out,
            without_identity,
        };
        backup.run(Output::new(true))
    }

    fn restore(file: PathBuf, data_dir: PathBuf) -> Result<(), Failure> {
        Restore { file, data_dir }.run(Output::new(true))
    }

    #[test]
    fn a_backup_becomes_the_same_directory_without_what_a_node_makes_itself() {
        let root = tempfile::tempdir().unwrap();
        let (dir, file, new) = (
            data_dir(root.path()),
            root.path().join("b.tar"),
            root.path().join("new"),
        );
        backup(dir, file.clone(), false).unwrap();
        restore(file, new.clone()).unwrap();
        assert_eq!(fs::read_to_string(new.join("blobs/model/ab")).unwrap(), "weights");
        assert_eq!(fs::read_to_string(new.join(IDENTITY)).unwrap(), "secret");
        for name in LEFT_OUT {
            assert!(!new.join(name).exists(), "{name}");
        }
    }

    #[test]
    fn a_backup_without_the_key_has_no_key() {
        let root = tempfile::tempdir().unwrap();
        let (dir, file) = (data_dir(root.path()), root.path().join("b.tar"));
        backup(dir, file.clone(), true).unwrap();
        assert!(!String::from_utf8_lossy(&fs::read(&file).unwrap()).contains("secret"));
        restore(file, root.path().join("new")).unwrap();
        assert!(!root.path().join("new").join(IDENTITY).exists());
    }

    #[test]
    fn nothing_is_written_over_and_a_running_node_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let (dir, file) = (data_dir(root.path()), root.path().join("b.tar"));
        let running = File::open(dir.join("lock")).unwrap();
        running.lock().unwrap();
        let error = backup(dir.clone(), file.clone(), false).unwrap_err().to_string();
        assert!(error.contains("stop the node first"), "{error}");
        drop(running);
        backup(dir.clone(), file.clone(), false).unwrap();
        assert!(backup(dir.clone(), file.clone(), false).is_err());
        assert!(restore(file, dir).unwrap_err().to_string().contains("not empty"));
    }

    #[test]
    fn an_archive_that_leads_out_of_the_directory_or_is_none_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("evil.tar");
        let mut archive = Builder::new(File::create(&file).unwrap());
        for name in [FORMAT, "../outside"] {
            let mut header = Header::new_gnu();
            header.set_size(1);
            // The library refuses such a path, so the header is written by hand.
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            archive.append(&header, &b"x"[..]).unwrap();
        }
        archive.into_inner().unwrap();
        let new = root.path().join("new");
        assert!(restore(file, new.clone()).is_err());
        fs::write(root.path().join("text"), "text").unwrap();
        assert!(restore(root.path().join("text"), new.clone()).is_err());
        assert!(!new.exists() && !root.path().join("outside").exists() && !root.path().join("new.new").exists());
    }
}
