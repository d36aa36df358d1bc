//! What a client shows of itself, and the CA by which it knows the node.

use std::fmt;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::ClientError;
use crate::Address;

/// The credentials of a client. The default shows nothing, and trusts the system's CAs where the address begins with `https://`.
#[derive(Clone, Default)]
pub struct Credentials {
    /// The CA of the node's certificate, PEM. With it the connection is encrypted, also where the address says `http`.
    pub ca: Option<Vec<u8>>,
    /// The client's certificate chain and private key, PEM.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// The name that the node's certificate must have, if it is not the address's host.
    pub server_name: Option<String>,
    /// The bearer token.
    pub token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys and tokens stay out of logs.
        f.debug_struct("Credentials")
            .field("ca", &self.ca.is_some())
            .field("identity", &self.identity.is_some())
            .field("server_name", &self.server_name)
            .field("token", &self.token.is_some())
            .finish()
    }
}

impl Credentials {
    /// Returns the address with TLS if these credentials need it.
    pub(super) fn applied_to(&self, address: Address) -> Address {
        match address {
            Address::Tcp { host, port, tls } => Address::Tcp {
                host,
                port,
                tls: tls || self.ca.is_some() || self.identity.is_some(),
            },
            socket @ Address::Socket(_) => socket,
        }
    }

    /// Returns the endpoint with TLS, if the address has it.
    pub(super) fn secure(&self, endpoint: Endpoint, address: &Address) -> Result<Endpoint, ClientError> {
        let Address::Tcp { host, tls: true, .. } = address else {
            return Ok(endpoint);
        };
        let mut tls = ClientTlsConfig::new().domain_name(self.server_name.as_deref().unwrap_or(host));
        tls = match &self.ca {
            Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
            None => tls.with_native_roots(),
        };
        if let Some((chain, key)) = &self.identity {
            tls = tls.identity(Identity::from_pem(chain, key));
        }
        let failed =
            |error| ClientError::Credentials(format!("TLS cannot be used: {}", super::error::innermost(&error)));
        endpoint.tls_config(tls).map_err(failed)
    }

    /// Returns the metadata with the token. A token that others could read on its way is an error.
    pub(super) fn bearer(&self, address: &Address) -> Result<Option<MetadataValue<Ascii>>, ClientError> {
        let Some(token) = &self.token else { return Ok(None) };
        if !address.is_local() && !matches!(address, Address::Tcp { tls: true, .. }) {
            let problem = format!(
                "a token for {address} could be read on its way: write https://{address}, or give the node's CA"
            );
            return Err(ClientError::Credentials(problem));
        }
        let mut value: MetadataValue<Ascii> = format!("Bearer {token}")
            .parse()
            .map_err(|_| ClientError::Credentials("the token has characters that no token has".to_owned()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(address: &str) -> Result<Option<MetadataValue<Ascii>>, ClientError> {
        let credentials = Credentials {
            token: Some("qres_secret".into()),
            ..Credentials::default()
        };
        credentials.bearer(&address.parse().unwrap())
    }

    #[test]
    fn a_token_goes_only_where_others_cannot_read_it() {
        for address in [
            "localhost",
            "127.0.0.1:1",
            "[::1]",
            "unix:/run/x",
            "https://node.example",
        ] {
            assert_eq!(bearer(address).unwrap().unwrap(), "Bearer qres_secret", "{address}");
        }
        let error = bearer("node.example").unwrap_err().to_string();
        assert!(
            error.contains("https://node.example:4002") && !error.contains("secret"),
            "{error}"
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        let credentials = Credentials {
            token: Some("qres_secret".into()),
            identity: Some((b"chain".to_vec(), b"key".to_vec())),
            ..Credentials::default()
        };
        let shown = format!("{credentials:?}");
        assert!(!shown.contains("secret") && !shown.contains("key"), "{shown}");
    }

    #[test]
    fn a_ca_means_tls() {
        let credentials = Credentials {
            ca: Some(vec![]),
            ..Credentials::default()
        };
        let address = credentials.applied_to("node.example".parse().unwrap());
        assert_eq!(address.to_string(), "https://node.example:4002");
    }
}
