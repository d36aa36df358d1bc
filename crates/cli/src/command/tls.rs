//! The commands `qres tls …`: a CA and certificates for a trial, without a node. A swarm that lasts takes them from its own CA or
//! from cert-manager.

use std::fs;
use std::path::{Path, PathBuf};

use qres_access::{ROLE_PREFIX, Role};
use qres_files::private;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use serde_json::json;
use time::{Duration, OffsetDateTime};

use crate::failure::Failure;
use crate::output::Output;
use crate::show::lines::Lines;

/// Name of the CA that `qres tls init` makes.
const CA_NAME: &str = "qres trial CA";
/// Days for which the CA holds.
const CA_DAYS: u32 = 3650;
/// Days for which other certificates hold: the most that Apple's platforms take from a private CA.
const DAYS: u32 = 825;

/// Makes a CA and certificates.
#[derive(Debug, clap::Subcommand)]
pub enum TlsCommand {
    /// Make a CA, a certificate for the node and one for an operator, for a trial
    Init(Init),
    /// Make a certificate for one more caller, with the CA of `qres tls init`
    Client(Client),
}

/// Makes everything that one node and its operator need.
#[derive(Debug, clap::Args)]
pub struct Init {
    /// Directory for the files, made if it is not there
    #[arg(long, value_name = "DIR", default_value = "tls")]
    out: PathBuf,
    /// A name or an IP address of the node; may be repeated [default: localhost, 127.0.0.1 and ::1]
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    host: Vec<String>,
    /// Name of the operator
    #[arg(long, default_value = "operator")]
    name: String,
}

/// Makes a certificate for a caller.
#[derive(Debug, clap::Args)]
pub struct Client {
    /// Directory with the CA
    #[arg(long, value_name = "DIR", default_value = "tls")]
    dir: PathBuf,
    /// Name of the caller; a trainer submits under this name
    #[arg(long)]
    name: String,
    /// What the caller may do: reader, trainer or operator
    #[arg(long)]
    role: Role,
}

/// A CA that can sign: its certificate and its key.
struct Ca {
    certificate: Certificate,
    key: KeyPair,
}

impl TlsCommand {
    /// Runs the command.
    pub fn run(self, output: Output) -> Result<(), Failure> {
        match self {
            Self::Init(init) => init.run(output),
            Self::Client(client) => client.run(output),
        }
    }
}

impl Init {
    fn run(self, output: Output) -> Result<(), Failure> {
        let caller = caller_params(&self.name, Role::Operator)?;
        fs::create_dir_all(&self.out).map_err(|error| Failure::file(&self.out, error))?;
        for name in ["ca", "server", &self.name] {
            refuse_overwriting(&self.out, name)?;
        }
        let ca = Ca::with(KeyPair::generate().map_err(failed)?)?;
        let hosts = match self.host.is_empty() {
            true => ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec(),
            false => self.host,
        };
        let server = server_params(hosts)?;
        write(&self.out, "ca", &ca.certificate.pem(), &ca.key)?;
        ca.sign(server, &self.out, "server")?;
        ca.sign(caller, &self.out, &self.name)?;
        let dir = self.out.display().to_string();
        output.print(
            || json!({"dir": dir, "files": ["ca", "server", self.name]}),
            || -> Lines {
                let name = &self.name;
                let text = format!(
                    "a CA, a certificate for the node and one for the operator are in {dir}:\n\n  \
                     qres-daemon --grpc-tls-cert {dir}/server.crt --grpc-tls-key {dir}/server.key --grpc-client-ca {dir}/ca.crt\n  \
                     qres status --tls-ca {dir}/ca.crt --tls-cert {dir}/{name}.crt --tls-key {dir}/{name}.key\n\n\
                     {dir}/ca.key signs further callers (qres tls client): keep it away from the node."
                );
                text.lines().collect()
            },
        );
        Ok(())
    }
}

impl Client {
    fn run(self, output: Output) -> Result<(), Failure> {
        let caller = caller_params(&self.name, self.role)?;
        refuse_overwriting(&self.dir, &self.name)?;
        let path = self.dir.join("ca.key");
        let pem = fs::read_to_string(&path).map_err(|error| Failure::file(&path, error))?;
        let key = KeyPair::from_pem(&pem).map_err(|error| Failure::file(&path, error))?;
        // The issuer of a certificate is the CA's name and key, so the CA's certificate need not be read.
        let ca = Ca::with(key)?;
        ca.sign(caller, &self.dir, &self.name)?;
        let stem = self.dir.join(&self.name).display().to_string();
        output.print(
            || json!({"certificate": format!("{stem}.crt"), "key": format!("{stem}.key")}),
            || {
                format!(
                    "{stem}.crt and {stem}.key are for {}, with the role {}",
                    self.name, self.role
                )
            },
        );
        Ok(())
    }
}

impl Ca {
    fn with(key: KeyPair) -> Result<Self, Failure> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, CA_NAME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        hold(&mut params, CA_DAYS);
        let certificate = params.self_signed(&key).map_err(failed)?;
        Ok(Self { certificate, key })
    }

    fn sign(&self, params: CertificateParams, dir: &Path, name: &str) -> Result<(), Failure> {
        let key = KeyPair::generate().map_err(failed)?;
        let signed = params.signed_by(&key, &self.certificate, &self.key).map_err(failed)?;
        write(dir, name, &signed.pem(), &key)
    }
}

fn server_params(hosts: Vec<String>) -> Result<CertificateParams, Failure> {
    let mut params = CertificateParams::new(hosts).map_err(|error| Failure::local(format!("--host: {error}")))?;
    params.distinguished_name.push(DnType::CommonName, "qres node");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    hold(&mut params, DAYS);
    Ok(params)
}

fn caller_params(name: &str, role: Role) -> Result<CertificateParams, Failure> {
    if ["ca", "server"].contains(&name) {
        return Err(Failure::local(format!(
            "--name {name}: the files of this name are not a caller's"
        )));
    }
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(fine) {
        return Err(Failure::local(format!(
            "--name {name:?}: 1 to 64 of [A-Za-z0-9._-], as it names files too"
        )));
    }
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
        .distinguished_name
        .push(DnType::OrganizationName, format!("{ROLE_PREFIX}{role}"));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    hold(&mut params, DAYS);
    Ok(params)
}

/// Lets a certificate hold for this many days, and from an hour ago, because clocks differ.
fn hold(params: &mut CertificateParams, days: u32) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::HOUR;
    params.not_after = now + Duration::days(days.into());
}

fn refuse_overwriting(dir: &Path, name: &str) -> Result<(), Failure> {
    let there = [".crt", ".key"]
        .map(|end| dir.join(format!("{name}{end}")))
        .into_iter()
        .find(|path| path.exists());
    match there {
        Some(path) => Err(Failure::file(
            &path,
            "is there already: remove it first, or choose another name or directory",
        )),
        None => Ok(()),
    }
}

fn write(dir: &Path, name: &str, certificate: &str, key: &KeyPair) -> Result<(), Failure> {
    let dir = std::path::absolute(dir).map_err(|error| Failure::file(dir, error))?;
    for (end, pem) in [("crt", certificate.to_owned()), ("key", key.serialize_pem())] {
        let path = dir.join(format!("{name}.{end}"));
        private::replace(&path, pem.as_bytes()).map_err(|error| Failure::file(&path, error))?;
    }
    Ok(())
}

fn failed(error: rcgen::Error) -> Failure {
    Failure::local(format!("the certificate cannot be made: {error}"))
}
