//! The callers file: who may call, with which token or certificate, and in which role.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use toml::Spanned;

use crate::caller::{self, Caller, Credential};
use crate::certificate::{CertificateName, CertificateNames};
use crate::role::Role;
use crate::token::TokenHash;

/// Most bytes of a callers file.
pub(crate) const FILE_BYTES_MAX: usize = 4 << 20;

/// The callers of a callers file.
#[derive(Debug, Clone, Default)]
pub struct Callers {
    entries: Vec<Entry>,
    tokens: HashMap<TokenHash, usize>,
    certificates: BTreeMap<CertificateName, usize>,
}

/// One entry of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The caller for which the credential stands.
    pub caller: Caller,
    /// The hash of the token; `None` if the credential is a certificate.
    pub token: Option<TokenHash>,
    /// Seconds since 1970 from which on the credential is refused.
    pub expires: Option<i64>,
    /// True if the credential is refused, even if its holder shows another one that is good.
    pub revoked: bool,
}

/// Everything that is wrong with a callers file, one problem a line, each with its line in the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct CallersError(pub Vec<String>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    caller: Vec<Spanned<Raw>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: Option<String>,
    role: Option<String>,
    token: Option<String>,
    certificate: Option<String>,
    expires: Option<toml::value::Datetime>,
    #[serde(default)]
    revoked: bool,
}

impl Callers {
    /// Reads the text of a callers file. Returns every problem at once.
    pub fn parse(text: &str) -> Result<Self, CallersError> {
        if text.len() > FILE_BYTES_MAX {
            let problem = format!("the file has {} bytes, at most {FILE_BYTES_MAX} are read", text.len());
            return Err(CallersError(vec![problem]));
        }
        let document: Document =
            toml::from_str(text).map_err(|error| CallersError(vec![error.to_string().trim_end().to_owned()]))?;
        let (mut callers, mut problems) = (Self::default(), vec![]);
        for raw in document.caller {
            let line = line_of(text, raw.span().start);
            if let Err(found) = callers.add(raw.into_inner()) {
                problems.extend(found.into_iter().map(|problem| format!("line {line}: {problem}")));
            }
        }
        if problems.is_empty() {
            Ok(callers)
        } else {
            Err(CallersError(problems))
        }
    }

    fn add(&mut self, raw: Raw) -> Result<(), Vec<String>> {
        let mut problems = vec![];
        let mut note = |problem: String| problems.push(problem);
        let name = raw.name.unwrap_or_default();
        if let Some(problem) = caller::problem(&name) {
            note(format!("name: {problem}"));
        }
        let role = raw
            .role
            .unwrap_or_default()
            .parse::<Role>()
            .map_err(|e| note(e.to_string()))
            .ok();
        let token = raw.token.map(|text| text.parse::<TokenHash>());
        let certificate = raw.certificate.map(|text| text.parse::<CertificateName>());
        if token.is_some() == certificate.is_some() {
            note("either token or certificate is expected".to_owned());
        }
        let token = token.and_then(|read| read.map_err(|e| note(format!("token: {e}"))).ok());
        let certificate = certificate.and_then(|read| read.map_err(|e| note(format!("certificate: {e}"))).ok());
        let expires = raw
            .expires
            .map(|at| unix_of(&at))
            .and_then(|read| read.map_err(&mut note).ok());
        if token.is_some_and(|hash| self.tokens.contains_key(&hash)) {
            note("token: the hash stands in the file twice".to_owned());
        }
        if certificate
            .as_ref()
            .is_some_and(|name| self.certificates.contains_key(name))
        {
            note("certificate: the name stands in the file twice".to_owned());
        }
        let other = self.entries.iter().find(|entry| entry.caller.name == name);
        if let (Some(other), Some(role)) = (other, role)
            && other.caller.role != role
        {
            note(format!(
                "role: {name:?} is {} further up: one caller has one role",
                other.caller.role
            ));
        }
        let (Some(role), true) = (role, problems.is_empty()) else {
            return Err(problems);
        };
        let credential = if token.is_some() {
            Credential::Token
        } else {
            Credential::Certificate
        };
        let at = self.entries.len();
        self.tokens.extend(token.map(|hash| (hash, at)));
        self.certificates.extend(certificate.map(|name| (name, at)));
        self.entries.push(Entry {
            caller: Caller { name, role, credential },
            token,
            expires,
            revoked: raw.revoked,
        });
        Ok(())
    }

