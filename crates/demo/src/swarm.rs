//! The nodes: `qres-daemon` processes on loopback, with temporary data directories.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

/// Most time from the start of a daemon to its `ready`. A start takes a fraction of a second; a machine under load gets
/// much more time.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Number of lines of each log that are shown after a failure.
const LOG_LINES_SHOWN: usize = 10;

/// A running daemon. Dropping this kills the process.
pub struct Daemon {
    /// The name for people: `bootstrap`, `node 1`, …
    pub name: String,
    /// The [`Banner`] that the daemon printed.
    pub banner: Banner,
    child: Child,
    log: PathBuf,
}

/// The values that a daemon prints when it starts.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Banner {
    /// The libp2p peer id of the node.
    pub peer_id: String,
    /// The node id, the public key by which rounds name the node.
    pub node_id: String,
    /// The gRPC address: `127.0.0.1:PORT`.
    pub grpc: String,
    /// The multiaddresses at which other nodes reach the node.
    pub mesh: Vec<String>,
    ready: bool,
}

impl Banner {
    fn read(&mut self, line: &str) {
        let value = |key: &str| line.strip_prefix(key).map(|rest| rest.trim().to_owned());
        if let Some(peer_id) = value("peer id ") {
            self.peer_id = peer_id;
        } else if let Some(node_id) = value("node id ") {
            self.node_id = node_id;
        } else if let Some(grpc) = value("grpc ") {
            self.grpc = grpc;
        } else if let Some(address) = value("mesh ") {
            self.mesh.push(address);
        } else if line.trim() == "ready" {
            self.ready = true;
        }
    }

    /// Returns a full multiaddress for `--bootstrap`: the TCP one, with the peer id.
    fn bootstrap(&self) -> anyhow::Result<String> {
        let tcp = self.mesh.iter().find(|address| address.contains("/tcp/"));
        let address = tcp.context("it printed no `mesh /ip4/…/tcp/…` address")?;
        Ok(match address.contains("/p2p/") {
            true => address.clone(),
            false => format!("{address}/p2p/{}", self.peer_id),
        })
    }
}

/// The daemons of a demo: one bootstrap node and the trainers' nodes.
pub struct Swarm {
    /// The nodes of the trainers, one each.
    pub nodes: Vec<Daemon>,
    bootstrap: Daemon,
    _folder: tempfile::TempDir,
}

impl Swarm {
    /// Starts a bootstrap node and this many nodes, on ports that the system picks.
    pub async fn start(nodes: u64) -> anyhow::Result<Self> {
        let program = beside_this_program("qres-daemon")?;
        let folder = tempfile::Builder::new().prefix("qres-demo-").tempdir()?;
        let bootstrap = Daemon::start(&program, folder.path(), "bootstrap", &["--mode", "bootstrap"]).await?;
        let address = bootstrap.banner.bootstrap()?;
        let mut started = Vec::new();
        for number in 1..=nodes {
            let name = format!("node {number}");
            let mode = ["--mode", "node", "--bootstrap", &address];
            started.push(Daemon::start(&program, folder.path(), &name, &mode).await?);
        }
        Ok(Self {
            nodes: started,
            bootstrap,
            _folder: folder,
        })
    }

    /// Returns the last [`LOG_LINES_SHOWN`] lines of every daemon's log, by which a person can find the cause of a failure.
    pub fn logs(&self) -> String {
        let daemons = std::iter::once(&self.bootstrap).chain(&self.nodes);
        daemons.map(|d| tail(&d.name, &d.log)).collect()
    }

    /// Returns the name of each trainer's node by its node id.
    pub fn names(&self) -> BTreeMap<String, String> {
        let nodes = self.nodes.iter();
        nodes.map(|d| (d.banner.node_id.clone(), d.name.clone())).collect()
    }

    /// Kills the daemons and waits until they are gone, so that their folders can be removed.
    pub async fn stop(mut self) {
        for daemon in self.nodes.iter_mut().chain([&mut self.bootstrap]) {
            // Killing fails if the daemon has ended by itself.
            let _ = daemon.child.kill().await;
        }
    }
}

