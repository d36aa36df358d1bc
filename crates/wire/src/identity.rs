//! A node's Ed25519 identity: a key file with mode 0600, signatures, and the libp2p peer id that wraps the same key.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use libp2p::PeerId;
use libp2p::identity::{self, ed25519};
use qres_fed::id::NodeId;
use qres_fed::record::{Authored, Signature, Signed};

use qres_files::private;

/// A longer file is no key: one has 32 bytes.
const FILE_BYTES_MAX: u64 = 4096;

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read or made.
    #[error("identity key {path}: {error}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Others could write the key, or it is not this user's and others could read it.
    #[error("identity key {path} has mode {mode:o}, so others could read or replace it: run `chmod 600 {path}`")]
    Mode {
        /// Where.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// An empty file in a data directory in which a node has worked.
    #[error(
        "identity key {path} is empty, and this data directory holds records of a node: put that node's copy of the key back; \
         without one, start with an empty --data-dir: the node is then another one, a member of nothing"
    )]
    Empty {
        /// Where.
        path: PathBuf,
    },
    /// Not 32 bytes.
    #[error(
        "identity key {path} is no Ed25519 key: expected 32 bytes, found {bytes}. Put this node's copy of the key back; without \
         one, start with an empty --data-dir: the node is then another one, a member of nothing"
    )]
    Malformed {
        /// Where.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
}

/// A key pair.
#[derive(Clone)]
pub struct Identity {
    keypair: ed25519::Keypair,
}

impl Identity {
    /// Reads the key file, or makes one (0600) when there is none.
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

    /// Takes the rights of others to read the key away, where the file is this user's: copies and volumes of containers set
    /// them. One of root's may be read by its group, as a mounted secret is. A key that all could write is nobody's.
    fn make_private(path: &Path, found: &Metadata) -> Result<(), IdentityError> {
        let mode = found.permissions().mode() & 0o777;
        let own = found.uid() == rustix::process::geteuid().as_raw();
        let refused = match own {
            true => mode & 0o002 != 0,
            false => found.uid() != 0 || mode & 0o027 != 0,
        };
        let mended = !refused && (!own || mode & 0o077 == 0 || private::make_private(path).is_ok());
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

    /// Removes an empty key file: a node of before left it behind when it was killed, or met a full disk, while it made its key.
    /// Only for a data directory in which no node has worked, so that nothing can have been signed with the key.
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

    /// A fresh key, on the disk before it is used.
    fn create(path: &Path) -> std::io::Result<Self> {
        let keypair = ed25519::Keypair::generate();
        private::replace(path, keypair.secret().as_ref())?;
        Ok(Self { keypair })
    }

    /// A fresh key that is stored nowhere, for tests.
    pub fn ephemeral() -> Self {
        Self {
            keypair: ed25519::Keypair::generate(),
        }
    }

    /// The public key.
    pub fn node(&self) -> NodeId {
        NodeId(self.keypair.public().to_bytes())
    }

    /// For libp2p.
    pub fn keypair(&self) -> identity::Keypair {
        self.keypair.clone().into()
    }

    /// Signs a record's canonical bytes.
    pub fn sign<T: Authored>(&self, record: T) -> Signed<T> {
        let signature = self.sign_bytes(&record.to_canonical());
        Signed { record, signature }
    }

    /// Signs bytes.
    pub fn sign_bytes(&self, bytes: &[u8]) -> Signature {
        let signature = self.keypair.sign(bytes);
        Signature(signature.try_into().expect("an Ed25519 signature has 64 bytes"))
    }
}

/// Whether the record's author made the signature.
pub fn verify<T: Authored>(signed: &Signed<T>) -> bool {
    verify_bytes(
        &signed.record.author(),
        &signed.record.to_canonical(),
        &signed.signature,
    )
}

/// Whether `node` signed these bytes.
pub fn verify_bytes(node: &NodeId, bytes: &[u8], signature: &Signature) -> bool {
    ed25519::PublicKey::try_from_bytes(&node.0).is_ok_and(|key| key.verify(bytes, &signature.0))
}

/// A node by its node id (64 lowercase hex digits) or its libp2p peer id; `None` when it is neither, or no key.
pub fn parse(text: &str) -> Option<NodeId> {
    let from_peer_id = || node_id(&text.parse().ok()?);
    let node = text.parse::<NodeId>().ok().or_else(from_peer_id);
    // Most 32 bytes are no point on the curve.
    node.filter(|node| peer_id(node).is_some())
}

/// The libp2p peer id of a node.
pub fn peer_id(node: &NodeId) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(&node.0).ok()?;
    Some(identity::PublicKey::from(key).to_peer_id())
}

/// The node behind a libp2p peer id: an Ed25519 peer id holds the whole key.
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
}
