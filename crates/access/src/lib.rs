//! Who may call a node, without a network: ADR 10 has the words and the reasons.
//!
//! ```text
//!  token ──────────────┐                         ┌─► Caller { name, role }
//!  client certificate ─┼─► Policy::caller(shown) ┤
//!  Unix socket ────────┘                         └─► Refusal: what is missing, and the remedy
//!  nothing ────────────┘
//! ```
//!
//! A [`Policy`] is made from a callers file ([`Callers`]) and from the CA of client certificates ([`ClientCa`]). It never
//! changes: when a file changes, the daemon makes a new one. [`tls::server`] makes the other half, the configuration of TLS.
//!
//! ```
//! use qres_access::{Callers, Policy, Role, Shown, Token};
//!
//! let token = Token::generate()?;
//! let file = format!("[[caller]]\nname = \"alice\"\nrole = \"trainer\"\ntoken = \"{}\"\n", token.hash());
//! let policy = Policy::new(Some(Callers::parse(&file)?), None);
//!
//! let shown = Shown { token: Some(token.text()), ..Shown::default() };
//! let caller = policy.caller(&shown, 0)?;
//! assert_eq!((caller.name.as_str(), caller.role), ("alice", Role::Trainer));
//! assert!(policy.caller(&Shown::default(), 0).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod caller;
mod callers;
mod certificate;
mod client_ca;
mod pem;
mod policy;
mod refusal;
mod role;
pub mod tls;
mod token;

pub use caller::{Caller, Credential, NAME_BYTES_MAX};
pub use callers::{Callers, CallersError, Entry};
pub use certificate::CertificateNames;
pub use client_ca::ClientCa;
pub use policy::{Policy, Shown};
pub use refusal::Refusal;
pub use role::{ROLE_PREFIX, Role, UnknownRole};
pub use token::{Token, TokenHash};