impl Daemon {
    async fn start(program: &Path, folder: &Path, name: &str, mode: &[&str]) -> anyhow::Result<Self> {
        let slug = name.replace(' ', "-");
        let log = folder.join(format!("{slug}.log"));
        let mut command = Command::new(program);
        command.args(mode).args(["--port", "0", "--listen", "127.0.0.1"]);
        command
            .args(["--grpc-addr", "127.0.0.1:0", "--data-dir"])
            .arg(folder.join(&slug));
        // The user's environment may have settings for a node of the user's own, which must not reach these daemons.
        for (variable, _) in std::env::vars_os().filter(|(v, _)| v.to_string_lossy().starts_with("QRES_")) {
            command.env_remove(variable);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(std::fs::File::create(&log)?).kill_on_drop(true);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let stdout = child.stdout.take().context("the daemon's output is not piped")?;
        let started = tokio::time::timeout(START_TIMEOUT, read_banner(stdout)).await;
        let banner = match started {
            Ok(Ok(banner)) => banner,
            Ok(Err(error)) => bail!("{name}: {error:#}\n{}", tail(name, &log)),
            Err(_) => bail!("{name} was not ready within {START_TIMEOUT:?}\n{}", tail(name, &log)),
        };
        Ok(Self {
            name: name.to_owned(),
            banner,
            child,
            log,
        })
    }
}

/// Reads the [`Banner`] up to `ready`, then goes on reading in a task, because a full pipe would stop the daemon.
async fn read_banner(stdout: ChildStdout) -> anyhow::Result<Banner> {
    let mut lines = BufReader::new(stdout).lines();
    let mut banner = Banner::default();
    while !banner.ready {
        let line = lines.next_line().await?;
        banner.read(&line.context("it ended before it was ready")?);
    }
    ensure!(!banner.peer_id.is_empty(), "it printed no `peer id`");
    ensure!(!banner.node_id.is_empty(), "it printed no `node id`");
    ensure!(!banner.grpc.is_empty(), "it printed no `grpc` address");
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(banner)
}

fn tail(name: &str, log: &Path) -> String {
    let text = match std::fs::read(log) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => error.to_string(),
    };
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LOG_LINES_SHOWN);
    format!("--- {name}'s log, last lines ---\n{}\n", lines[from..].join("\n"))
}

/// Returns the path of a program in the folder of this program, where cargo puts both.
fn beside_this_program(name: &str) -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe()?;
    let path = here.with_file_name(name);
    ensure!(
        path.is_file(),
        "{} is missing: build it first (cargo build -p qres-daemon) or run `make demo`",
        path.display()
    );
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_banner_is_read_and_other_lines_are_passed_over() {
        let mut banner = Banner::default();
        let text = "version   0.1.0\npeer id   12D3KooWExample\nnode id   abab\nmesh      /ip4/127.0.0.1/udp/4001/quic-v1\n\
                    mesh      /ip4/127.0.0.1/tcp/4001\ngrpc      127.0.0.1:4002\n\nready\n";
        text.lines().for_each(|line| banner.read(line));
        assert!(banner.ready);
        assert_eq!(banner.grpc, "127.0.0.1:4002");
        assert_eq!(
            banner.bootstrap().unwrap(),
            "/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWExample"
        );
        banner.mesh = vec!["/ip4/127.0.0.1/tcp/4001/p2p/X".into()];
        assert_eq!(banner.bootstrap().unwrap(), "/ip4/127.0.0.1/tcp/4001/p2p/X");
    }

    /// Lock for tests that write and run a script: Linux refuses to run a file that is open for writing, also in a child that
    /// another test has just forked.
    static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    /// Writes a shell script that takes the place of a daemon.
    fn script(folder: &Path, text: &str) -> PathBuf {
        let path = folder.join("daemon.sh");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[tokio::test]
    async fn a_daemon_that_fails_shows_its_log() {
        let _turn = ONE_AT_A_TIME.lock().await;
        let folder = tempfile::tempdir().unwrap();
        let program = script(folder.path(), "echo 'port 4001 is in use' >&2; exit 1");
        let started = Daemon::start(&program, folder.path(), "node 1", &[]).await;
        let error = format!("{:#}", started.err().unwrap());
        assert!(
            error.contains("ended before it was ready") && error.contains("port 4001 is in use"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_daemon_gets_its_arguments_and_is_killed() {
        let _turn = ONE_AT_A_TIME.lock().await;
        let folder = tempfile::tempdir().unwrap();
        let text = "echo \"$@\" >&2; echo 'peer id  P'; echo 'node id  N'; echo 'grpc  127.0.0.1:9'; echo ready; exec sleep 600";
        let program = script(folder.path(), text);
        let mut daemon = Daemon::start(&program, folder.path(), "node 1", &["--mode", "node"])
            .await
            .unwrap();
        assert_eq!(daemon.banner.grpc, "127.0.0.1:9");
        let log = tail("node 1", &daemon.log);
        assert!(
            log.contains("--mode node --port 0 --listen 127.0.0.1 --grpc-addr 127.0.0.1:0 --data-dir"),
            "{log}"
        );
        daemon.child.kill().await.unwrap();
        assert!(!daemon.child.wait().await.unwrap().success());
    }

    #[test]
    fn only_the_log_s_end_is_shown() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let lines: Vec<String> = (1..=50).map(|n| format!("line {n}")).collect();
        std::fs::write(log.path(), lines.join("\n")).unwrap();
        let tail = tail("node 1", log.path());
        assert!(tail.contains("line 41\n") && tail.contains("line 50") && !tail.contains("line 40\n"));
    }
}
