//! The findings of a diagnosis, in words for an operator.

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// All is well.
    Ok,
    /// The check could not be made, or does not apply.
    Skipped,
    /// It works, and will not for long, or not as well as it should.
    Warning,
    /// It does not work.
    Failed,
}

/// What one check found. A check may have several findings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The name of the check, the same in all versions.
    pub check: &'static str,
    /// The result.
    pub verdict: Verdict,
    /// What is the case.
    pub text: String,
    /// What to do; empty if there is nothing to do.
    pub remedy: String,
}

impl Finding {
    /// Makes a finding that all is well.
    pub fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self::of(Verdict::Ok, check, text, "")
    }

    /// Makes a finding of a check that was not made.
    pub fn skipped(check: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::of(Verdict::Skipped, check, text, remedy)
    }

    /// Makes a finding that should be seen to.
    pub fn warning(check: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::of(Verdict::Warning, check, text, remedy)
    }

    /// Makes a finding of something that does not work.
    pub fn failed(check: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::of(Verdict::Failed, check, text, remedy)
    }

    /// Makes a finding with this verdict.
    pub fn of(verdict: Verdict, check: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            check,
            verdict,
            text: text.into(),
            remedy: remedy.into(),
        }
    }
}
