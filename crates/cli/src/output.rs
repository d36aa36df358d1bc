//! Where output goes: text or JSON to stdout, failures to stderr. Nothing else prints, and nothing is printed here that a
//! terminal would obey.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use qres_api::printable;
use serde_json::Value;

use crate::failure::Failure;
use crate::show::lines::Lines;

/// How to print.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    /// JSON, or text for people.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether JSON was asked for.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Whether a person watches stderr.
    pub fn shows_progress(self) -> bool {
        !self.json && std::io::stderr().is_terminal()
    }

    /// One thing: its JSON on a line, or its text. Answers whether anybody still reads.
    pub fn print<T: Into<Lines>>(self, json: impl FnOnce() -> Value, text: impl FnOnce() -> T) -> bool {
        let lines = match self.json {
            // JSON escapes C0 controls alone; outside of its strings there is nothing to escape.
            true => Lines::from(json().to_string()),
            false => text().into(),
        };
        let mut out = std::io::stdout().lock();
        let text = lines.to_string();
        let text = text.trim_end_matches('\n');
        writeln!(out, "{text}").and_then(|()| out.flush()).is_ok()
    }

    /// Something a person should know, beside the output.
    pub fn note(self, text: impl Display) {
        // Nobody reads it: nothing to do about that.
        let _ = writeln!(std::io::stderr(), "{}", printable(&text.to_string()));
    }

    /// A failure, and the exit code it gives.
    pub fn fail(self, failure: &Failure) -> ExitCode {
        match self.json {
            true => self.note(failure.json()),
            false => self.note(format_args!("qres: {failure}")),
        }
        ExitCode::FAILURE
    }
}
