//! Who may call a node: the real `qres` with certificates, tokens and the Unix socket against a real daemon.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use qres_fed::ndarray::array;
use qres_fed::tensor::{read_safetensors, to_safetensors};
use qres_tests::weights::vector;
use qres_tests::{Daemon, Options, binaries, wait};
use serde_json::Value;
use tempfile::TempDir;

/// A daemon with TLS, a client CA, a callers file, a socket and an audit log, and the files of its callers.
struct Secured {
    dir: TempDir,
    daemon: Daemon,
}

/// Runs `qres` with these arguments and nothing of the environment's credentials.
fn qres(arguments: &[&str]) -> Output {
    Command::new(binaries::cli())
        .args(arguments)
        .output()
        .expect("qres runs")
}

fn succeeds(arguments: &[&str]) -> String {
    let output = qres(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "qres {arguments:?}: {error}");
    String::from_utf8(output.stdout).expect("text")
}

fn fails(arguments: &[&str]) -> String {
    let output = qres(arguments);
    assert_eq!(output.status.code(), Some(1), "qres {arguments:?} must fail");
    String::from_utf8(output.stderr).expect("text")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

impl Secured {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| dir.path().join(name).display().to_string();
        succeeds(&["tls", "init", "--out", &at("tls")]);
        succeeds(&[
            "tls",
            "client",
            "--dir",
            &at("tls"),
            "--name",
            "alice",
            "--role",
            "trainer",
        ]);
        // An empty callers file: tokens are made while the daemon runs.
        fs::write(at("callers.toml"), "").expect("written");
        let arguments = [
            ["--grpc-tls-cert", &at("tls/server.crt")],
            ["--grpc-tls-key", &at("tls/server.key")],
            ["--grpc-client-ca", &at("tls/ca.crt")],
            ["--grpc-callers", &at("callers.toml")],
            ["--grpc-socket", &at("grpc.sock")],
            ["--audit-log", &at("audit.jsonl")],
        ];
        let daemon = Daemon::start(Options {
            arguments: arguments.concat().iter().map(ToString::to_string).collect(),
            ..Options::default()
        });
        Self { dir, daemon }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Arguments that reach the daemon by TLS.
    fn by_tls(&self) -> Vec<String> {
        let ca = self.path("tls/ca.crt");
        vec![
            "--addr".into(),
            self.daemon.grpc.clone(),
            "--tls-ca".into(),
            text(&ca).into(),
        ]
    }

    /// Arguments of a caller with a certificate.
    fn as_holder(&self, name: &str) -> Vec<String> {
        let file = |end: &str| text(&self.path(&format!("tls/{name}.{end}"))).to_owned();
        let mut arguments = self.by_tls();
        arguments.extend(["--tls-cert".into(), file("crt"), "--tls-key".into(), file("key")]);
        arguments
    }

    /// Makes a token. Returns the arguments of its holder, once the daemon takes it.
    async fn with_token(&self, name: &str, role: &str) -> Vec<String> {
        let callers = self.path("callers.toml");
        let token = succeeds(&["token", "new", "--name", name, "--role", role, "--file", text(&callers)]);
        let file = self.path(&format!("{name}.token"));
        fs::write(&file, token).expect("written");
        let mut arguments = self.by_tls();
        arguments.extend(["--token-file".into(), text(&file).into()]);
        let known = async || call(&arguments, &["status"]).status.success().then_some(());
        wait::until("the daemon takes the new token", known).await;
        arguments
    }

    fn audit(&self) -> Vec<Value> {
        let lines = fs::read_to_string(self.path("audit.jsonl")).expect("an audit log");
        lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("an object a line"))
            .collect()
    }
}

/// Runs `qres` with the arguments of a caller and a command.
fn call(caller: &[String], command: &[&str]) -> Output {
    let caller: Vec<&str> = caller.iter().map(String::as_str).collect();
    qres(&[&caller[..], command].concat())
}

fn done(caller: &[String], command: &[&str]) -> String {
    let caller: Vec<&str> = caller.iter().map(String::as_str).collect();
    succeeds(&[&caller[..], command].concat())
}

