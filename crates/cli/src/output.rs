//! Prints output: text or JSON to stdout, failures to stderr. No other module prints, and no control character that a
//! terminal would obey is printed here.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use qres_api::printable;
use serde_json::Value;

use crate::failure::Failure;
use crate::show::lines::Lines;

/// The way to print: JSON for programs, or text for people.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    /// Makes an output of JSON if `json` is true, otherwise of text for people.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Returns true if the output is JSON.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Returns true if the output is text and stderr is a terminal, so that a person sees the progress.
    pub fn shows_progress(self) -> bool {
        !self.json && std::io::stderr().is_terminal()
    }

    /// Prints a value: its JSON on one line, or its text as [`Lines`]. Returns false if stdout cannot be written, because its
    /// reader is gone.
    pub fn print<T: Into<Lines>>(self, json: impl FnOnce() -> Value, text: impl FnOnce() -> T) -> bool {
        let lines = match self.json {
            // JSON escapes C0 controls only; outside of its strings there is nothing else to escape.
            true => Lines::from(json().to_string()),
            false => text().into(),
        };
        let mut out = std::io::stdout().lock();
        let text = lines.to_string();
        let text = text.trim_end_matches('\n');
        writeln!(out, "{text}").and_then(|()| out.flush()).is_ok()
    }

    /// Prints a line to stderr that a person should know, beside the output.
    pub fn note(self, text: impl Display) {
        // A write fails if the reader of stderr is gone: there is no other place for the note.
        let _ = writeln!(std::io::stderr(), "{}", printable(&text.to_string()));
    }

    /// Prints a [`Failure`] to stderr and returns the [`ExitCode`] for it, 1.
    pub fn fail(self, failure: &Failure) -> ExitCode {
        match (failure, self.json) {
            (Failure::Told, _) => {}
            (_, true) => self.note(failure.json()),
            (_, false) => self.note(format_args!("qres: {failure}")),
        }
        ExitCode::FAILURE
    }
}
