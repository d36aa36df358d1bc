//! Edits of a callers file: comments and order stay, and two edits at once do not lose each other.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use qres_access::{Callers, Role, TokenHash};
use qres_files::private;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use toml_edit::{ArrayOfTables, Datetime, DocumentMut, Item, Table, value};

use crate::failure::Failure;

/// Key of the list of callers.
const CALLER: &str = "caller";

/// A callers file that is being edited. No other `qres` edits the file until this is dropped.
pub struct CallersFile {
    path: PathBuf,
    document: DocumentMut,
    _lock: File,
}

impl CallersFile {
    /// Opens the file at a path; a file that is not there yet counts as empty. Waits for others that edit the file.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let fails = |error: std::io::Error| Failure::file(path, error);
        let path = std::path::absolute(path).map_err(fails)?;
        let mut beside = path.clone().into_os_string();
        beside.push(".lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&beside);
        let lock = lock.map_err(|error| Failure::file(Path::new(&beside), error))?;
        lock.lock().map_err(fails)?;
        let text = read(&path)?;
        let document = text.parse().map_err(|error| Failure::file(&path, error))?;
        Ok(Self {
            path,
            document,
            _lock: lock,
        })
    }

    /// Adds a token of a caller.
    pub fn add_token(
        &mut self,
        name: &str,
        role: Role,
        token: TokenHash,
        expires: Option<OffsetDateTime>,
    ) -> Result<(), Failure> {
        let mut entry = Table::new();
        entry["name"] = value(name);
        entry["role"] = value(role.name());
        entry["token"] = value(token.to_string());
        if let Some(at) = expires {
            let text = at
                .format(&Rfc3339)
                .map_err(|error| Failure::local(format!("--expires-days: {error}")))?;
            let at: Datetime = text
                .parse()
                .map_err(|error| Failure::local(format!("--expires-days: {error}")))?;
            entry["expires"] = value(at);
        }
        entry.decor_mut().set_prefix("\n");
        self.callers()?.push(entry);
        Ok(())
    }

    /// Marks all credentials of a caller as revoked, and refuses certificates with its common name from now on. An entry that
    /// was taken out could let a certificate speak for itself again. Returns the number of entries that were marked.
    pub fn revoke(&mut self, name: &str) -> Result<usize, Failure> {
        let callers = self.callers()?;
        let (mut marked, mut role, common) = (0, Role::Reader.name().to_owned(), format!("CN:{name}"));
        let mut has_common = false;
        for entry in callers.iter_mut() {
            let text = |key: &str| entry.get(key).and_then(Item::as_str).map(str::to_owned);
            if text("name").as_deref() != Some(name) {
                continue;
            }
            has_common |= text("certificate").as_deref() == Some(&common);
            role = text("role").unwrap_or(role);
            entry["revoked"] = value(true);
            marked += 1;
        }
        if !has_common {
            let mut entry = Table::new();
            entry["name"] = value(name);
            entry["role"] = value(role);
            entry["certificate"] = value(common);
            entry["revoked"] = value(true);
            entry.decor_mut().set_prefix("\n");
            callers.push(entry);
        }
        Ok(marked)
    }

    /// Writes the file, if it is a callers file. Owner, group and mode stay, and a link is followed, because the daemon may run as
    /// another user.
    pub fn save(self) -> Result<(), Failure> {
        let text = self.document.to_string();
        Callers::parse(&text).map_err(|error| Failure::file(&self.path, error))?;
        private::replace_alike(&self.path, text.as_bytes()).map_err(|error| Failure::file(&self.path, error))
    }

    fn callers(&mut self) -> Result<&mut ArrayOfTables, Failure> {
        let list = self
            .document
            .entry(CALLER)
            .or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
        let path = &self.path;
        list.as_array_of_tables_mut()
            .ok_or_else(|| Failure::file(path, "callers are written as [[caller]]"))
    }
}

/// Returns the text of a callers file; empty if there is none yet.
pub fn read(path: &Path) -> Result<String, Failure> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(|error| Failure::file(path, error)),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn hash(n: usize) -> TokenHash {
        TokenHash::of(&n.to_string())
    }

    #[test]
    fn a_revoked_caller_is_marked_and_everything_else_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("callers.toml");
        let text = format!(
            "# ours\n[[ caller ]] # bob\nname = \"bob\"\nrole = \"operator\"\ntoken = \"{}\"\n\n[[caller]]\nname = \"alice\"\nrole = \
             \"trainer\"\ntoken = \"{}\" # a phone\n",
            hash(1),
            hash(2)
        );
        fs::write(&path, &text).unwrap();
        let mut file = CallersFile::open(&path).unwrap();
        assert_eq!(file.revoke("alice").unwrap(), 1);
        file.save().unwrap();
        let after = fs::read_to_string(&path).unwrap();
        assert!(
            after.contains("# ours\n[[ caller ]] # bob") && after.contains("# a phone"),
            "{after}"
        );
        let callers = Callers::parse(&after).unwrap();
        let over = |name: &str| {
            callers
                .entries()
                .iter()
                .filter(|e| e.caller.name == name)
                .all(|e| e.is_over(0))
        };
        assert!(over("alice") && !over("bob"));
        // Certificates of alice are refused, too.
        assert!(after.contains("certificate = \"CN:alice\""), "{after}");
    }

    #[test]
    fn a_caller_that_only_a_certificate_names_can_be_revoked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("callers.toml");
        for _ in 0..2 {
            let mut file = CallersFile::open(&path).unwrap();
            file.revoke("boss").unwrap();
            file.save().unwrap();
        }
        let callers = Callers::parse(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(callers.entries().len(), 1);
        assert!(callers.entries()[0].revoked);
    }

    #[test]
    fn edits_at_the_same_time_do_not_lose_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("callers.toml");
        let add = |n: usize| {
            let mut file = CallersFile::open(&path).unwrap();
            file.add_token(
                &format!("हिंदी {n}"),
                Role::Reader,
                hash(n),
                Some(OffsetDateTime::UNIX_EPOCH),
            )
            .unwrap();
            file.save().unwrap();
        };
        thread::scope(|scope| {
            for n in 0..12 {
                scope.spawn(move || add(n));
            }
        });
        let callers = Callers::parse(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(callers.entries().len(), 12);
    }
}
