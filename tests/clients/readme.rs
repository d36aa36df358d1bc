//! Runs the blocks of the README as they stand: only addresses and ports are those of this machine. The tour with grpcurl is in
//! main.rs.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use qres_tests::daemon::without_settings;
use qres_tests::weights::vector;
use qres_tests::{Node, binaries};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tempfile::TempDir;

use super::{readme_block, root};

/// A machine of its own, as far as a user can see: a working directory, and a daemon with a data directory.
struct Host {
    dir: TempDir,
    daemon: Child,
    grpc: String,
    mesh_port: String,
}

impl Host {
    /// Runs a command line that starts a daemon, and waits until the daemon is ready.
    fn start(line: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let line = line.replace("--port 4001", "--port 0");
        let mut daemon = shell(&format!("exec {line}"), &dir)
            .env("QRES_GRPC_ADDR", "127.0.0.1:0")
            .env("QRES_LISTEN", "127.0.0.1")
            .env("QRES_DATA_DIR", dir.path().join("data"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("bash runs");
        let mut said = BufReader::new(daemon.stdout.take().expect("piped")).lines();
        let (mut grpc, mut mesh_port) = (String::new(), String::new());
        for line in said.by_ref().map(|line| line.expect("text")) {
            match line.split_once(' ') {
                Some(("grpc", address)) => grpc = address.trim().to_owned(),
                Some(("mesh", address)) if address.contains("/tcp/") => {
                    mesh_port = address.split('/').nth(4).expect("a port").to_owned();
                }
                _ if line == "ready" => break,
                _ => {}
            }
        }
        assert!(!grpc.is_empty() && !mesh_port.is_empty(), "the daemon ended: {line}");
        Self {
            dir,
            daemon,
            grpc,
            mesh_port,
        }
    }

    /// Runs a command line of `qres` at a terminal, and agrees to its question. Returns the text that the terminal showed.
    fn agree(&self, line: &str) -> String {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&terminal)
            .and_then(|()| unlockpt(&terminal))
            .expect("a terminal");
        let name = ptsname(&terminal, vec![]).expect("a terminal has a name");
        let user = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().expect("a path"))
            .expect("its other end");
        let copy = || Stdio::from(user.try_clone().expect("a descriptor"));
        let mut child = shell(&format!("exec {line}"), &self.dir)
            .env("QRES_ADDR", &self.grpc)
            .stdin(copy())
            .stdout(copy())
            .stderr(copy())
            .spawn()
            .expect("bash runs");
        drop(user);
        let mut terminal = File::from(terminal);
        let mut screen = terminal.try_clone().expect("a descriptor");
        let reader = std::thread::spawn(move || {
            let mut shown = vec![];
            // The read ends with an error once no process holds the other end any more.
            drop(screen.read_to_end(&mut shown));
            String::from_utf8_lossy(&shown).into_owned()
        });
        terminal.write_all(b"y\n").expect("typed");
        let status = child.wait().expect("it ends");
        let shown = reader.join().expect("no panic");
        assert!(status.success(), "{line}: {shown}");
        shown
    }

    fn node(&self) -> Node {
        Node::new(&self.grpc)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The process may have ended already, so errors are ignored.
        drop(self.daemon.kill());
        drop(self.daemon.wait());
    }
}

fn shell(line: &str, dir: &TempDir) -> Command {
    let path = format!(
        "{}:{}",
        binaries::folder().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut command = Command::new("bash");
    without_settings(&mut command);
    command.args(["-c", line]).env("PATH", path).current_dir(dir.path());
    command
}

/// A bootstrap node, and each [`Host`] that is a member of the model that the block creates: two.
struct Federation {
    _bootstrap: Host,
    members: [Host; 2],
}

impl Federation {
    async fn by_the_readme() -> Self {
        let block = readme_block("<!-- swarm -->");
        let lines: Vec<&str> = block.lines().collect();
        let [bootstrap, node, create, join] = lines[..] else {
            panic!("four lines: {block}");
        };
        let bootstrap = Host::start(bootstrap);
        let node = node.replace("203.0.113.7", &format!("127.0.0.1:{}", bootstrap.mesh_port));
        let members = [Host::start(&node), Host::start(&node)];
        std::fs::write(members[0].dir.path().join("init.safetensors"), vector(&[0.0])).expect("written");
        members[0].node().wait_for_peers(2).await;
        let shown = members[0].agree(create);
        assert!(shown.contains("members: n = 2"), "{shown}");
        let shown = members[1].agree(join);
        assert!(shown.contains("metabrain/v4"), "{shown}");
        Self {
            _bootstrap: bootstrap,
            members,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_swarm_has_its_model_after_four_commands() {
    let federation = Federation::by_the_readme().await;
    let mut heads = vec![];
    for host in &federation.members {
        heads.push(host.node().wait_for_round("metabrain/v4", 0).await);
    }
    assert_eq!(heads[0].id(), heads[1].id());
    assert_eq!(heads[1].file, vector(&[0.0]));
}

mod needs_python {
    use super::*;

    /// Code that the block leaves to its reader, and an end after three rounds.
    const PRELUDE: &str = "
data = range(10)
rounds = 0
def train(tensors, mu):
    global rounds
    assert mu == 0.1, mu
    if rounds == 3:
        raise SystemExit
    rounds += 1
    return {name: array + 1 for name, array in tensors.items()}
";

    #[tokio::test(flavor = "multi_thread")]
    async fn the_readmes_trainer_trains_the_readmes_swarm() {
        let federation = Federation::by_the_readme().await;
        let block = readme_block("<!-- trainer -->");
        let trainers: Vec<Child> = federation
            .members
            .iter()
            .map(|host| {
                let block = block.replace("127.0.0.1:4002", &host.grpc);
                Command::new(root().join(".cache/venv/bin/python"))
                    .args(["-c", &format!("{PRELUDE}\n{block}")])
                    .env("PYTHONPATH", root().join("clients/python"))
                    .stderr(Stdio::piped())
                    .spawn()
                    .expect("python runs")
            })
            .collect();
        for trainer in trainers {
            let output = trainer.wait_with_output().expect("it ends");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let mut files = vec![];
        for host in &federation.members {
            files.push(host.node().wait_for_round("metabrain/v4", 3).await.file);
        }
        assert_eq!(files[0], files[1]);
        assert_eq!(files[0], vector(&[3.0]));
    }
}
