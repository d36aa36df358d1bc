//! A node's Ed25519 identity: a key file with mode 0600, signatures, and the libp2p peer id that wraps the same key.

use std::fs::Metadata;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use libp2p::PeerId;
use libp2p::identity::{self, ed25519};
use qres_fed::id::NodeId;
use qres_fed::record::{Authored, Signature, Signed};

use qres_files::private;

/// Largest key file that is read, in bytes. A key has 32 bytes, so a longer file is no key.
const FILE_BYTES_MAX: u64 = 4096;

/// Length of a key in its file, in bytes.
const SECRET_BYTES: usize = 32;

/// Reason why a node has no [`Identity`].
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The key file cannot be read or made.
    #[error("identity key {path}: {error}")]
    Io {
        /// Path of the key file.
        path: PathBuf,
        /// The error of the file system.
        error: std::io::Error,
    },
    /// Other users could replace or read the key: all users may write it, or it belongs to another user (a key of root
    /// that at most its group may read is accepted), or its mode cannot be set to 0600.
    #[error("identity key {path} has mode {mode:o}, so others could read or replace it: run `chmod 600 {path}`")]
    Mode {
        /// Path of the key file.
        path: PathBuf,
        /// Permission bits of the key file.
        mode: u32,
    },
    /// The key file is empty, in a data directory in which a node has worked.
    #[error(
        "identity key {path} is empty, and this data directory holds records of a node: put that node's copy of the key back; \
         without one, start with an empty --data-dir: the node is then another one, a member of nothing"
    )]
    Empty {
        /// Path of the key file.
        path: PathBuf,
    },
    /// The data directory has another key than the file that was given for it.
    #[error(
        "identity key {path} is another one than the key in {given}: with the wrong key or the wrong data directory the node \
         would be another node. Give it the file of its own key, or none"
    )]
    Other {
        /// Path of the key file.
        path: PathBuf,
        /// Path of the file that was given.
        given: PathBuf,
    },
    /// The key file does not hold a key of 32 bytes.
    #[error(
        "identity key {path} is no Ed25519 key: expected 32 bytes, found {bytes}. Put this node's copy of the key back; without \
         one, start with an empty --data-dir: the node is then another one, a member of nothing"
    )]
    Malformed {
        /// Path of the key file.
        path: PathBuf,
        /// Length of the key file, in bytes.
        bytes: usize,
    },
}

/// The Ed25519 key pair of a node.
#[derive(Clone)]
pub struct Identity {
    keypair: ed25519::Keypair,
}

