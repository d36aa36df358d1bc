//! The findings as text for a terminal.

use std::fmt::Write;

use qres_api::printable;
use qres_node::finding::{Finding, Verdict};

/// Formats findings: a line for each, its remedy below it.
pub fn report(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    let mut text = String::new();
    for finding in findings {
        let word = match finding.verdict {
            Verdict::Ok => "OK",
            Verdict::Warning => "WARN",
            Verdict::Failed => "FAIL",
            Verdict::Skipped => "SKIP",
        };
        // Writing into a String cannot fail. Paths and names may hold bytes that a terminal would obey.
        let _ = writeln!(
            text,
            "{word:<4}  {:<width$}  {}",
            finding.check,
            printable(&finding.text)
        );
        if !finding.remedy.is_empty() {
            let _ = writeln!(text, "{:<4}  {:<width$}  -> {}", "", "", printable(&finding.remedy));
        }
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let (failed, warnings) = (count(Verdict::Failed), count(Verdict::Warning));
    let _ = match (failed, warnings) {
        (0, 0) => writeln!(text, "nothing is wrong"),
        _ => writeln!(text, "failed: {failed}, warnings: {warnings}"),
    };
    text
}

/// Returns true if no check failed.
pub fn is_healthy(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.verdict != Verdict::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_stand_below_and_no_terminal_obeys_a_path() {
        let findings = [
            Finding::ok("tls", "fine"),
            Finding::failed("data-dir", "/a\u{1b}[2J has mode 0777", "chmod 700"),
        ];
        assert_eq!(
            report(&findings),
            "OK    tls       fine\n\
             FAIL  data-dir  /a\\u001b[2J has mode 0777\n\
             \x20               -> chmod 700\n\
             failed: 1, warnings: 0\n"
        );
        assert!(is_healthy(&findings[..1]) && !is_healthy(&findings));
        assert!(report(&findings[..1]).ends_with("nothing is wrong\n"));
    }
}
