//! The files of TLS and of callers: read at the start, and again while the daemon runs.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use qres_access::tls::{self, Pem};
use qres_access::{Callers, ClientCa, Policy};
use qres_api::server::{Security, SecurityNow};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::SecurityFiles;
use crate::security_metrics::SecurityMetrics;

/// Interval at which the files are read again. A Secret of Kubernetes takes about a minute to reach a pod, so 5 s more do not
/// count; reading a few kilobytes costs nothing.
const READ_EVERY: Duration = Duration::from_secs(5);
/// Most bytes of one file.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Mode bits with which a file is refused: others may write to it.
const WRITABLE_BY_OTHERS: u32 = 0o002;

/// The bytes of all files at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Contents {
    tls: Option<(Vec<u8>, Vec<u8>)>,
    client_ca: Option<Vec<u8>>,
    callers: Option<Vec<u8>>,
}

/// What came of the files: the [`Security`], and the end of the certificate in seconds since 1970.
struct Loaded {
    security: Security,
    expiry: Option<i64>,
}

impl Contents {
    fn read(files: &SecurityFiles) -> Result<Self, String> {
        let tls = match &files.tls {
            Some((chain, key)) => Some((read(chain)?, read(key)?)),
            None => None,
        };
        Ok(Self {
            tls,
            client_ca: files.client_ca.as_deref().map(read).transpose()?,
            callers: files.callers.as_deref().map(read).transpose()?,
        })
    }

    fn load(&self, files: &SecurityFiles) -> Result<Loaded, String> {
        let callers = match (&files.callers, &self.callers) {
            (Some(path), Some(bytes)) => Some(callers(path, bytes)?),
            _ => None,
        };
        let client_ca = match (&files.client_ca, &self.client_ca) {
            // With a callers file a caller may show a token instead of a certificate.
            (Some(path), Some(pem)) => {
                let ca = ClientCa::read(&name(path), pem, callers.is_none());
                Some(ca.map_err(|error| error.to_string())?)
            }
            _ => None,
        };
        let (mut server, mut expiry) = (None, None);
        if let (Some((chain, key)), Some((chain_pem, key_pem))) = (&files.tls, &self.tls) {
            let (chain, key) = (name(chain), name(key));
            let chain = pem(&chain, chain_pem);
            let made = tls::server(chain, pem(&key, key_pem), client_ca.as_ref(), files.oldest);
            server = Some(made.map_err(|error| error.to_string())?);
            expiry = tls::expiry(chain);
        }
        Ok(Loaded {
            security: Security {
                policy: Policy::new(callers, client_ca),
                tls: server,
            },
            expiry,
        })
    }
}

/// Reads the files for the first time. Returns the [`SecurityNow`] for the server, and the task that follows the files until
/// `shutdown`.
pub fn start(
    files: SecurityFiles,
    metrics: SecurityMetrics,
    shutdown: CancellationToken,
) -> Result<(SecurityNow, impl Future<Output = ()> + Send + 'static), String> {
    let contents = Contents::read(&files)?;
    let loaded = contents.load(&files)?;
    metrics.taken(loaded.expiry);
    let (sender, receiver) = watch::channel(Arc::new(loaded.security));
    let follow = async move {
        if files == SecurityFiles::default() {
            return;
        }
        let follower = Follower {
            files,
            contents,
            suspected: None,
            problem: None,
            sender,
            metrics,
        };
        shutdown.run_until_cancelled(follower.run()).await;
    };
    Ok((receiver, follow))
}

/// Follows the files.
struct Follower {
    files: SecurityFiles,
    /// The contents that are in use.
    contents: Contents,
    /// A problem that was seen once: a Secret that is exchanged at this moment looks like one.
    suspected: Option<String>,
    /// The problem that was last told.
    problem: Option<String>,
    sender: watch::Sender<Arc<Security>>,
    metrics: SecurityMetrics,
}

impl Follower {
    async fn run(mut self) {
        loop {
            tokio::time::sleep(READ_EVERY).await;
            let files = self.files.clone();
            let used = self.contents.clone();
            let read = tokio::task::spawn_blocking(move || {
                let contents = Contents::read(&files)?;
                if contents == used {
                    return Ok(None);
                }
                contents.load(&files).map(|loaded| Some((contents, loaded)))
            });
            match read.await {
                Ok(Ok(Some((contents, loaded)))) => self.take(contents, loaded),
                Ok(Ok(None)) => self.mended(),
                Ok(Err(problem)) => self.refuse(problem),
                // The runtime ends.
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, contents: Contents, loaded: Loaded) {
        tracing::info!("TLS and callers: the changed files are in use");
        self.metrics.taken(loaded.expiry);
        self.contents = contents;
        (self.suspected, self.problem) = (None, None);
        self.sender.send_replace(Arc::new(loaded.security));
    }

    /// The files are again as they were when they were taken.
    fn mended(&mut self) {
        self.suspected = None;
        if self.problem.take().is_some() {
            tracing::info!("TLS and callers: the files are again the ones in use");
            self.metrics.mended();
        }
    }

    fn refuse(&mut self, problem: String) {
        if self.suspected.as_ref() != Some(&problem) {
            self.suspected = Some(problem);
        } else if self.problem.as_ref() != Some(&problem) {
            tracing::warn!("TLS and callers: a changed file is not used, the earlier ones stay in use: {problem}");
            self.metrics.failed();
            self.problem = Some(problem);
        }
    }
}

fn pem<'a>(name: &'a str, bytes: &'a [u8]) -> Pem<'a> {
    Pem { name, bytes }
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

fn callers(path: &Path, bytes: &[u8]) -> Result<Callers, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    Callers::parse(text).map_err(|error| {
        let lines: Vec<String> = error
            .0
            .iter()
            .map(|problem| format!("{}: {problem}", path.display()))
            .collect();
        lines.join("\n")
    })
}

/// Reads a whole file. A link is followed: Kubernetes replaces a Secret by exchanging a link.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let fails = |problem: &dyn std::fmt::Display| format!("{}: {problem}", path.display());
    let file = fs::File::open(path).map_err(|error| fails(&error))?;
    let metadata = file.metadata().map_err(|error| fails(&error))?;
    if !metadata.is_file() {
        return Err(fails(&"is no file"));
    }
    let mode = metadata.permissions().mode();
    if mode & WRITABLE_BY_OTHERS != 0 {
        let problem = format!(
            "every user of this machine may write to it (mode {:o}): chmod o-w it",
            mode & 0o777
        );
        return Err(fails(&problem));
    }
    let mut bytes = vec![];
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| fails(&error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(fails(&format!("more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
