//! The names in a client certificate.

use std::fmt;
use std::str::FromStr;

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::caller::{self, Caller, Credential};
use crate::role::{ROLE_PREFIX, Role};

/// Most names of one certificate; one with more is not read.
const NAMES_MAX: usize = 64;

/// One name of a certificate, as a callers file writes it: `DNS:`, `URI:`, `EMAIL:` or `CN:` and the name after it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CertificateName {
    kind: Kind,
    name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Dns,
    Uri,
    Email,
    CommonName,
}

/// What a certificate says about its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateNames {
    /// Subject alternative names first, then the common name.
    pub(crate) names: Vec<CertificateName>,
    /// The caller that the certificate names by itself: common name, and role as organization.
    pub(crate) caller: Option<Caller>,
    /// Seconds since 1970 of the first and of the last second at which the certificate holds.
    pub valid: (i64, i64),
}

impl Kind {
    const ALL: [Self; 4] = [Self::Dns, Self::Uri, Self::Email, Self::CommonName];

    const fn prefix(self) -> &'static str {
        match self {
            Self::Dns => "DNS:",
            Self::Uri => "URI:",
            Self::Email => "EMAIL:",
            Self::CommonName => "CN:",
        }
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.kind.prefix(), self.name)
    }
}

impl FromStr for CertificateName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let read = Kind::ALL
            .into_iter()
            .find_map(|kind| Some((kind, text.strip_prefix(kind.prefix())?)));
        match read {
            Some((kind, name)) if !name.is_empty() => Ok(Self::new(kind, name)),
            _ => Err(format!(
                "{text:?}: DNS:, URI:, EMAIL: or CN: and a name after it are expected"
            )),
        }
    }
}

impl CertificateName {
    /// DNS names and e-mail addresses are compared in lower case.
    fn new(kind: Kind, name: &str) -> Self {
        let name = match kind {
            Kind::Dns | Kind::Email => name.to_ascii_lowercase(),
            Kind::Uri | Kind::CommonName => name.to_owned(),
        };
        Self { kind, name }
    }
}

impl CertificateNames {
    /// Returns the caller that the certificate names by itself.
    pub fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }

    /// Reads a certificate in DER. Returns `None` if it cannot be read.
    pub fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let subject = certificate.subject();
        // A name that cannot be read might be the one that a callers file refuses, so the whole certificate is unreadable.
        let common: Vec<&str> = subject
            .iter_common_name()
            .map(|cn| cn.as_str().ok())
            .collect::<Option<_>>()?;
        let alternative = certificate.subject_alternative_name().ok()?;
        let mut names: Vec<_> = alternative
            .iter()
            .flat_map(|extension| &extension.value.general_names)
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(CertificateName::new(Kind::Dns, name)),
                GeneralName::URI(name) => Some(CertificateName::new(Kind::Uri, name)),
                GeneralName::RFC822Name(name) => Some(CertificateName::new(Kind::Email, name)),
                _ => None,
            })
            .collect();
        names.extend(common.iter().map(|name| CertificateName::new(Kind::CommonName, name)));
        if names.len() > NAMES_MAX {
            return None;
        }
        let organizations = subject.iter_organization().filter_map(|o| o.as_str().ok());
        let role = organizations
            .filter_map(|o| o.strip_prefix(ROLE_PREFIX)?.parse::<Role>().ok())
            .max();
        // Two common names would leave it open who calls.
        let caller = match (common.as_slice(), role) {
            ([name], Some(role)) if caller::problem(name).is_none() => Some(Caller {
                name: (*name).to_owned(),
                role,
                credential: Credential::Certificate,
            }),
            _ => None,
        };
        let validity = certificate.validity();
        Some(Self {
            names,
            caller,
            valid: (validity.not_before.timestamp(), validity.not_after.timestamp()),
        })
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(common: &str, organizations: &[&str], alternative: Vec<SanType>) -> CertificateNames {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common);
        for organization in organizations {
            params.distinguished_name.push(DnType::OrganizationName, *organization);
        }
        params.subject_alt_names = alternative;
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        CertificateNames::read(made.der()).unwrap()
    }

    #[test]
    fn common_name_and_organization_name_a_caller() {
        let names = certificate("alice", &["qres:trainer"], vec![]);
        let caller = names.caller.unwrap();
        assert_eq!((caller.name.as_str(), caller.role), ("alice", Role::Trainer));
        assert_eq!(caller.trainer(), Some("alice"));
    }

    #[test]
    fn a_certificate_without_a_role_or_with_a_bad_name_names_nobody() {
        assert_eq!(certificate("alice", &[], vec![]).caller, None);
        assert_eq!(certificate("alice", &["qres:root"], vec![]).caller, None);
        assert_eq!(certificate("alice", &["trainer"], vec![]).caller, None);
        assert_eq!(certificate("al\u{1b}ice", &["qres:trainer"], vec![]).caller, None);
    }

    #[test]
    fn alternative_names_are_read_by_kind() {
        let names = certificate(
            "alice",
            &[],
            vec![
                SanType::DnsName("Alice.Example".try_into().unwrap()),
                SanType::URI("spiffe://swarm/alice".try_into().unwrap()),
            ],
        );
        let texts: Vec<String> = names.names.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["DNS:alice.example", "URI:spiffe://swarm/alice", "CN:alice"]);
        assert_eq!("DNS:ALICE.example".parse(), Ok(names.names[0].clone()));
    }

    #[test]
    fn a_certificate_with_names_that_cannot_all_be_looked_at_is_not_read() {
        let sans = (0..NAMES_MAX)
            .map(|n| SanType::DnsName(format!("n{n}.example").try_into().unwrap()))
            .collect();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "boss");
        params.subject_alt_names = sans;
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(CertificateNames::read(made.der()), None);
    }

    #[test]
    fn garbage_is_no_certificate() {
        assert_eq!(CertificateNames::read(b"-----BEGIN CERTIFICATE-----"), None);
        assert!("alice".parse::<CertificateName>().is_err());
        assert!("DNS:".parse::<CertificateName>().is_err());
    }
}
