//! The command `qres doctor`.

use qres_api::Address;
use qres_api::client::{Client, ClientError, Credentials};
use qres_api::pb;
use serde_json::{Value, json};
use tonic::Code;

use crate::failure::Failure;
use crate::output::Output;
use crate::show::lines::Lines;

/// Checks the node and tells what is wrong, and what to do.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 when no check failed, 1 when one did or no node answers. `qres-daemon --doctor` with the \
                        node's settings makes the checks that need no running node."
)]
pub struct Doctor {}

/// The name of the finding that no node answers.
const UNANSWERED: &str = "node";

impl Doctor {
    /// Asks the node for its findings and prints them. A node that does not answer is a finding, too.
    pub async fn run(self, address: &Address, credentials: &Credentials, output: Output) -> Result<(), Failure> {
        let findings = match ask(address, credentials).await {
            Ok(findings) => findings,
            Err(error) => vec![unanswered(address, &error)?],
        };
        let failed = findings.iter().any(|finding| finding.verdict() == pb::Verdict::Failed);
        output.print(
            || json!({"address": address.to_string(), "healthy": !failed, "findings": findings.iter().map(to_json).collect::<Value>()}),
            || text(&findings),
        );
        match failed {
            true => Err(Failure::Told),
            false => Ok(()),
        }
    }
}

async fn ask(address: &Address, credentials: &Credentials) -> Result<Vec<pb::Finding>, ClientError> {
    let client = Client::connect_as(address.to_string(), credentials).await?;
    let answer = client.node().diagnose_node(pb::DiagnoseNodeRequest {}).await?;
    Ok(answer.into_inner().findings)
}

/// Makes a finding of the reason why the node gave no findings. Returns a failure of this side as it is.
fn unanswered(address: &Address, error: &ClientError) -> Result<pb::Finding, Failure> {
    let start = "run `qres-daemon --doctor` with the node's settings on its machine: it needs no running node";
    let (text, remedy) = match error {
        ClientError::Address(_) | ClientError::Credentials(_) => return Err(Failure::from(error.clone())),
        // Its text names the address and the likely mistake.
        ClientError::Connect { .. } => (error.to_string(), format!("name another address with --addr; or {start}")),
        ClientError::Refused { code: Code::Unauthenticated | Code::PermissionDenied, .. } => (
            format!("the node at {address} answers, and refuses these credentials: {error}"),
            "give an operator's --token-file, or --tls-cert and --tls-key; `qres token list --file FILE` on the node's machine shows \
             the roles"
                .to_owned(),
        ),
        ClientError::Refused { code: Code::Unimplemented, .. } => (
            format!("the node at {address} answers, and knows no diagnosis: it is of an older version, or is no qres node"),
            "upgrade the node, or look at `qres status`".to_owned(),
        ),
        ClientError::Refused { reason, .. } if reason.is_empty() => (
            format!("{address} accepts connections and then breaks them off ({error}): a node with TLS does so, and so does another \
                     program on that port"),
            format!("a node with TLS needs https:// before its address, or --tls-ca; or {start}"),
        ),
        _ => (format!("the node at {address} made no diagnosis: {error}"), format!("try again; or {start}")),
    };
    Ok(pb::Finding {
        check: UNANSWERED.to_owned(),
        verdict: pb::Verdict::Failed.into(),
        text,
        remedy,
    })
}

fn to_json(finding: &pb::Finding) -> Value {
    let verdict = match finding.verdict() {
        pb::Verdict::Unspecified => "unknown",
        pb::Verdict::Ok => "ok",
        pb::Verdict::Warning => "warning",
        pb::Verdict::Failed => "failed",
        pb::Verdict::Skipped => "skipped",
    };
    json!({"check": finding.check, "verdict": verdict, "text": finding.text, "remedy": finding.remedy})
}

fn text(findings: &[pb::Finding]) -> Lines {
    let width = findings
        .iter()
        .map(|finding| finding.check.chars().count())
        .max()
        .unwrap_or(0);
    let mut lines = Lines::default();
    for finding in findings {
        let word = match finding.verdict() {
            pb::Verdict::Unspecified => "?",
            pb::Verdict::Ok => "OK",
            pb::Verdict::Warning => "WARN",
            pb::Verdict::Failed => "FAIL",
            pb::Verdict::Skipped => "SKIP",
        };
        lines.push(&format!("{word:<4}  {:<width$}  {}", finding.check, finding.text));
        if !finding.remedy.is_empty() {
            lines.push(&format!("{:<4}  {:<width$}  -> {}", "", "", finding.remedy));
        }
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict() == verdict).count();
    match (count(pb::Verdict::Failed), count(pb::Verdict::Warning)) {
        (0, 0) => lines.push("nothing is wrong"),
        (failed, warnings) => lines.push(&format!("failed: {failed}, warnings: {warnings}")),
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(check: &str, verdict: pb::Verdict, text: &str, remedy: &str) -> pb::Finding {
        pb::Finding {
            check: check.into(),
            verdict: verdict.into(),
            text: text.into(),
            remedy: remedy.into(),
        }
    }

    #[test]
    fn remedies_stand_below_what_they_mend() {
        let findings = [
            finding("tls", pb::Verdict::Ok, "fine", ""),
            finding("clock", pb::Verdict::Warning, "7.0 s ahead", "set it"),
        ];
        assert_eq!(
            text(&findings).to_string(),
            "OK    tls    fine\n\
             WARN  clock  7.0 s ahead\n\
             \x20            -> set it\n\
             failed: 0, warnings: 1"
        );
        assert!(text(&findings[..1]).to_string().ends_with("nothing is wrong"));
        assert_eq!(to_json(&findings[1])["verdict"], "warning");
    }

    #[test]
    fn each_reason_for_no_answer_has_a_remedy_of_its_own() {
        let address: Address = "127.0.0.1:4002".parse().unwrap();
        let refused = |code, reason: &str| ClientError::Refused {
            code,
            reason: reason.into(),
            field: String::new(),
            message: "m".into(),
            retry_after: None,
        };
        for (error, words) in [
            (refused(Code::Unauthenticated, "CREDENTIAL_MISSING"), "--token-file"),
            (refused(Code::PermissionDenied, "ROLE_TOO_LOW"), "operator"),
            (refused(Code::Unimplemented, ""), "upgrade"),
            (refused(Code::Unavailable, ""), "--tls-ca"),
            (refused(Code::Unavailable, "BUSY"), "try again"),
        ] {
            let found = unanswered(&address, &error).unwrap();
            assert!(found.remedy.contains(words), "{found:?}");
        }
        assert!(unanswered(&address, &ClientError::Credentials("no file".into())).is_err());
    }
}
