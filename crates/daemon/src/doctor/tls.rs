//! The files of TLS, of callers and of the network's key.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use qres_access::ClientCa;
use qres_access::tls::{self, Pem};
use qres_node::clock;
use qres_node::finding::Finding;

use crate::config::{Config, GrpcConfig, SecurityFiles};
use crate::{network_key, security};

const TLS: &str = "tls";
const CLIENT_CA: &str = "client-ca";
const CALLERS: &str = "callers";
const NETWORK_KEY: &str = "network-key";

const DAY: i64 = 24 * 60 * 60;
/// Time before the end of a certificate from which on an operator is warned: it leaves room for a holiday.
const EXPIRES_SOON: i64 = 14 * DAY;
/// Mode bit with which every user may read a file.
const READABLE_BY_OTHERS: u32 = 0o004;

const RENEW: &str = "exchange the files for a new certificate: the daemon takes it within 5 s, without a restart";

/// Judges all files that the configuration names.
pub fn findings(config: &Config) -> Vec<Finding> {
    let now = i64::try_from(clock::unix_ms() / 1000).unwrap_or(i64::MAX);
    let files = &config.grpc.security;
    let mut all = vec![server(&config.grpc, now)];
    if let Some(path) = &files.client_ca {
        all.push(client_ca(path, now));
    }
    all.push(callers(files));
    all.push(match &config.network_key {
        None => Finding::ok(
            NETWORK_KEY,
            "none is configured: whoever reaches the mesh's port may connect",
        ),
        Some(path) => match network_key::read(path) {
            Err(problem) => Finding::failed(NETWORK_KEY, problem, "name a file that `qres network-key` made"),
            Ok(_) => secret(
                NETWORK_KEY,
                path,
                format!("{} holds a key of a network", path.display()),
            ),
        },
    });
    all
}

/// Makes the finding that a changed file is not used.
pub fn refused_change() -> Finding {
    let text =
        "a file of TLS or of callers has changed and cannot be used: the earlier one stays in use until the next start";
    Finding::failed(
        TLS,
        text,
        "the log names the file and the problem (`a changed file is not used`): correct it",
    )
}

fn server(grpc: &GrpcConfig, now: i64) -> Finding {
    let Some((chain_path, key_path)) = &grpc.security.tls else {
        return without_tls(grpc);
    };
    let failed = |problem: String| Finding::failed(TLS, problem, "name a certificate chain and its key, both in PEM");
    let (chain_bytes, key_bytes) = match (security::read(chain_path), security::read(key_path)) {
        (Ok(chain), Ok(key)) => (chain, key),
        (Err(problem), _) | (_, Err(problem)) => return failed(problem),
    };
    let (chain_name, key_name) = (chain_path.display().to_string(), key_path.display().to_string());
    let pem = |name, bytes| Pem { name, bytes };
    let chain = pem(&chain_name, &chain_bytes);
    if let Err(problem) = tls::server(chain, pem(&key_name, &key_bytes), None, grpc.security.oldest) {
        return failed(problem.to_string());
    }
    let Some(valid) = tls::validity(chain) else {
        return failed(format!("{chain_name}: its time cannot be read"));
    };
    if let Some(problem) = expiry(TLS, &chain_name, valid, now) {
        return problem;
    }
    if let Some(at) = tls::gap(chain) {
        let text = format!(
            "{chain_name}: certificate {at} is not issued by the one after it, so callers may refuse the chain"
        );
        return Finding::warning(
            TLS,
            text,
            "put the node's certificate first, then each issuer after the one that it signed",
        );
    }
    let days = (valid.1 - now) / DAY;
    let text = format!("{chain_name} and {key_name} belong together; the chain holds for {days} more days");
    secret(TLS, key_path, text)
}

fn without_tls(grpc: &GrpcConfig) -> Finding {
    if grpc.addr.ip().is_loopback() {
        let text = "none is configured: gRPC is not encrypted, and listens for this machine alone";
        return Finding::ok(TLS, text);
    }
    Finding::warning(
        TLS,
        format!(
            "gRPC is not encrypted, and {} can be reached from other machines (grpc_insecure)",
            grpc.addr
        ),
        "give --grpc-tls-cert, --grpc-tls-key and credentials (`qres tls init` makes them for a trial)",
    )
}

/// Judges the time of a chain; `None` if it holds for long enough.
fn expiry(check: &'static str, name: &str, (start, end): (i64, i64), now: i64) -> Option<Finding> {
    if now < start {
        let text = format!(
            "{name} is not valid before {} hours from now",
            (start - now + 3599) / 3600
        );
        return Some(Finding::failed(check, text, "set this machine's clock, or wait"));
    }
    if now > end {
        let text = format!(
            "{name} ended {} hours ago: callers refuse this node",
            (now - end) / 3600
        );
        return Some(Finding::failed(check, text, RENEW));
    }
    let soon = end - now < EXPIRES_SOON;
    soon.then(|| Finding::warning(check, format!("{name} ends in {} hours", (end - now) / 3600), RENEW))
}

