//! The programs that the tests run, and their lives.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The version of the collector that scripts/otel.sh builds.
const COLLECTOR: &str = "qres-swarm/otelcol-0.161.0/otelcol";

/// Returns the collector that scripts/otel.sh has built; `None`, with a line that says so, if there is none.
pub fn collector() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let program = cache.or_else(home)?.join(COLLECTOR);
    found(program.is_file().then_some(program), "the OpenTelemetry Collector")
}

/// Returns a program on the PATH; `None`, with a line that says so, if there is none.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    let program = std::env::split_paths(&paths)
        .map(|path| path.join(name))
        .find(|path| path.is_file());
    found(program, name)
}

fn found(program: Option<PathBuf>, name: &str) -> Option<PathBuf> {
    if program.is_none() {
        println!("NOT RUN: {name} is missing; `make otel-test` sets it up");
    }
    program
}

/// A program that runs until it is killed or this value is dropped. Its output is in a file.
pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts a program; its output goes to `log`, after what is there.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null());
        command.stdout(file.try_clone().unwrap()).stderr(file);
        Self {
            child: command.spawn().unwrap(),
            log: log.to_owned(),
        }
    }

    /// Kills the program and waits for its end.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The program may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<_> = text.lines().rev().take(20).collect();
            eprintln!("--- the last lines of {}:", self.log.display());
            lines.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// Returns a port on which nobody listens now. Programs that cannot print the port that they picked need it.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
