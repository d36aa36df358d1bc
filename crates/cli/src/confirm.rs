//! Asks a person before an action that is hard to take back.

use std::io::{BufRead, IsTerminal, Write};

use crate::failure::Failure;
use crate::show::lines::Lines;

/// Shows the action, then asks for it on the terminal. With `yes` no person is asked. Returns a [`Failure`] if the answer is
/// no, or if there is no terminal to ask on.
pub fn confirm(what: &Lines, yes: bool) -> Result<(), Failure> {
    let (stdin, mut stderr) = (std::io::stdin(), std::io::stderr());
    // If the text cannot be written, there is no person who could answer: the checks below handle that.
    let _ = writeln!(stderr, "{what}");
    if yes {
        return Ok(());
    }
    if !(stdin.is_terminal() && stderr.is_terminal()) {
        return Err(Failure::local(
            "nobody can be asked here: repeat the command with --yes if this is right",
        ));
    }
    match asked(&mut stdin.lock(), &mut stderr) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::local("nothing was done")),
        Err(error) => Err(Failure::local(format!("cannot ask on this terminal: {error}"))),
    }
}

/// Asks, and returns true only for the answer `y` or `yes`.
fn asked(input: &mut impl BufRead, output: &mut impl Write) -> std::io::Result<bool> {
    write!(output, "Go on? [y/N] ")?;
    output.flush()?;
    let mut line = String::new();
    input.read_line(&mut line)?;
    Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_yes_is_one() {
        for (answer, expected) in [
            ("y\n", true),
            ("Yes\n", true),
            ("\n", false),
            ("", false),
            ("n\n", false),
            ("yeah\n", false),
        ] {
            let mut shown = vec![];
            assert_eq!(
                asked(&mut answer.as_bytes(), &mut shown).unwrap(),
                expected,
                "{answer:?}"
            );
            assert_eq!(shown, b"Go on? [y/N] ");
        }
    }

    #[test]
    fn what_was_agreed_to_beforehand_is_not_asked() {
        assert!(confirm(&Lines::default(), true).is_ok());
    }
}
