//! Text for people: lines without characters that a terminal would obey.

use std::fmt;

use qres_api::printable;

/// Lines to print. Names, reasons and messages in them may come from other nodes, so each line is escaped by [`printable`]
/// when it is added: control characters, characters that change the direction of writing, and line ends, which would forge
/// a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines(Vec<String>);

impl Lines {
    /// Adds a line, escaped.
    pub fn push(&mut self, line: &str) {
        self.0.push(printable(line).into_owned());
    }

    /// Returns these lines, an empty line and the lines of `others`.
    pub fn then(mut self, others: Self) -> Self {
        self.0.push(String::new());
        self.0.extend(others.0);
        self
    }

    /// Returns the lines one after another.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// Makes a single line, escaped.
impl From<String> for Lines {
    fn from(line: String) -> Self {
        Self(vec![printable(&line).into_owned()])
    }
}

/// Makes one line of each item, escaped.
impl<'a> FromIterator<&'a str> for Lines {
    fn from_iter<I: IntoIterator<Item = &'a str>>(lines: I) -> Self {
        let mut all = Self::default();
        lines.into_iter().for_each(|line| all.push(line));
        all
    }
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "ok\u{1b}[2J\n\u{9b}31m\u{202e}forged";
    const SHOWN: &str = "ok\\u001b[2J\\n\\u009b31m\\u202eforged";

    #[test]
    fn a_strangers_text_stays_in_its_line_and_is_escaped() {
        let mut lines = Lines::from(HOSTILE.to_owned());
        assert_eq!(lines.to_string(), SHOWN);
        lines.push(HOSTILE);
        let lines = lines.then([HOSTILE, "größe"].into_iter().collect());
        assert_eq!(lines.to_string(), format!("{SHOWN}\n{SHOWN}\n\n{SHOWN}\ngröße"));
        assert_eq!(lines.iter().count(), 5);
    }
}
