//! The commands `qres token …`: they keep a callers file, and need no node.

use std::io::Read;
use std::path::PathBuf;

use qres_access::{Callers, Role, Token, TokenHash};
use serde_json::json;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::callers_file::{self, CallersFile};
use crate::failure::Failure;
use crate::output::Output;
use crate::show::lines::Lines;

/// Makes tokens and takes them back.
#[derive(Debug, clap::Subcommand)]
pub enum TokenCommand {
    /// Make a token, add its hash to a callers file, and print the token once
    New(New),
    /// List the callers of a callers file
    List(CallersArgs),
    /// Revoke all credentials of a caller, certificates with its name too
    Revoke(Revoke),
    /// Print the hash of a token that is typed or piped in
    Hash {},
}

/// The file that `qres-daemon --grpc-callers` reads.
#[derive(Debug, clap::Args)]
pub struct CallersArgs {
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
    callers: CallersArgs,
}

/// Takes a caller's credentials back.
#[derive(Debug, clap::Args)]
pub struct Revoke {
    /// Name of the caller
    #[arg(long)]
    name: String,
    #[command(flatten)]
    callers: CallersArgs,
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
        let expires = self
            .expires_days
            .map(|days| OffsetDateTime::now_utc() + Duration::days(days.into()));
        let expires = expires.map(|at| at.replace_nanosecond(0).unwrap_or(at));
        let mut file = CallersFile::open(&self.callers.file)?;
        file.add_token(&self.name, self.role, token.hash(), expires)?;
        file.save()?;
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
        let mut file = CallersFile::open(&self.callers.file)?;
        let marked = file.revoke(&self.name)?;
        file.save()?;
        output.print(
            || json!({"revoked": marked, "name": self.name}),
            || {
                format!(
                    "{marked} credentials of {name} are revoked, and certificates with the common name {name}; a running node \
                     notices within 10 s",
                    name = self.name
                )
            },
        );
        Ok(())
    }
}

fn list(file: &CallersArgs, output: Output) -> Result<(), Failure> {
    let callers = Callers::parse(&callers_file::read(&file.file)?).map_err(|error| Failure::file(&file.file, error))?;
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
                    "expired": entry.is_over(now), "revoked": entry.revoked,
                })
            });
            json!({"callers": rows.collect::<Vec<_>>()})
        },
        || -> Lines {
            let rows: Vec<String> = shown
                .iter()
                .map(|(entry, kind, ends)| {
                    let over = match (entry.revoked, entry.is_over(now)) {
                        (true, _) => " (revoked)",
                        (false, true) => " (over)",
                        (false, false) => "",
                    };
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