impl Identity {
    /// Reads the key file, or makes one (mode 0600) when there is none. Fails with an [`IdentityError`].
    pub fn load_or_create(path: &Path) -> Result<Self, IdentityError> {
        let fail = |error| IdentityError::Io {
            path: path.to_owned(),
            error,
        };
        let found = match std::fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return Self::create(path).map_err(fail),
            Err(error) => return Err(fail(error)),
        };
        if found.is_file() {
            Self::make_private(path, &found)?;
        }
        let mut bytes = private::read(path, FILE_BYTES_MAX).map_err(fail)?;
        if bytes.is_empty() {
            return Err(IdentityError::Empty { path: path.to_owned() });
        }
        let length = bytes.len();
        let secret = ed25519::SecretKey::try_from_bytes(&mut bytes).map_err(|_| IdentityError::Malformed {
            path: path.to_owned(),
            bytes: length,
        })?;
        Ok(Self { keypair: secret.into() })
    }

    /// Looks at a key file, and changes nothing. Returns its mode, `None` if there is no file yet, and otherwise the error with
    /// which [`load_or_create`](Self::load_or_create) would fail.
    pub fn examine(path: &Path) -> Result<Option<u32>, IdentityError> {
        let fail = |error| IdentityError::Io {
            path: path.to_owned(),
            error,
        };
        let found = match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            found => found.map_err(fail)?,
        };
        let mode = found.permissions().mode() & 0o777;
        if found.is_file() && is_refused(&found) {
            let path = path.to_owned();
            return Err(IdentityError::Mode { path, mode });
        }
        match private::read(path, FILE_BYTES_MAX).map_err(fail)?.len() {
            SECRET_BYTES => Ok(Some(mode)),
            0 => Err(IdentityError::Empty { path: path.to_owned() }),
            bytes => Err(IdentityError::Malformed {
                path: path.to_owned(),
                bytes,
            }),
        }
    }

    /// Copies the key in the file `given` to the key file if there is none yet. An administrator keeps keys that way, for
    /// example in a Secret, and the node comes back as itself when its data directory is lost. Fails with an
    /// [`IdentityError`] if the key file holds another key.
    pub fn import(path: &Path, given: &Path) -> Result<(), IdentityError> {
        let fail = |error| IdentityError::Io {
            path: given.to_owned(),
            error,
        };
        // A mounted Secret is a symbolic link, which is followed here: the administrator names this file, not the node.
        let mut bytes = Vec::new();
        let file = std::fs::File::open(given).map_err(fail)?;
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(fail)?;
        let length = bytes.len();
        let mut copy = bytes.clone();
        let secret = ed25519::SecretKey::try_from_bytes(&mut copy).map_err(|_| IdentityError::Malformed {
            path: given.to_owned(),
            bytes: length,
        })?;
        if !std::fs::exists(path).map_err(fail)? {
            return private::replace(path, &bytes).map_err(fail);
        }
        let given_node = Self { keypair: secret.into() }.node();
        match Self::load_or_create(path)?.node() == given_node {
            true => Ok(()),
            false => Err(IdentityError::Other {
                path: path.to_owned(),
                given: given.to_owned(),
            }),
        }
    }

    /// Makes a key file of this user private (mode 0600) if its group may read or write it, or others may read it: copies
    /// and volumes of containers set such modes. A key file of root may be readable by its group, as a mounted secret is.
    /// A key that all users could write is refused with [`IdentityError::Mode`]: any of them may have replaced it.
    fn make_private(path: &Path, found: &Metadata) -> Result<(), IdentityError> {
        let mode = found.permissions().mode() & 0o777;
        let own = is_own(found);
        let mended = !is_refused(found) && (!own || mode & 0o077 == 0 || private::make_private(path).is_ok());
        if !mended {
            let path = path.to_owned();
            return Err(IdentityError::Mode { path, mode });
        }
        if mode & 0o077 != 0 {
            tracing::warn!(
                path = %path.display(),
                "identity key with mode {mode:04o}: others could read it{}",
                if own { "; it is 0600 now" } else { "" }
            );
        }
        Ok(())
    }

    /// Removes an empty key file. An earlier start of a node left it behind when it was killed, or met a full disk, while
    /// it made its key. Only for a data directory in which no node has worked, so that no record can have been signed
    /// with the key.
    pub fn forget_empty(path: &Path) -> Result<(), IdentityError> {
        let removed = match std::fs::symlink_metadata(path) {
            Ok(found) if found.is_file() && found.len() == 0 => std::fs::remove_file(path),
            _ => Ok(()),
        };
        removed.map_err(|error| IdentityError::Io {
            path: path.to_owned(),
            error,
        })
    }

    /// Makes a new key and writes it to the disk before it is used.
    fn create(path: &Path) -> std::io::Result<Self> {
        let keypair = ed25519::Keypair::generate();
        private::replace(path, keypair.secret().as_ref())?;
        Ok(Self { keypair })
    }

    /// Makes a new key that is stored nowhere, for tests.
    pub fn ephemeral() -> Self {
        Self {
            keypair: ed25519::Keypair::generate(),
        }
    }

    /// Returns the public key, which is the node's id ([`NodeId`]).
    pub fn node(&self) -> NodeId {
        NodeId(self.keypair.public().to_bytes())
    }

    /// Returns the key pair in the form that libp2p takes.
    pub fn keypair(&self) -> identity::Keypair {
        self.keypair.clone().into()
    }

    /// Signs a record's canonical bytes.
    pub fn sign<T: Authored>(&self, record: T) -> Signed<T> {
        let signature = self.sign_bytes(&record.to_canonical());
        Signed { record, signature }
    }

    /// Signs bytes with the node's key.
    pub fn sign_bytes(&self, bytes: &[u8]) -> Signature {
        let signature = self.keypair.sign(bytes);
        Signature(signature.try_into().expect("an Ed25519 signature has 64 bytes"))
    }
}

fn is_own(found: &Metadata) -> bool {
    found.uid() == rustix::process::geteuid().as_raw()
}

/// Returns true if others could have replaced the key file, or could read it and this process cannot end that.
fn is_refused(found: &Metadata) -> bool {
    let mode = found.permissions().mode();
    match is_own(found) {
        true => mode & 0o002 != 0,
        false => found.uid() != 0 || mode & 0o027 != 0,
    }
}

/// Returns true if the record's author made the signature.
pub fn verify<T: Authored>(signed: &Signed<T>) -> bool {
    verify_bytes(
        &signed.record.author(),
        &signed.record.to_canonical(),
        &signed.signature,
    )
}

