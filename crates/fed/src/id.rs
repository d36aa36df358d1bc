//! Names for things: content digests, node identities and time.

use std::fmt;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};

/// A text that is not the 64 lowercase hex digits of an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be 64 lowercase hex digits (32 bytes), got {got:?}")]
pub struct ParseIdError {
    /// The kind of id that was expected, e.g. `CheckpointId`.
    pub what: &'static str,
    /// What was given, cut to 80 characters.
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
            /// The BLAKE3 digest of `bytes`, as this kind of id.
            pub fn of(bytes: &[u8]) -> Self {
                Self(*blake3::hash(bytes).as_bytes())
            }

            /// The first eight hex digits: enough for a person to tell two apart in a log line.
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
    /// BLAKE3 of a blob's bytes: how tensors are stored and moved.
    BlobId
);
id!(
    /// BLAKE3 of a spec's canonical bytes. A spec is stored as a blob of just those bytes, so this is that blob's id too.
    SpecId
);
id!(
    /// BLAKE3 of a contribution's canonical bytes.
    ContributionId
);
id!(
    /// BLAKE3 of a checkpoint's canonical bytes: no sealer and no signature in it.
    CheckpointId
);
id!(
    /// BLAKE3 of a seal's canonical bytes (with its sealer): two sealers of one checkpoint have two seal ids.
    SealId
);
id!(
    /// BLAKE3 of an equivocation proof's canonical bytes.
    ProofId
);
id!(
    /// BLAKE3 of a submission's trainer, base and content: what a node answers to its trainer.
    SubmissionId
);
id!(
    /// What would be aggregated, before the result is known: a checkpoint's canonical bytes without the result.
    ProposalId
);
id!(
    /// A node's Ed25519 public key. The mesh shows it as a libp2p `PeerId`, which wraps the same 32 bytes.
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
    /// This instant, `ms` later; saturates.
    #[must_use]
    pub fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this instant, 0 when `earlier` is not earlier.
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
        // BLAKE3's published vector for "abc".
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
