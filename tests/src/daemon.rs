//! One `qres-daemon` process.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{Node, binaries};

/// How a daemon is started; everything not said is the daemon's default, ports are picked.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `--mode bootstrap`.
    pub bootstrap_mode: bool,
    /// `--bootstrap`.
    pub bootstrap: Vec<String>,
    /// More arguments.
    pub arguments: Vec<String>,
    /// More environment.
    pub environment: Vec<(String, String)>,
    /// A program that runs it, with its arguments: `nsenter`, say.
    pub wrapper: Vec<String>,
    /// Its data directory, unless it is below the temporary one.
    pub data_dir: Option<PathBuf>,
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    options: Options,
    dir: Arc<TempDir>,
    /// `127.0.0.1:port`.
    pub grpc: String,
    /// The TCP multiaddr on loopback, with the peer id.
    pub mesh: String,
    /// The libp2p peer id.
    pub peer_id: String,
    /// The metrics' URL, when they are served.
    pub metrics: Option<String>,
}

impl Daemon {
    /// Starts one in a fresh data directory and waits until it says that it is ready.
    pub fn start(options: Options) -> Self {
        let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        Self::start_in(dir, options, "0")
    }

    /// Starts one with the key of another, in a data directory that holds nothing else.
    pub fn start_with_key_of(other: &Self, options: Options) -> Self {
        let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        let data = dir.path().join("data");
        std::fs::create_dir(&data).expect("a data directory");
        // Its mode is copied, too.
        std::fs::copy(other.data_dir().join("identity.key"), data.join("identity.key")).expect("the key is copied");
        Self::start_in(dir, options, "0")
    }

    fn start_in(dir: Arc<TempDir>, options: Options, port: &str) -> Self {
        let mut command = command(dir.path(), &options, port);
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(dir.path().join("log"));
        command.stdout(Stdio::piped()).stderr(log.expect("a log file"));
        let mut child = command.spawn().expect("the daemon starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut said = vec![];
        for line in BufReader::new(stdout).lines() {
            let line = line.expect("the daemon prints text");
            let ready = line.trim() == "ready";
            said.push(line);
            if ready {
                let find = |key: &str| {
                    said.iter()
                        .filter_map(|line| line.trim().strip_prefix(key))
                        .map(str::trim)
                        .map(str::to_owned)
                        .collect::<Vec<_>>()
                };
                let peer_id = find("peer id").remove(0);
                let mesh = find("mesh")
                    .into_iter()
                    .find(|a| a.contains("/tcp/"))
                    .expect("it listens on TCP");
                let tcp_port = mesh
                    .split('/')
                    .skip_while(|part| *part != "tcp")
                    .nth(1)
                    .expect("a port")
                    .to_owned();
                let mesh = format!("/ip4/127.0.0.1/tcp/{tcp_port}/p2p/{peer_id}");
                return Self {
                    child,
                    options,
                    dir,
                    grpc: find("grpc").remove(0),
                    mesh,
                    peer_id,
                    metrics: find("metrics").pop(),
                };
            }
        }
        // Its stdout is closed: it has ended, or is about to.
        let _ = child.wait();
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
        panic!("the daemon ended before it was ready; it said {said:?} and logged:\n{log}");
    }

    /// The typed front of its gRPC API.
    pub fn node(&self) -> Node {
        Node::new(&self.grpc)
    }

    /// Its data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Its memory that is in RAM now.
    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/statm", self.child.id());
        let text = std::fs::read_to_string(path).expect("Linux tells a process' memory");
        let pages: u64 = text.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("pages");
        pages * 4096
    }

    /// Waits until it has logged this.
    pub async fn log_has(&self, text: &str) {
        crate::wait::until(&format!("{text:?} to be logged"), || async {
            self.log().contains(text).then_some(())
        })
        .await;
    }

    /// The last part of its mesh address that others need: its port.
    pub fn mesh_port(&self) -> String {
        self.mesh.split('/').nth(4).expect("a port").to_owned()
    }

    /// `kill -9`, then started again on the same data directory and mesh port.
    pub fn kill_and_restart(self) -> Self {
        self.kill().start()
    }

    /// `kill -9`.
    pub fn kill(mut self) -> Stopped {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
        Stopped {
            port: self.mesh_port(),
            dir: self.dir.clone(),
            options: self.options.clone(),
        }
    }

    /// SIGTERM; answers its exit code.
    pub fn terminate(mut self) -> (Stopped, Option<i32>) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        kill_process(pid, Signal::TERM).expect("it takes signals");
        let status = self.child.wait().expect("it ends");
        (
            Stopped {
                port: self.mesh_port(),
                dir: self.dir.clone(),
                options: self.options.clone(),
            },
            status.code(),
        )
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.lines().rev().take(40).collect::<Vec<_>>();
            eprintln!("--- the last lines of {}:", self.peer_id);
            for line in tail.iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}

/// A daemon that ended; its data directory is kept.
pub struct Stopped {
    port: String,
    dir: Arc<TempDir>,
    options: Options,
}

impl Stopped {
    /// Starts it again.
    pub fn start(self) -> Daemon {
        Daemon::start_in(self.dir, self.options, &self.port)
    }

    /// Its data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }
}

/// The command line of a daemon.
pub fn command(dir: &Path, options: &Options, port: &str) -> Command {
    let program = binaries::daemon();
    let mut command = match options.wrapper.split_first() {
        Some((wrapper, arguments)) => {
            let mut command = Command::new(wrapper);
            command.args(arguments).arg(program);
            command
        }
        None => Command::new(program),
    };
    // What the shell has set is not what is tested.
    for (name, _) in std::env::vars_os() {
        if ["OTEL_", "QRES_"]
            .iter()
            .any(|prefix| name.to_string_lossy().starts_with(prefix))
        {
            command.env_remove(name);
        }
    }
    command.args(["--mode", if options.bootstrap_mode { "bootstrap" } else { "node" }]);
    command.args(["--listen", "127.0.0.1", "--port", port]);
    if !options.arguments.iter().any(|argument| argument == "--grpc-addr") {
        command.args(["--grpc-addr", "127.0.0.1:0"]);
    }
    command.arg("--data-dir");
    command.arg(options.data_dir.clone().unwrap_or_else(|| dir.join("data")));
    for address in &options.bootstrap {
        command.args(["--bootstrap", address]);
    }
    command.args(&options.arguments);
    command.envs(options.environment.iter().cloned());
    command
}
