//! Callers: the callers file, and the names in a certificate that a caller shows.

use qres_access::{Callers, CertificateNames};

use crate::Target;

/// Reads a callers file: there is a value, or an error with a text. Every caller of the value has a name that can be printed.
pub const FILE: Target = Target {
    name: "callers",
    run: |_, data| match std::str::from_utf8(data).map(Callers::parse) {
        Ok(Ok(callers)) => {
            let printable = |name: &str| name.chars().all(qres_api::is_printable);
            assert!(callers.entries().iter().all(|entry| printable(&entry.caller.name)));
            true
        }
        Ok(Err(error)) => {
            assert!(!error.0.is_empty() && error.0.iter().all(|problem| !problem.is_empty()));
            false
        }
        Err(_) => false,
    },
    seeds: |_| {
        let token = format!(
            "token = \"blake3:{}\"\nexpires = 2027-06-30T00:00:00Z\n",
            "ab".repeat(32)
        );
        let certificate = "certificate = \"URI:spiffe://swarm/dashboard\"\n";
        [
            String::new(),
            format!("[[caller]]\nname = \"alice\"\nrole = \"trainer\"\n{token}"),
            format!("# a dashboard\n[[caller]]\nname = \"dashboard\"\nrole = \"reader\"\n{certificate}"),
        ]
        .map(String::into_bytes)
        .into()
    },
};

/// Reads the names of a certificate in DER. A caller that it names by itself has a name that can be printed.
pub const CERTIFICATE: Target = Target {
    name: "certificate",
    run: |_, data| match CertificateNames::read(data) {
        Some(names) => {
            let caller = names.caller();
            assert!(caller.is_none_or(|caller| caller.name.chars().all(qres_api::is_printable)));
            true
        }
        None => false,
    },
    // Certificates that `qres tls` made.
    seeds: |_| {
        vec![
            include_bytes!("callers/client.der").to_vec(),
            include_bytes!("callers/server.der").to_vec(),
        ]
    },
};