    /// Returns all entries in the order of the file.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the entry for a token's text.
    pub(crate) fn by_token(&self, text: &str) -> Option<&Entry> {
        self.tokens
            .get(&TokenHash::of(text))
            .and_then(|at| self.entries.get(*at))
    }

    /// Returns the entry for the first name of a certificate that the file has.
    pub(crate) fn by_certificate(&self, names: &CertificateNames) -> Option<&Entry> {
        let mut found = names.names.iter().filter_map(|name| self.certificates.get(name));
        found.next().and_then(|at| self.entries.get(*at))
    }
}

impl Entry {
    /// Returns true if the credential may no longer be used at this time (seconds since 1970).
    pub fn is_over(&self, now: i64) -> bool {
        self.revoked || self.expires.is_some_and(|expires| expires <= now)
    }
}

/// Returns the number of the line with the byte at this position, from 1.
fn line_of(text: &str, position: usize) -> usize {
    1 + text.bytes().take(position).filter(|byte| *byte == b'\n').count()
}

fn unix_of(at: &toml::value::Datetime) -> Result<i64, String> {
    let problem = || format!("expires: {at}: a time with its offset is expected, e.g. 2027-06-30T00:00:00Z");
    OffsetDateTime::parse(&at.to_string(), &Rfc3339)
        .map(OffsetDateTime::unix_timestamp)
        .map_err(|_| problem())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Token;

    fn entry(name: &str, role: &str, credential: &str) -> String {
        format!("[[caller]]\nname = \"{name}\"\nrole = \"{role}\"\n{credential}\n")
    }

    fn token() -> (Token, String) {
        let token = Token::generate().unwrap();
        let line = format!("token = \"{}\"", token.hash());
        (token, line)
    }

    #[test]
    fn a_token_finds_its_caller_until_it_expires() {
        let (alice, line) = token();
        let text = entry("alice", "trainer", &format!("{line}\nexpires = 1970-01-01T00:01:00Z"));
        let callers = Callers::parse(&text).unwrap();
        let found = callers.by_token(alice.text()).unwrap();
        assert_eq!(
            (found.caller.name.as_str(), found.caller.role),
            ("alice", Role::Trainer)
        );
        assert!(!found.is_over(59) && found.is_over(60));
        assert!(callers.by_token("qres_other").is_none());
    }

    #[test]
    fn two_tokens_may_stand_for_one_caller_so_that_they_can_be_exchanged() {
        let ((old, first), (new, second)) = (token(), token());
        let text = entry("alice", "trainer", &first) + &entry("alice", "trainer", &second);
        let callers = Callers::parse(&text).unwrap();
        assert!(callers.by_token(old.text()).is_some() && callers.by_token(new.text()).is_some());
    }

    #[test]
    fn every_problem_is_named_with_its_line() {
        let (secret, line) = token();
        let text = entry("alice", "boss", &line)
            + &entry("", "reader", "certificate = \"alice\"")
            + &entry("bob", "reader", &format!("token = \"{}\"", secret.text()))
            + &entry("carol", "reader", "")
            + &entry("dave", "reader", "certificate = \"DNS:d\"\nexpires = 2027-01-01");
        let error = Callers::parse(&text).unwrap_err();
        let said = error.to_string();
        for part in [
            "line 1: role \"boss\"",
            "line 5: name: a name is expected",
            "line 5: certificate:",
            "line 9: token: a token itself",
            "line 13: either token or certificate",
            "line 17: expires: 2027-01-01: a time with its offset",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains(secret.text()));
    }

    #[test]
    fn unknown_keys_and_doubles_are_refused() {
        let (_, line) = token();
        let twice = entry("a", "reader", &line) + &entry("b", "reader", &line);
        assert!(Callers::parse(&twice).unwrap_err().to_string().contains("twice"));
        let (_, other) = token();
        let roles = entry("a", "reader", &line) + &entry("a", "operator", &other);
        assert!(Callers::parse(&roles).unwrap_err().to_string().contains("one role"));
        let unknown = Callers::parse("[[caller]]\nname = \"a\"\nrol = \"reader\"\n").unwrap_err();
        assert!(unknown.to_string().contains("rol"), "{unknown}");
    }
}
