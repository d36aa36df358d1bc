//! The commands `qres token …`: they keep a callers file, and need no node.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use qres_access::{Callers, Role, Token, TokenHash};
use qres_files::private;
use serde_json::json;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::failure::Failure;
use crate::output::Output;
use crate::show::lines::Lines;

/// Makes tokens and takes them back.
#[derive(Debug, clap::Subcommand)]
pub enum TokenCommand {
    /// Make a token, add its hash to a callers file, and print the token once
    New(New),
    /// List the callers of a callers file
    List(CallersFile),
    /// Take all credentials of a caller out of a callers file
    Revoke(Revoke),
    /// Print the hash of a token that is typed or piped in
    Hash {},
}

/// The file that `qres-daemon --grpc-callers` reads.
#[derive(Debug, clap::Args)]
pub struct CallersFile {
    /// The callers file
    #[arg(long, value_name = "FILE", default_value = "callers.toml")]
    file: PathBuf,
}

/// Makes a token.
#[derive(Debug, clap::Args)]
pub struct New {
    /// Name of the caller; a trainer submits under this name
    #[arg(long)]
    name: String,
    /// What the caller may do: reader, trainer or operator
    #[arg(long)]
    role: Role,
    /// Days after which the token is refused; without it the token holds until it is revoked
    #[arg(long, value_name = "N")]
    expires_days: Option<u32>,
    #[command(flatten)]
    callers: CallersFile,
}

/// Takes a caller's credentials back.
#[derive(Debug, clap::Args)]
pub struct Revoke {
    /// Name of the caller
    #[arg(long)]
    name: String,
    #[command(flatten)]
    callers: CallersFile,
}

impl TokenCommand {
    /// Runs the command.
    pub fn run(self, output: Output) -> Result<(), Failure> {
        match self {
            Self::New(new) => new.run(output),
            Self::List(file) => list(&file, output),
            Self::Revoke(revoke) => revoke.run(output),
            Self::Hash {} => hash(output),
        }
    }
}

impl New {
    fn run(self, output: Output) -> Result<(), Failure> {
        let token = Token::generate().map_err(|error| Failure::local(format!("no random numbers: {error}")))?;
        let mut text = self.callers.text()?;
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        // Debug quotes and escapes the name as TOML does; the parser below refuses what a name may not have.
        text += &format!(
            "\n[[caller]]\nname = {:?}\nrole = \"{}\"\ntoken = \"{}\"\n",
            self.name,
            self.role,
            token.hash()
        );
        if let Some(days) = self.expires_days {
            let at = OffsetDateTime::now_utc() + Duration::days(days.into());
            let at = at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339);
            let at = at.map_err(|error| Failure::local(format!("--expires-days {days}: {error}")))?;
            text += &format!("expires = {at}\n");
        }
        self.callers.replace(&text)?;
        let file = self.callers.file.display().to_string();
        output.print(
            || json!({"token": token.text(), "name": self.name, "role": self.role.name(), "file": file}),
            || token.text().to_owned(),
        );
        output.note(format!(
            "{} has the role {} now; {file} keeps the hash, and nothing shows the token again",
            self.name, self.role
        ));
        Ok(())
    }
}

impl Revoke {
    fn run(self, output: Output) -> Result<(), Failure> {
        let text = self.callers.text()?;
        let (kept, revoked) = without(&text, &self.name);
        if revoked == 0 {
            let file = self.callers.file.display();
            return Err(Failure::local(format!(
                "{file} has no caller {:?}: `qres token list` shows them",
                self.name
            )));
        }
        self.callers.replace(&kept)?;
        output.print(
            || json!({"revoked": revoked, "name": self.name}),
            || {
                format!(
                    "{revoked} credentials of {} are revoked; a running node notices within 5 s",
                    self.name
                )
            },
        );
        Ok(())
    }
}

