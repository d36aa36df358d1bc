//! Writes files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Bytes that are read at a time while hashing: 1 MiB.
const READ_BYTES: usize = 1 << 20;

/// Returns the length of a file in bytes and the hex digits of its BLAKE3.
pub fn digest(path: &Path) -> io::Result<(u64, String)> {
    let mut hasher = blake3::Hasher::new();
    let bytes = hash_into(&mut hasher, &mut File::open(path)?)?;
    Ok((bytes, hasher.finalize().to_hex().to_string()))
}

fn hash_into(hasher: &mut blake3::Hasher, file: &mut File) -> io::Result<u64> {
    let mut buffer = vec![0; READ_BYTES];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(bytes);
        }
        hasher.update(&buffer[..read]);
        bytes += read as u64;
    }
}

/// A file that is being written: under a name of its own beside its target, hashed meanwhile, and renamed at the end.
#[derive(Debug)]
pub struct Part {
    target: PathBuf,
    path: PathBuf,
    file: File,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Part {
    /// Opens the part of `target` with this `tag`, which names the content. Bytes that an earlier run has left are kept and
    /// hashed. Returns a [`Failure`] if the file cannot be opened or read.
    pub fn open(target: &Path, tag: &str) -> Result<Self, Failure> {
        let name = target
            .file_name()
            .ok_or_else(|| Failure::file(target, "names no file"))?;
        // The tag comes from a node: only letters and digits go into the name, so that it cannot lead to another folder.
        let tag: String = tag.chars().filter(char::is_ascii_alphanumeric).take(32).collect();
        let path = target.with_file_name(format!(".{}.{tag}.part", name.to_string_lossy()));
        let fail = |error| Failure::file(&path, error);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(fail)?;
        let mut hasher = blake3::Hasher::new();
        let bytes = hash_into(&mut hasher, &mut file).map_err(fail)?;
        Ok(Self {
            target: target.to_owned(),
            path,
            file,
            hasher,
            bytes,
        })
    }

    /// Returns the number of bytes that the part has.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Discards the bytes that the part has.
    pub fn restart(&mut self) -> Result<(), Failure> {
        let mut again = || {
            self.file.set_len(0)?;
            io::Seek::rewind(&mut self.file)
        };
        again().map_err(|error| Failure::file(&self.path, error))?;
        self.hasher = blake3::Hasher::new();
        self.bytes = 0;
        Ok(())
    }

    /// Appends `bytes` to the part.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file
            .write_all(bytes)
            .map_err(|error| Failure::file(&self.path, error))?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Checks the digest, if there is one, and renames the part to its target, which is replaced. If the digest does not match, the
    /// part is removed and a [`Failure`] returned.
    pub fn finish(self, digest: Option<&str>) -> Result<(), Failure> {
        let found = self.hasher.finalize().to_hex();
        if let Some(digest) = digest.filter(|digest| found.as_str() != *digest) {
            let _ = fs::remove_file(&self.path);
            let problem = format!("the bytes that came have digest {found}, not {digest}: fetch again");
            return Err(Failure::file(&self.target, problem));
        }
        self.file
            .sync_all()
            .and_then(|()| fs::rename(&self.path, &self.target))
            .map_err(|error| Failure::file(&self.target, error))
    }
}

/// Writes a small file as a whole and replaces the file of that name.
pub fn write(target: &Path, tag: &str, bytes: &[u8]) -> Result<(), Failure> {
    let mut part = Part::open(target, tag)?;
    part.restart()?;
    part.write(bytes)?;
    part.finish(Some(blake3::hash(bytes).to_hex().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_whole_and_goes_on_where_it_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("w.safetensors");
        let mut part = Part::open(&target, "c1").unwrap();
        part.write(b"hello ").unwrap();
        drop(part);
        assert_eq!(names(dir.path()), [".w.safetensors.c1.part"]);
        let mut part = Part::open(&target, "c1").unwrap();
        assert_eq!(part.bytes(), 6);
        part.write(b"world").unwrap();
        part.finish(Some(blake3::hash(b"hello world").to_hex().as_str()))
            .unwrap();
        assert_eq!(names(dir.path()), ["w.safetensors"]);
        assert_eq!(fs::read(&target).unwrap(), b"hello world");
        assert_eq!(
            digest(&target).unwrap(),
            (11, blake3::hash(b"hello world").to_hex().to_string())
        );
    }

    #[test]
    fn wrong_bytes_never_get_the_name_and_leave_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("w");
        write(&target, "a", b"old").unwrap();
        let mut part = Part::open(&target, "b").unwrap();
        part.write(b"lies").unwrap();
        let failure = part.finish(Some(blake3::hash(b"truth").to_hex().as_str())).unwrap_err();
        assert!(failure.to_string().contains("fetch again"), "{failure}");
        assert_eq!(fs::read(&target).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["w"]);
    }

    #[test]
    fn a_tag_leads_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let part = Part::open(&dir.path().join("w"), "../../etc/passwd").unwrap();
        assert_eq!(part.path, dir.path().join(".w.etcpasswd.part"));
        assert!(Part::open(Path::new("/"), "a").is_err());
    }

    #[test]
    fn starting_over_forgets_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("w");
        let mut part = Part::open(&target, "a").unwrap();
        part.write(b"longer than the next").unwrap();
        part.restart().unwrap();
        part.write(b"x").unwrap();
        part.finish(Some(blake3::hash(b"x").to_hex().as_str())).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"x");
    }
}
