//! Tests of [`super::Policy`], with certificates that a test CA signs.

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, KeyPair};
use time::{Duration, OffsetDateTime};

use super::*;
use crate::role::Role;
use crate::token::Token;

struct Ca {
    certificate: Certificate,
    key: KeyPair,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self {
            certificate: params.self_signed(&key).unwrap(),
            key,
        }
    }

    fn client_ca(&self) -> ClientCa {
        ClientCa::read("ca.crt", self.certificate.pem().as_bytes()).unwrap()
    }

    /// Signs a certificate that holds for an hour around the present.
    fn sign(&self, name: &str, organization: Option<&str>) -> Vec<CertificateDer<'static>> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(organization) = organization {
            params.distinguished_name.push(DnType::OrganizationName, organization);
        }
        params.not_before = at(-1800);
        params.not_after = at(1800);
        let signed = params
            .signed_by(&KeyPair::generate().unwrap(), &self.certificate, &self.key)
            .unwrap();
        vec![signed.der().clone()]
    }
}

/// The present of the tests: 2026-11-30.
const NOW: i64 = 1_796_000_000;

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW).unwrap() + Duration::seconds(seconds)
}

fn by_certificate<'a>(chain: &'a [CertificateDer<'static>]) -> Shown<'a> {
    Shown {
        certificates: chain,
        ..Shown::default()
    }
}

fn callers(name: &str, role: &str, credential: &str) -> Callers {
    Callers::parse(&format!(
        "[[caller]]\nname = \"{name}\"\nrole = \"{role}\"\n{credential}\n"
    ))
    .unwrap()
}

#[test]
fn a_node_without_credentials_takes_everybody_as_its_operator() {
    let policy = Policy::default();
    let shown = Shown {
        token: Some("qres_anything"),
        ..Shown::default()
    };
    assert_eq!(policy.caller(&shown, NOW), Ok(Caller::local()));
}

#[test]
fn with_any_credential_configured_the_default_is_to_refuse() {
    let policies = [
        Policy::new(Some(Callers::default()), None),
        Policy::new(None, Some(Ca::new().client_ca())),
    ];
    for policy in policies {
        assert_eq!(policy.caller(&Shown::default(), NOW), Err(Refusal::Missing));
    }
}

#[test]
fn a_certificate_of_the_ca_with_a_role_names_its_caller() {
    let ca = Ca::new();
    let policy = Policy::new(None, Some(ca.client_ca()));
    let caller = policy
        .caller(&by_certificate(&ca.sign("alice", Some("qres:trainer"))), NOW)
        .unwrap();
    assert_eq!((caller.name.as_str(), caller.role), ("alice", Role::Trainer));
    let nameless = ca.sign("bob", None);
    assert_eq!(policy.caller(&by_certificate(&nameless), NOW), Err(Refusal::Unnamed));
}

#[test]
fn a_certificate_of_another_ca_or_past_its_time_is_refused() {
    let (ca, other) = (Ca::new(), Ca::new());
    let policy = Policy::new(None, Some(ca.client_ca()));
    let foreign = other.sign("alice", Some("qres:operator"));
    assert!(matches!(
        policy.caller(&by_certificate(&foreign), NOW),
        Err(Refusal::Certificate(_))
    ));
    let alice = ca.sign("alice", Some("qres:operator"));
    for (time, holds) in [(NOW - 1801, false), (NOW, true), (NOW + 1801, false)] {
        assert_eq!(policy.caller(&by_certificate(&alice), time).is_ok(), holds, "{time}");
    }
    // The CA was exchanged, or client certificates are no longer taken, while the connection is open.
    let exchanged = Policy::new(None, Some(other.client_ca()));
    assert!(exchanged.caller(&by_certificate(&alice), NOW).is_err());
    let none = Policy::new(Some(Callers::default()), None);
    assert!(none.caller(&by_certificate(&alice), NOW).is_err());
}

#[test]
fn a_callers_file_can_name_a_certificate_and_wins_over_its_own_words() {
    let ca = Ca::new();
    let file = callers("alice of the lab", "reader", "certificate = \"CN:alice\"");
    let policy = Policy::new(Some(file), Some(ca.client_ca()));
    let caller = policy
        .caller(&by_certificate(&ca.sign("alice", Some("qres:operator"))), NOW)
        .unwrap();
    assert_eq!((caller.name.as_str(), caller.role), ("alice of the lab", Role::Reader));
    let over = callers(
        "alice",
        "reader",
        "certificate = \"CN:alice\"\nexpires = 2020-01-01T00:00:00Z",
    );
    let policy = Policy::new(Some(over), Some(ca.client_ca()));
    let alice = ca.sign("alice", Some("qres:operator"));
    assert_eq!(policy.caller(&by_certificate(&alice), NOW), Err(Refusal::Over));
    // A revoked entry must not let the certificate speak for itself again.
    let revoked = callers("alice", "reader", "certificate = \"CN:alice\"\nrevoked = true");
    let policy = Policy::new(Some(revoked), Some(ca.client_ca()));
    assert_eq!(policy.caller(&by_certificate(&alice), NOW), Err(Refusal::Over));
}

#[test]
fn a_bad_token_is_not_passed_over_for_a_certificate_or_the_socket() {
    let ca = Ca::new();
    let policy = Policy::new(Some(Callers::default()), Some(ca.client_ca()));
    let alice = ca.sign("alice", Some("qres:operator"));
    for by_socket in [false, true] {
        let shown = Shown {
            token: Some("qres_bad"),
            certificates: &alice,
            by_socket,
        };
        assert_eq!(policy.caller(&shown, NOW), Err(Refusal::Token));
    }
}

#[test]
fn the_socket_is_a_credential_and_a_token_there_lowers_the_role() {
    let token = Token::generate().unwrap();
    let policy = Policy::new(
        Some(callers("t", "trainer", &format!("token = \"{}\"", token.hash()))),
        None,
    );
    let mut shown = Shown {
        by_socket: true,
        ..Shown::default()
    };
    assert_eq!(policy.caller(&shown, NOW), Ok(Caller::socket()));
    shown.token = Some(token.text());
    assert_eq!(policy.caller(&shown, NOW).unwrap().role, Role::Trainer);
}

#[test]
fn roles_permit_up_to_their_own() {
    let token = Token::generate().unwrap();
    let file = callers("alice", "trainer", &format!("token = \"{}\"", token.hash()));
    let policy = Policy::new(Some(file), None);
    let shown = Shown {
        token: Some(token.text()),
        ..Shown::default()
    };
    let caller = policy.caller(&shown, NOW).unwrap();
    assert!(caller.permit(Role::Reader).is_ok() && caller.permit(Role::Trainer).is_ok());
    let refused = caller.permit(Role::Operator).unwrap_err().to_string();
    assert!(
        refused.contains("alice") && refused.contains("trainer") && refused.contains("operator"),
        "{refused}"
    );
}
