//! The files and variables by which this tool shows who it is.

use std::fs;
use std::path::{Path, PathBuf};

use qres_api::client::Credentials;

use crate::failure::Failure;

/// Who calls, and the CA by which the node is known.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct CredentialArgs {
    /// CA of the node's certificate, PEM; the connection is then encrypted. Without it https:// trusts the system's CAs
    #[arg(long, global = true, env = "QRES_TLS_CA", value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// This caller's certificate, PEM
    #[arg(
        long,
        global = true,
        env = "QRES_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,
    /// Private key of this caller's certificate, PEM
    #[arg(
        long,
        global = true,
        env = "QRES_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,
    /// Name in the node's certificate, if it is not the address's host
    #[arg(long, global = true, env = "QRES_TLS_NAME", value_name = "NAME")]
    pub tls_name: Option<String>,
    /// File with this caller's token; the variable QRES_TOKEN may hold the token itself
    #[arg(long, global = true, env = "QRES_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

impl CredentialArgs {
    /// Reads the files. `variable` is the value of QRES_TOKEN, which a file wins over.
    pub fn read(&self, variable: Option<String>) -> Result<Credentials, Failure> {
        let token = match set(self.token_file.as_ref()) {
            Some(path) => Some(token(path)?),
            None => variable
                .map(|token| token.trim().to_owned())
                .filter(|token| !token.is_empty()),
        };
        let identity = match (set(self.tls_cert.as_ref()), set(self.tls_key.as_ref())) {
            (Some(chain), Some(key)) => Some((read(chain)?, read(key)?)),
            (None, None) => None,
            (Some(_), None) => {
                return Err(Failure::local(
                    "--tls-cert needs its private key: --tls-key (QRES_TLS_KEY)",
                ));
            }
            (None, Some(_)) => {
                return Err(Failure::local(
                    "--tls-key needs its certificate: --tls-cert (QRES_TLS_CERT)",
                ));
            }
        };
        Ok(Credentials {
            ca: set(self.tls_ca.as_ref()).map(|path| read(path)).transpose()?,
            identity,
            server_name: self.tls_name.clone().filter(|name| !name.is_empty()),
            token,
        })
    }
}

/// Returns a path that is set: an empty variable counts as none.
fn set(path: Option<&PathBuf>) -> Option<&PathBuf> {
    path.filter(|path| !path.as_os_str().is_empty())
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::file(path, error))
}

fn token(path: &Path) -> Result<String, Failure> {
    let bytes = read(path)?;
    let text = String::from_utf8(bytes).map_err(|_| Failure::file(path, "no text: a token is expected"))?;
    match text.trim() {
        "" => Err(Failure::file(path, "empty: a token is expected")),
        token => Ok(token.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_file_wins_over_the_variable_and_its_line_end_is_no_part_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "qres_file\n").unwrap();
        let args = CredentialArgs {
            token_file: Some(path.clone()),
            ..CredentialArgs::default()
        };
        assert_eq!(args.read(Some("qres_var".into())).unwrap().token.unwrap(), "qres_file");
        fs::write(&path, "\n").unwrap();
        assert!(args.read(None).is_err());
        let none = CredentialArgs::default();
        assert_eq!(
            none.read(Some(" qres_var\n".into())).unwrap().token.unwrap(),
            "qres_var"
        );
        assert_eq!(none.read(Some(String::new())).unwrap().token, None);
    }
}
