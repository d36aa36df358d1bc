//! Identifiers: content digests and node keys. The module also has the type of a node's own time.

use std::fmt;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};

/// Error for a text that is not the 64 lowercase hex digits of an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be 64 lowercase hex digits (32 bytes), got {got:?}")]
pub struct ParseIdError {
    /// Name of the id type that was expected, e.g. `CheckpointId`.
    pub what: &'static str,
    /// The text that was given, cut to 80 characters.
    pub got: String,
}

fn parse_hex(what: &'static str, text: &str) -> Result<[u8; 32], ParseIdError> {
    let mut bytes = [0; 32];
    let lowercase = !text.bytes().any(|b| b.is_ascii_uppercase());
    if lowercase && hex::decode_to_slice(text, &mut bytes).is_ok() {
        return Ok(bytes);
    }
    Err(ParseIdError {
        what,
        got: text.chars().take(80).collect(),
    })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// Returns the BLAKE3 digest of `bytes` as this kind of id.
            pub fn of(bytes: &[u8]) -> Self {
                Self(*blake3::hash(bytes).as_bytes())
            }

            /// Returns the first eight hex digits, enough for a person to tell two ids apart in a log line.
            pub fn short(&self) -> String {
                hex::encode(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_hex(stringify!($name), text).map(Self)
            }
        }
    };
}

id!(
    /// BLAKE3 of a blob's bytes. Blobs (tensors, coded updates, specs) are stored and transferred under this id.
    BlobId
);
id!(
    /// BLAKE3 of a spec's canonical bytes. A spec is stored as a blob of exactly those bytes, so the same 32 bytes are that
    /// blob's [`BlobId`].
    SpecId
);
id!(
    /// BLAKE3 of a consent's canonical bytes, without its signature.
    ConsentId
);
id!(
    /// BLAKE3 of a contribution's canonical bytes, without its signature.
    ContributionId
);
id!(
    /// BLAKE3 of a checkpoint's canonical bytes. They hold no sealer and no signature, so all seals of one checkpoint give
    /// one id.
    CheckpointId
);
id!(
    /// BLAKE3 of a seal's canonical bytes. They name the sealer, so two sealers of one checkpoint have two seal ids.
    SealId
);
id!(
    /// BLAKE3 of an equivocation proof's tag and of the ids of its two contributions.
    ProofId
);
id!(
    /// BLAKE3 of a submission's trainer, base and content. A node answers its trainer with this id.
    SubmissionId
);
id!(
    /// BLAKE3 of a proposal's canonical bytes: all fields of a checkpoint except the result, which is not known yet.
    ProposalId
);
id!(
    /// A node's Ed25519 public key. The mesh shows the same 32 bytes wrapped as a libp2p `PeerId`.
    NodeId
);

impl From<SpecId> for BlobId {
    fn from(id: SpecId) -> Self {
        Self(id.0)
    }
}

/// A point on a node's own monotonic clock, in milliseconds since an origin that only that node knows.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// Returns the instant `ms` milliseconds after this one; saturates at `u64::MAX`.
    #[must_use]
    pub fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Returns the milliseconds from `earlier` to this instant, 0 if `earlier` is not earlier.
    #[must_use]
    pub fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_what_they_print_and_nothing_else() {
        let id = CheckpointId::of(b"abc");
        // The expected digits are BLAKE3's published test vector for "abc".
        assert_eq!(
            id.to_string(),
            "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
        );
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().to_uppercase().parse::<CheckpointId>().is_err());
        let error = "xyz".parse::<BlobId>().unwrap_err();
        assert!(
            error.to_string().contains("BlobId must be 64 lowercase hex digits"),
            "{error}"
        );
    }
}