impl CallersFile {
    /// Returns the text of the file; empty if there is none yet.
    fn text(&self) -> Result<String, Failure> {
        match fs::read_to_string(&self.file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            read => read.map_err(|error| Failure::file(&self.file, error)),
        }
    }

    /// Replaces the file as a whole, if the text is a callers file.
    fn replace(&self, text: &str) -> Result<(), Failure> {
        Callers::parse(text).map_err(|error| Failure::file(&self.file, error))?;
        let path: &Path = &self.file;
        let whole = std::path::absolute(path).map_err(|error| Failure::file(path, error))?;
        private::replace(&whole, text.as_bytes()).map_err(|error| Failure::file(path, error))
    }
}

/// Returns the text of a callers file without the entries of a caller, comments and order kept, and the number of entries that
/// were taken out.
fn without(text: &str, name: &str) -> (String, usize) {
    let mut blocks: Vec<String> = vec![String::new()];
    for line in text.split_inclusive('\n') {
        if line.trim() == "[[caller]]" {
            blocks.push(String::new());
        }
        if let Some(block) = blocks.last_mut() {
            block.push_str(line);
        }
    }
    let before = blocks.len();
    let is_of = |block: &String| {
        let callers = Callers::parse(block).unwrap_or_default();
        callers.entries().iter().any(|entry| entry.caller.name == name)
    };
    blocks.retain(|block| !is_of(block));
    (blocks.concat(), before - blocks.len())
}

fn list(file: &CallersFile, output: Output) -> Result<(), Failure> {
    let callers = Callers::parse(&file.text()?).map_err(|error| Failure::file(&file.file, error))?;
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let shown: Vec<_> = callers
        .entries()
        .iter()
        .map(|entry| {
            let ends = entry
                .expires
                .and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
            let ends = ends.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default();
            let kind = if entry.token.is_some() { "token" } else { "certificate" };
            (entry, kind, ends)
        })
        .collect();
    output.print(
        || {
            let rows = shown.iter().map(|(entry, kind, ends)| {
                json!({
                    "name": entry.caller.name, "role": entry.caller.role.name(), "credential": kind, "expires": ends,
                    "expired": entry.is_over(now),
                })
            });
            json!({"callers": rows.collect::<Vec<_>>()})
        },
        || -> Lines {
            let rows: Vec<String> = shown
                .iter()
                .map(|(entry, kind, ends)| {
                    let over = if entry.is_over(now) { " (over)" } else { "" };
                    let ends = if ends.is_empty() { "no end" } else { ends };
                    format!(
                        "{:<24} {:<9} {kind:<12} {ends}{over}",
                        entry.caller.name, entry.caller.role
                    )
                })
                .collect();
            rows.iter().map(String::as_str).collect()
        },
    );
    Ok(())
}

/// Reads a token from the input, so that it stands neither in the shell's history nor in the list of processes.
fn hash(output: Output) -> Result<(), Failure> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(4096).read_to_string(&mut text);
    read.map_err(|error| Failure::local(format!("the token cannot be read: {error}")))?;
    match text.trim() {
        "" => Err(Failure::local("no token was typed or piped in")),
        token => {
            let hash = TokenHash::of(token).to_string();
            output.print(|| json!({"hash": hash}), || hash.clone());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, n: u8) -> String {
        let hash = TokenHash::of(&n.to_string());
        format!("# about {name}\n[[caller]]\nname = \"{name}\"\nrole = \"reader\"\ntoken = \"{hash}\"\n\n")
    }

    #[test]
    fn a_revoked_caller_is_taken_out_and_the_others_stay_as_they_are() {
        let text = entry("alice", 1) + &entry("bob", 2) + &entry("alice", 3);
        let (kept, revoked) = without(&text, "alice");
        assert_eq!(revoked, 2);
        let callers = Callers::parse(&kept).unwrap();
        assert_eq!(callers.entries().len(), 1);
        assert_eq!(callers.entries()[0].caller.name, "bob");
        assert_eq!(without(&text, "carol"), (text, 0));
    }
}
