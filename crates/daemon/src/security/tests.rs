//! Tests of the files of TLS and of callers as they change below a running daemon. Time is paused: it moves on by itself while
//! the follower sleeps.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use qres_access::{Role, Shown, Token};
use tempfile::TempDir;

use super::*;

/// A directory with a callers file behind a link, as Kubernetes mounts a Secret.
struct Secret {
    dir: TempDir,
}

impl Secret {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        symlink("data/callers.toml", dir.path().join("callers.toml")).unwrap();
        Self { dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("callers.toml")
    }

    /// Exchanges the link to the directory of the files, which Kubernetes does in one step.
    fn exchange(&self, version: &str, text: &str) {
        let version = self.dir.path().join(version);
        fs::create_dir(&version).unwrap();
        fs::write(version.join("callers.toml"), text).unwrap();
        let link = self.dir.path().join("data.new");
        symlink(&version, &link).unwrap();
        fs::rename(link, self.dir.path().join("data")).unwrap();
    }

    fn files(&self) -> SecurityFiles {
        SecurityFiles {
            callers: Some(self.path()),
            ..SecurityFiles::default()
        }
    }
}

fn entry(role: Role, token: &Token) -> String {
    format!(
        "[[caller]]\nname = \"alice\"\nrole = \"{role}\"\ntoken = \"{}\"\n",
        token.hash()
    )
}

fn role(security: &SecurityNow, token: &Token) -> Option<Role> {
    let shown = Shown {
        token: Some(token.text()),
        ..Shown::default()
    };
    security
        .borrow()
        .policy
        .caller(&shown, 0)
        .ok()
        .map(|caller| caller.role)
}

#[tokio::test(start_paused = true)]
async fn a_secret_whose_link_is_exchanged_is_used_without_a_restart() {
    let (secret, old, new) = (Secret::new(), Token::generate().unwrap(), Token::generate().unwrap());
    secret.exchange("1", &entry(Role::Trainer, &old));
    let stop = CancellationToken::new();
    let (mut security, follow) = start(secret.files(), SecurityMetrics::default(), stop.clone()).unwrap();
    let following = tokio::spawn(follow);
    assert_eq!(role(&security, &old), Some(Role::Trainer));
    security.mark_unchanged();
    secret.exchange("2", &entry(Role::Operator, &new));
    security.changed().await.unwrap();
    assert_eq!(role(&security, &new), Some(Role::Operator));
    assert_eq!(role(&security, &old), None, "the old token was taken out");
    stop.cancel();
    following.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_broken_file_leaves_the_earlier_one_in_use_and_is_counted_once() {
    let (secret, token) = (Secret::new(), Token::generate().unwrap());
    secret.exchange("1", &entry(Role::Trainer, &token));
    let metrics = SecurityMetrics::default();
    let stop = CancellationToken::new();
    let (mut security, follow) = start(secret.files(), metrics.clone(), stop.clone()).unwrap();
    let following = tokio::spawn(follow);
    secret.exchange("2", "garbage");
    while !metrics.is_failing() {
        tokio::time::sleep(READ_EVERY).await;
    }
    tokio::time::sleep(READ_EVERY * 3).await;
    assert_eq!(metrics.failures(), 1);
    assert_eq!(role(&security, &token), Some(Role::Trainer));
    security.mark_unchanged();
    secret.exchange("3", &entry(Role::Reader, &token));
    security.changed().await.unwrap();
    assert!(!metrics.is_failing());
    assert_eq!(role(&security, &token), Some(Role::Reader));
    stop.cancel();
    following.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_broken_certificate_does_not_keep_a_token_from_being_revoked() {
    let (secret, token) = (Secret::new(), Token::generate().unwrap());
    secret.exchange("1", &entry(Role::Trainer, &token));
    let (chain, key) = (secret.dir.path().join("a.crt"), secret.dir.path().join("a.key"));
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    fs::write(&chain, pair.cert.pem()).unwrap();
    fs::write(&key, pair.key_pair.serialize_pem()).unwrap();
    let files = SecurityFiles {
        tls: Some((chain.clone(), key)),
        ..secret.files()
    };
    let stop = CancellationToken::new();
    let (mut security, follow) = start(files, SecurityMetrics::default(), stop.clone()).unwrap();
    let following = tokio::spawn(follow);
    security.mark_unchanged();
    fs::write(&chain, "garbage").unwrap();
    secret.exchange("2", "");
    security.changed().await.unwrap();
    assert_eq!(role(&security, &token), None);
    assert!(security.borrow().tls.is_some(), "the earlier certificate stays in use");
    stop.cancel();
    following.await.unwrap();
}

#[test]
fn a_file_that_cannot_be_used_at_the_start_is_named() {
    let secret = Secret::new();
    let refused = || match start(secret.files(), SecurityMetrics::default(), CancellationToken::new()) {
        Ok(_) => panic!("it must be refused"),
        Err(problem) => problem,
    };
    assert!(refused().contains("callers.toml: No such file"), "{}", refused());
    secret.exchange("1", "[[caller]]\nname = \"a\"\n");
    assert!(refused().contains("callers.toml: line 1: role"), "{}", refused());
    let token = Token::generate().unwrap();
    secret.exchange("2", &entry(Role::Reader, &token));
    fs::set_permissions(secret.path(), fs::Permissions::from_mode(0o666)).unwrap();
    assert!(refused().contains("chmod o-w"), "{}", refused());
}