fn client_ca(path: &Path, now: i64) -> Finding {
    let name = path.display().to_string();
    let failed = |problem: String| {
        Finding::failed(
            CLIENT_CA,
            problem,
            "name the certificate of the CA that signs callers, in PEM",
        )
    };
    let bytes = match security::read(path) {
        Ok(bytes) => bytes,
        Err(problem) => return failed(problem),
    };
    if let Err(problem) = ClientCa::read(&name, &bytes) {
        return failed(problem.to_string());
    }
    let pem = Pem {
        name: &name,
        bytes: &bytes,
    };
    let late = tls::validity(pem).and_then(|valid| expiry(CLIENT_CA, &name, valid, now));
    late.unwrap_or_else(|| Finding::ok(CLIENT_CA, format!("{name} can be used")))
}

fn callers(files: &SecurityFiles) -> Finding {
    let Some(path) = &files.callers else {
        let text = match files.has_credentials() {
            true => "no callers file is configured: callers show certificates",
            false => "no credentials are configured: whoever reaches gRPC is an operator",
        };
        return Finding::ok(CALLERS, text);
    };
    match security::read(path).and_then(|bytes| security::callers(path, &bytes)) {
        Ok(callers) => Finding::ok(
            CALLERS,
            format!("{} has {} entries", path.display(), callers.entries().len()),
        ),
        Err(problem) => Finding::failed(
            CALLERS,
            problem,
            "`qres token new --file FILE` makes entries that can be read",
        ),
    }
}

/// Judges who may read a secret that is otherwise fine, as `text` says.
fn secret(check: &'static str, path: &Path, text: String) -> Finding {
    let mode = fs::metadata(path).map_or(0, |found| found.permissions().mode() & 0o777);
    if mode & READABLE_BY_OTHERS == 0 {
        return Finding::ok(check, text);
    }
    let text = format!(
        "{} has mode {mode:04o}: every user of this machine may read it",
        path.display()
    );
    Finding::warning(check, text, format!("chmod o-r {}", path.display()))
}

#[cfg(test)]
mod tests {
    use qres_node::finding::Verdict;
    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::config::test_config;

    #[test]
    fn the_limits_of_a_certificate_s_time_hold_at_their_edges() {
        let at = |now| expiry(TLS, "a.crt", (1_000, 10_000_000), now).map(|finding| finding.verdict);
        assert_eq!(at(999), Some(Verdict::Failed));
        assert_eq!(at(1_000), None);
        assert_eq!(at(10_000_000 - EXPIRES_SOON), None);
        assert_eq!(at(10_000_000 - EXPIRES_SOON + 1), Some(Verdict::Warning));
        assert_eq!(at(10_000_000), Some(Verdict::Warning));
        assert_eq!(at(10_000_001), Some(Verdict::Failed));
    }

    #[test]
    fn each_file_is_judged_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = test_config(&dir.path().join("data"));
        let of = |config: &Config, check| {
            let found = findings(config);
            found.into_iter().find(|finding| finding.check == check).unwrap()
        };
        assert_eq!(of(&config, TLS).verdict, Verdict::Ok, "loopback alone");
        config.grpc.addr = "0.0.0.0:4002".parse().unwrap();
        assert_eq!(of(&config, TLS).verdict, Verdict::Warning);
        let (chain, key) = (dir.path().join("a.crt"), dir.path().join("a.key"));
        config.grpc.security.tls = Some((chain.clone(), key.clone()));
        assert!(of(&config, TLS).text.contains("a.crt"), "not there");
        let pair = KeyPair::generate().unwrap();
        let mut made = CertificateParams::new(vec!["localhost".into()]).unwrap();
        fs::write(&chain, made.clone().self_signed(&pair).unwrap().pem()).unwrap();
        fs::write(&key, pair.serialize_pem()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(of(&config, TLS).verdict, Verdict::Ok, "{:?}", of(&config, TLS));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(of(&config, TLS).remedy.contains("chmod o-r"));
        made.not_after = rcgen::date_time_ymd(2001, 1, 1);
        fs::write(&chain, made.self_signed(&pair).unwrap().pem()).unwrap();
        let ended = of(&config, TLS);
        assert!(
            ended.verdict == Verdict::Failed && ended.text.contains("ended"),
            "{ended:?}"
        );
        fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert!(of(&config, TLS).text.contains("cannot be used together"));
        config.grpc.security.callers = Some(chain.clone());
        assert_eq!(of(&config, CALLERS).verdict, Verdict::Failed);
        config.network_key = Some(key);
        assert!(of(&config, NETWORK_KEY).text.contains("no key of a network"));
        config.grpc.security.client_ca = Some(chain);
        assert_eq!(of(&config, CLIENT_CA).verdict, Verdict::Failed, "it has ended");
    }
}