fn refused(caller: &[String], command: &[&str]) -> String {
    let caller: Vec<&str> = caller.iter().map(String::as_str).collect();
    fails(&[&caller[..], command].concat())
}

#[tokio::test]
async fn the_doctor_tells_who_may_not_ask_it_and_what_tls_needs() {
    let node = Secured::start();
    let doctor = |access: &[String]| {
        let mut arguments: Vec<&str> = access.iter().map(String::as_str).collect();
        arguments.push("doctor");
        let output = qres(&arguments);
        (output.status.code(), String::from_utf8(output.stdout).expect("text"))
    };
    for (access, words) in [
        (vec!["--addr".to_owned(), node.daemon.grpc.clone()], "--tls-ca"),
        (node.by_tls(), "CREDENTIAL_MISSING"),
        (node.as_holder("alice"), "ROLE_TOO_LOW"),
    ] {
        let (code, said) = doctor(&access);
        assert!(code == Some(1) && said.contains(words), "{words}: {said}");
    }
    let (code, said) = doctor(&node.as_holder("operator"));
    assert_eq!(code, Some(0), "{said}");
    for words in [
        "belong together",
        "OK    client-ca",
        "has 0 entries",
        "and on the socket",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    // A changed file that cannot be used is told, and the earlier one stays in use.
    fs::write(node.path("tls/server.crt"), "garbage").expect("written");
    wait::until("the change to be refused", || async {
        let (code, said) = doctor(&node.as_holder("operator"));
        (code == Some(1) && said.contains("no certificate in PEM") && said.contains("stays in use")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_trainer_s_personal_tensors_are_for_itself_and_for_operators() {
    let node = Secured::start();
    let (weights, out) = (node.path("w.safetensors"), node.path("out.safetensors"));
    let file = |own: f32| {
        let tensors = [("own", array![own]), ("w", array![1.0])];
        to_safetensors(tensors.iter().map(|(name, array)| (*name, array.view())))
    };
    let own = || {
        let tensors = read_safetensors(&fs::read(&out).expect("fetched")).expect("tensors");
        tensors["own"].array::<f32>().expect("f32")[[0]]
    };
    fs::write(&weights, file(5.0)).expect("written");
    let create = ["model", "create", "m", "--personal", "own", "--weights", text(&weights)];
    let operator = node.as_holder("operator");
    done(&operator, &create);
    let alice = node.as_holder("alice");
    let fetch = ["fetch", "m", "--out", text(&out), "--confirmed-only", "--trainer"];
    done(&alice, &[&fetch[..], &[""]].concat());
    assert_eq!(own(), 5.0);
    fs::write(&weights, file(7.0)).expect("written");
    done(&alice, &["submit", "m", text(&weights), "--samples", "1"]);
    for (caller, trainer) in [(&alice, ""), (&alice, "alice"), (&operator, "alice")] {
        done(caller, &[&fetch[..], &[trainer]].concat());
        assert_eq!(own(), 7.0, "{trainer}");
    }
    let error = refused(&alice, &[&fetch[..], &["bob"]].concat());
    assert!(error.contains("PERMISSION_DENIED TRAINER_DIFFERS"), "{error}");
    let reader = node.with_token("dashboard", "reader").await;
    let error = refused(&reader, &[&fetch[..], &["alice"]].concat());
    assert!(error.contains("PERMISSION_DENIED TRAINER_DIFFERS"), "{error}");
    done(&reader, &fetch[..fetch.len() - 1]);
    assert_eq!(own(), 5.0, "the first values");
}

#[tokio::test]
async fn each_role_does_its_part_and_no_more() {
    let node = Secured::start();
    let weights = node.path("w.safetensors");
    fs::write(&weights, vector(&[1.0, 2.0])).expect("written");
    let weights = text(&weights);

    // Without a credential a caller learns nothing, not even which models there are.
    for command in [&["status"][..], &["model", "show", "nothing"], &["drain"]] {
        let error = refused(&node.by_tls(), command);
        assert!(error.contains("UNAUTHENTICATED CREDENTIAL_MISSING"), "{error}");
    }
    let plain = refused(&["--addr".into(), node.daemon.grpc.clone()], &["status"]);
    assert!(plain.contains("TLS"), "{plain}");

    let operator = node.as_holder("operator");
    done(
        &operator,
        &["model", "create", "m", "--weights", weights, "--codec", "none/1"],
    );

    let reader = node.with_token("dashboard", "reader").await;
    done(&reader, &["model", "show", "m"]);
    let error = refused(&reader, &["submit", "m", weights, "--samples", "1"]);
    assert!(
        error.contains("PERMISSION_DENIED ROLE_TOO_LOW") && error.contains("trainer"),
        "{error}"
    );

    let alice = node.as_holder("alice");
    let error = refused(&alice, &["submit", "m", weights, "--samples", "1", "--trainer", "bob"]);
    assert!(error.contains("PERMISSION_DENIED TRAINER_DIFFERS"), "{error}");
    done(&alice, &["fetch", "m", "--out", text(&node.path("base.safetensors"))]);
    let submitted = done(&alice, &["submit", "m", weights, "--samples", "1", "--json"]);
    let submitted: Value = serde_json::from_str(&submitted).expect("JSON");
    assert_eq!(submitted["submission"]["trainer"], "alice", "{submitted}");
    assert!(refused(&alice, &["peers", "ban", &node.daemon.peer_id]).contains("ROLE_TOO_LOW"));

    let calls = node.audit();
    let of = |caller: &str| calls.iter().find(|line| line["caller"] == caller).expect("a line");
    let created = of("operator");
    assert_eq!(
        (&created["rpc"], &created["object"]),
        (&"qres.v1.ModelService/CreateModel".into(), &"m".into())
    );
    assert_eq!((&created["code"], &created["role"]), (&"OK".into(), &"operator".into()));
    assert!(
        created["from"]
            .as_str()
            .is_some_and(|from| from.starts_with("127.0.0.1:")),
        "{created}"
    );
    assert_eq!(of("alice")["code"], "PERMISSION_DENIED");
}

#[tokio::test]
async fn the_socket_is_its_user_s_alone_and_needs_no_other_credential() {
    let node = Secured::start();
    let socket = node.path("grpc.sock");
    assert_eq!(
        fs::symlink_metadata(&socket).expect("a socket").permissions().mode() & 0o777,
        0o600
    );
    let by_socket = vec!["--addr".to_owned(), format!("unix:{}", socket.display())];
    assert!(done(&by_socket, &["status"]).contains(&node.daemon.peer_id));
    done(&by_socket, &["drain"]);
    assert_eq!(node.audit().pop().expect("a line")["from"], "socket");
    // A token on the socket stands for its own role.
    node.with_token("dashboard", "reader").await;
    let token = text(&node.path("dashboard.token")).to_owned();
    let reader = [by_socket, vec!["--token-file".into(), token]].concat();
    assert!(refused(&reader, &["drain"]).contains("ROLE_TOO_LOW"));
}

#[tokio::test]
async fn credentials_change_below_a_running_daemon() {
    let node = Secured::start();
    let reader = node.with_token("dashboard", "reader").await;
    let callers = node.path("callers.toml");

    // A stream that is open when its token is revoked ends with the reason.
    let weights = node.path("w.safetensors");
    fs::write(&weights, vector(&[1.0])).expect("written");
    done(
        &node.as_holder("operator"),
        &["model", "create", "m", "--weights", text(&weights)],
    );
    let mut watch = Command::new(binaries::cli());
    watch.args(&reader).args(["watch", "models", "--json"]);
    let mut watch = watch
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("qres runs");
    let mut lines = BufReader::new(watch.stdout.take().expect("piped")).lines();
    assert!(
        lines
            .next()
            .expect("the stream is open")
            .expect("text")
            .contains("\"m\"")
    );

    succeeds(&["token", "revoke", "--name", "dashboard", "--file", text(&callers)]);
    let gone = async || (!call(&reader, &["status"]).status.success()).then_some(());
    wait::until("the revoked token is refused", gone).await;
    assert!(refused(&reader, &["status"]).contains("UNAUTHENTICATED CREDENTIAL_REFUSED"));
    let ended = || std::future::ready(watch.try_wait().expect("it can be asked"));
    assert!(!wait::until("the open stream ends", ended).await.success());
    let mut said = String::new();
    watch
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut said)
        .expect("text");
    assert!(said.contains("CREDENTIAL_REFUSED"), "{said}");

    // A certificate that is replaced by garbage: the old one stays in use, and the log says so once.
    let operator = node.as_holder("operator");
    fs::write(node.path("tls/server.crt"), "garbage").expect("written");
    let told = async || node.daemon.log().contains("a changed file is not used").then_some(());
    wait::until("the log names the file", told).await;
    done(&operator, &["status"]);
    assert!(node.daemon.log().contains("server.crt"));

    // Another CA and its certificates: their holders get in, those of the old CA do not.
    succeeds(&["tls", "init", "--out", text(&node.path("new"))]);
    for name in ["ca.crt", "server.key", "server.crt"] {
        fs::copy(node.path("new").join(name), node.path("tls").join(name)).expect("copied");
    }
    let renewed = ["operator.crt", "operator.key"].map(|name| node.path("new").join(name));
    let mut changed = node.by_tls();
    changed.extend([
        "--tls-cert".into(),
        text(&renewed[0]).into(),
        "--tls-key".into(),
        text(&renewed[1]).into(),
    ]);
    let taken = async || call(&changed, &["status"]).status.success().then_some(());
    wait::until("the new CA and certificate are in use", taken).await;
    assert!(
        !call(&operator, &["status"]).status.success(),
        "the old CA signs nobody any more"
    );
}

#[tokio::test]
async fn callers_that_speak_no_tls_or_nothing_cost_the_others_nothing() {
    let node = Secured::start();
    let connect = || TcpStream::connect(&node.daemon.grpc).expect("the port is open");
    // Handshakes that never begin.
    let silent: Vec<TcpStream> = (0..100).map(|_| connect()).collect();
    // Handshakes that begin, and go on with a byte now and then: each byte may not give them more time.
    let mut slow: Vec<TcpStream> = (0..100).map(|_| connect()).collect();
    for byte in [0x16, 3, 1, 2, 0, 1, 0, 1] {
        for stream in &mut slow {
            let _ = stream.write_all(&[byte]);
        }
        done(&node.as_holder("operator"), &["status"]);
    }
    for garbage in [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0x16, 3, 1, 0xff, 0xff, 1],
        &[0; 4096],
    ] {
        let mut stream = connect();
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
        // The daemon may close the connection while this writes.
        let _ = stream.write_all(garbage);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = vec![];
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 64, "an alert at most: {answer:?}");
    }
    done(&node.as_holder("operator"), &["status"]);
    // The daemon closes those that never began, and they closed nothing themselves.
    for mut stream in silent.into_iter().chain(slow) {
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
        match stream.read(&mut [0; 1]) {
            Ok(read) => assert_eq!(read, 0, "nothing is said to them"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
}

#[tokio::test]
async fn a_cancelled_call_of_an_operator_has_its_line() {
    let node = Secured::start();
    // A peer that takes the connection and never speaks: the dial goes on until the caller gives up.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address").to_string();
    let operator = node.as_holder("operator");
    let mut dial = Command::new(binaries::cli());
    dial.args(&operator).args(["peers", "dial", &address]);
    let mut dial = dial.stderr(Stdio::null()).spawn().expect("qres runs");
    silent.set_nonblocking(true).expect("a socket");
    let dialled = wait::until("the node dials", || std::future::ready(silent.accept().ok())).await;
    dial.kill().expect("killed");
    dial.wait().expect("it ended");
    let line = async || {
        let lines = node.audit();
        lines
            .into_iter()
            .find(|line| line["rpc"] == "qres.v1.PeerService/DialPeer")
    };
    let line = wait::until("the cancelled call has its line", line).await;
    assert_eq!(
        (&line["code"], &line["object"]),
        (&"CANCELLED".into(), &address.clone().into())
    );
    assert_eq!(line["credential"], "certificate");
    drop(dialled);

    let error = refused(&operator, &["peers", "dial", &address, "--timeout", "1s"]);
    assert!(error.contains("--timeout"), "{error}");
}
