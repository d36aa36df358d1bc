//! The files of TLS and of callers: read at the start, and again while the daemon runs.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use qres_access::tls::{self, Pem};
use qres_access::{Callers, ClientCa, Policy};
use qres_api::server::{Security, SecurityNow};
use rustix::fs::OFlags;
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

/// The bytes of all files at one moment. A part is what changes together: a certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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

/// What came of reading the files again: the contents to use from now on, what they mean, and the problems of the parts that stay
/// as they were.
struct Reread {
    contents: Contents,
    loaded: Option<Loaded>,
    problems: Vec<String>,
}

impl Contents {
    fn read(files: &SecurityFiles) -> Result<Self, String> {
        Ok(Self {
            tls: files.tls.as_ref().map(read_pair).transpose()?,
            client_ca: files.client_ca.as_deref().map(read).transpose()?,
            callers: files.callers.as_deref().map(read).transpose()?,
        })
    }

    /// Reads the files again. Each part is used by itself: a broken certificate does not keep a token from being revoked.
    fn reread(&self, files: &SecurityFiles) -> Reread {
        let (mut contents, mut loaded, mut problems) = (self.clone(), None, vec![]);
        let mut take = |part: Result<Self, String>| {
            let tried = part.and_then(|trial| match trial == contents {
                true => Ok(None),
                false => trial.load(files).map(|loaded| Some((trial, loaded))),
            });
            match tried {
                Ok(Some((trial, made))) => (contents, loaded) = (trial, Some(made)),
                Ok(None) => {}
                Err(problem) => problems.push(problem),
            }
            contents.clone()
        };
        let callers = files.callers.as_deref().map(read).transpose();
        let now = take(callers.map(|callers| Self {
            callers,
            ..self.clone()
        }));
        let client_ca = files.client_ca.as_deref().map(read).transpose();
        let now = take(client_ca.map(|client_ca| Self { client_ca, ..now }));
        let tls = files.tls.as_ref().map(read_pair).transpose();
        take(tls.map(|tls| Self { tls, ..now }));
        Reread {
            contents,
            loaded,
            problems,
        }
    }

    fn load(&self, files: &SecurityFiles) -> Result<Loaded, String> {
        let callers = match (&files.callers, &self.callers) {
            (Some(path), Some(bytes)) => Some(callers(path, bytes)?),
            _ => None,
        };
        let client_ca = match (&files.client_ca, &self.client_ca) {
            (Some(path), Some(pem)) => Some(ClientCa::read(&name(path), pem).map_err(|error| error.to_string())?),
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
            suspected: vec![],
            told: vec![],
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
    /// The problems of the last reading.
    suspected: Vec<String>,
    /// Those of them that were told.
    told: Vec<String>,
    sender: watch::Sender<Arc<Security>>,
    metrics: SecurityMetrics,
}

impl Follower {
    async fn run(mut self) {
        loop {
            tokio::time::sleep(READ_EVERY).await;
            let (files, used) = (self.files.clone(), self.contents.clone());
            match tokio::task::spawn_blocking(move || used.reread(&files)).await {
                Ok(read) => self.take(read),
                // The runtime ends.
                Err(error) if error.is_cancelled() => return,
                Err(error) => self.problems(vec![format!("they could not be read: {error}")]),
            }
        }
    }

    fn take(&mut self, read: Reread) {
        if let Some(loaded) = read.loaded {
            tracing::info!("TLS and callers: the changed files are in use");
            self.metrics.taken(loaded.expiry);
            self.contents = read.contents;
            self.sender.send_replace(Arc::new(loaded.security));
        }
        self.problems(read.problems);
    }

    /// Tells problems that were there the last time, too: a Secret that is exchanged at this moment looks like one.
    fn problems(&mut self, problems: Vec<String>) {
        let lasting = problems.iter().filter(|problem| self.suspected.contains(problem));
        let lasting: Vec<String> = lasting.cloned().collect();
        for problem in lasting.iter().filter(|problem| !self.told.contains(problem)) {
            tracing::warn!("TLS and callers: a changed file is not used, the earlier one stays in use: {problem}");
            self.metrics.failed();
        }
        if problems.is_empty() && !self.told.is_empty() {
            tracing::info!("TLS and callers: all files are in use again");
        }
        if problems.is_empty() {
            self.metrics.mended();
        }
        (self.suspected, self.told) = (problems, lasting);
    }
}

fn pem<'a>(name: &'a str, bytes: &'a [u8]) -> Pem<'a> {
    Pem { name, bytes }
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

/// Reads a callers file; `path` is its name for errors.
pub fn callers(path: &Path, bytes: &[u8]) -> Result<Callers, String> {
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

fn read_pair((chain, key): &(PathBuf, PathBuf)) -> Result<(Vec<u8>, Vec<u8>), String> {
    Ok((read(chain)?, read(key)?))
}

/// Reads a whole file. A link is followed: Kubernetes replaces a Secret by exchanging a link.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let fails = |problem: &dyn std::fmt::Display| format!("{}: {problem}", path.display());
    // Without the flag a pipe in the place of the file would hold the reader up for ever.
    let open = fs::OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path);
    let file = open.map_err(|error| fails(&error))?;
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