/// Returns true if `node` signed these bytes.
pub fn verify_bytes(node: &NodeId, bytes: &[u8], signature: &Signature) -> bool {
    ed25519::PublicKey::try_from_bytes(&node.0).is_ok_and(|key| key.verify(bytes, &signature.0))
}

/// Parses a node id (64 lowercase hex digits) or a libp2p peer id; `None` when the text is neither, or names no valid
/// key.
pub fn parse(text: &str) -> Option<NodeId> {
    let from_peer_id = || node_id(&text.parse().ok()?);
    let node = text.parse::<NodeId>().ok().or_else(from_peer_id);
    // Not every 32 bytes are a point on the curve, and so a key.
    node.filter(|node| peer_id(node).is_some())
}

/// Returns the libp2p [`PeerId`] of a node; `None` when the node id is no valid key.
pub fn peer_id(node: &NodeId) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(&node.0).ok()?;
    Some(identity::PublicKey::from(key).to_peer_id())
}

/// Returns the node behind a libp2p [`PeerId`], which holds the whole Ed25519 key; `None` for other peer ids.
pub fn node_id(peer: &PeerId) -> Option<NodeId> {
    let multihash = peer.as_ref();
    // Code 0 is the identity hash: the digest is the protobuf-encoded public key itself.
    if multihash.code() != 0 {
        return None;
    }
    let key = identity::PublicKey::try_decode_protobuf(multihash.digest()).ok()?;
    Some(NodeId(key.try_into_ed25519().ok()?.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_id_and_a_node_id_are_two_faces_of_one_key() {
        let identity = Identity::ephemeral();
        let peer = identity.keypair().public().to_peer_id();
        assert_eq!(node_id(&peer), Some(identity.node()));
        assert_eq!(peer_id(&identity.node()), Some(peer));
    }

    #[test]
    fn a_key_is_made_private_kept_so_and_refused_once_all_could_write_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.key");
        let first = Identity::load_or_create(&path).unwrap().node();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Identity::load_or_create(&path).unwrap().node(), first);
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let chmod = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        for open in [0o640, 0o660, 0o644] {
            chmod(open);
            assert_eq!(
                (Identity::load_or_create(&path).unwrap().node(), mode()),
                (first, 0o600)
            );
        }
        chmod(0o602);
        let error = Identity::load_or_create(&path).err().unwrap().to_string();
        assert!(error.contains("mode 602") && error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn an_empty_key_is_refused_with_what_to_do_and_can_be_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.key");
        private::replace(&path, b"").unwrap();
        let error = Identity::load_or_create(&path).err().unwrap().to_string();
        assert!(
            error.contains("is empty") && error.contains("copy of the key"),
            "{error}"
        );
        Identity::forget_empty(&path).unwrap();
        let made = Identity::load_or_create(&path).unwrap().node();
        Identity::forget_empty(&path).unwrap();
        assert_eq!(
            Identity::load_or_create(&path).unwrap().node(),
            made,
            "a whole one stays"
        );
        for torn in [&b"7"[..], &[7; 33]] {
            private::replace(&path, torn).unwrap();
            Identity::forget_empty(&path).unwrap();
            let error = Identity::load_or_create(&path).err().unwrap().to_string();
            assert!(error.contains("expected 32 bytes"), "{error}");
        }
    }

    #[test]
    fn a_key_that_is_given_is_taken_once_and_never_replaces_another() {
        let dir = tempfile::tempdir().unwrap();
        let (path, secret) = (dir.path().join("identity.key"), dir.path().join("secret"));
        std::fs::write(dir.path().join("data"), [7; 32]).unwrap();
        std::os::unix::fs::symlink(dir.path().join("data"), &secret).unwrap();
        Identity::import(&path, &secret).unwrap();
        let node = Identity::load_or_create(&path).unwrap().node();
        assert_eq!(std::fs::read(&path).unwrap(), [7; 32]);
        Identity::import(&path, &secret).unwrap();
        std::fs::write(&secret, [8; 32]).unwrap();
        let error = Identity::import(&path, &secret).unwrap_err().to_string();
        assert!(error.contains("is another one than the key in"), "{error}");
        assert_eq!(Identity::load_or_create(&path).unwrap().node(), node);
        std::fs::write(&secret, [8; 33]).unwrap();
        assert!(matches!(
            Identity::import(&path, &secret),
            Err(IdentityError::Malformed { bytes: 33, .. })
        ));
        assert!(matches!(
            Identity::import(&path, &dir.path().join("none")),
            Err(IdentityError::Io { .. })
        ));
    }
}
