//! Starts, stops and inspects one `qres-daemon` process.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{Node, binaries};

/// Options with which a [`Daemon`] starts. Everything that is not set is the default of the daemon; the system picks free ports.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// True starts the daemon with `--mode bootstrap`, false with `--mode node`.
    pub bootstrap_mode: bool,
    /// Bootstrap addresses; each becomes one `--bootstrap` argument.
    pub bootstrap: Vec<String>,
    /// Further arguments, which follow all others on the command line.
    pub arguments: Vec<String>,
    /// Further environment variables, as pairs of name and value.
    pub environment: Vec<(String, String)>,
    /// Command that runs the daemon, with its arguments: for example `nsenter`. Empty = the daemon runs directly.
    pub wrapper: Vec<String>,
    /// Data directory of the daemon; `None` = `data` below the temporary directory.
    pub data_dir: Option<PathBuf>,
}

/// A running daemon. It is killed when this value is dropped.
pub struct Daemon {
    child: Child,
    options: Options,
    dir: Arc<TempDir>,
    /// Address of the gRPC server, such as `127.0.0.1:port`.
    pub grpc: String,
    /// Mesh address: the TCP multiaddr on loopback, with the peer id.
    pub mesh: String,
    /// The libp2p peer id of this daemon.
    pub peer_id: String,
    /// URL of the admin port, such as `http://127.0.0.1:port`, if the daemon has one.
    pub admin: Option<String>,
    /// URL of the metrics page on the admin port.
    pub metrics: Option<String>,
}

impl Daemon {
    /// Starts a daemon in a fresh data directory and waits until it prints `ready`.
    pub fn start(options: Options) -> Self {
        let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        Self::start_in(dir, options, "0")
    }

    /// Starts a daemon with the identity key of `other`, in a data directory that holds nothing else.
    pub fn start_with_key_of(other: &Self, options: Options) -> Self {
        let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        let data = dir.path().join("data");
        std::fs::create_dir(&data).expect("a data directory");
        // This copies the mode of the key file, too.
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
                    metrics: find("admin").pop().map(|admin| format!("{admin}/metrics")),
                    admin: find("admin").pop(),
                };
            }
        }
        // The daemon has closed its stdout: the process has ended, or is about to end.
        let _ = child.wait();
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
        panic!("the daemon ended before it was ready; it said {said:?} and logged:\n{log}");
    }

    /// Returns the clients of its gRPC API, as a [`Node`].
    pub fn node(&self) -> Node {
        Node::new(&self.grpc)
    }

    /// Path of `data` below the temporary directory: the data directory, unless [`Options::data_dir`] names another one.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Process id of the daemon.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns everything that the daemon has logged so far; empty if the log cannot be read.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Resident memory of the daemon now, in bytes. Pages are taken to be 4,096 bytes.
    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/statm", self.child.id());
        let text = std::fs::read_to_string(path).expect("Linux tells a process' memory");
        let pages: u64 = text.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("pages");
        pages * 4096
    }

    /// Waits until the log of the daemon contains `text`.
    pub async fn log_has(&self, text: &str) {
        crate::wait::until(&format!("{text:?} to be logged"), || async {
            self.log().contains(text).then_some(())
        })
        .await;
    }

    /// TCP port of the mesh. Other nodes need it to dial this daemon.
    pub fn mesh_port(&self) -> String {
        self.mesh.split('/').nth(4).expect("a port").to_owned()
    }

    /// Kills the daemon with `kill -9`, then starts it again with the same data directory and mesh port.
    pub fn kill_and_restart(self) -> Self {
        self.kill().start()
    }

    /// Kills the daemon with `kill -9` and waits for its end. The returned [`Stopped`] can start it again.
    pub fn kill(mut self) -> Stopped {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
        Stopped {
            port: self.mesh_port(),
            dir: self.dir.clone(),
            options: self.options.clone(),
        }
    }

    /// Sends SIGTERM and does not wait.
    pub fn ask_to_stop(&self) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        kill_process(pid, Signal::TERM).expect("it takes signals");
    }

    /// Returns true if the process has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it can be asked").is_some()
    }

    /// Sends SIGTERM and waits for the end. Returns the exit code, too; `None` = a signal ended the process.
    pub fn terminate(mut self) -> (Stopped, Option<i32>) {
        self.ask_to_stop();
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
        // The process may have ended already, so errors are ignored.
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

/// A [`Daemon`] that has ended. Its data directory is kept until this value is dropped.
pub struct Stopped {
    port: String,
    dir: Arc<TempDir>,
    options: Options,
}

impl Stopped {
    /// Starts the daemon again with the same [`Options`], data directory and mesh port.
    pub fn start(self) -> Daemon {
        Daemon::start_in(self.dir, self.options, &self.port)
    }

    /// Path of `data` below the temporary directory: the data directory, unless [`Options::data_dir`] names another one.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }
}

/// Command line and environment of a daemon with these [`Options`]. Its data directory is below `dir`; `port` "0" = a free port.
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
    // Variables of the caller's shell would change the settings of the daemon, so they are removed.
    without_settings(&mut command);
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

/// Takes the variables that a daemon or `qres` reads out of a command's environment.
pub fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if ["OTEL_", "QRES_"]
            .iter()
            .any(|prefix| name.to_string_lossy().starts_with(prefix))
        {
            command.env_remove(name);
        }
    }
}
