//! The owners of blobs.

use std::fmt;

use qres_fed::id::{BlobId, SpecId};

/// Owner of a blob. A blob is found only under the owner under which it was put: a blob of one model is never used for
/// another model, and never served under another model, even if a peer names its digest
/// (`docs/adr/0006-blobs-by-owner.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// This node: blobs that its trainers sent. They are never served.
    Node,
    /// The specs of known models. Every peer may read them.
    Specs,
    /// A model. If it has a list of members, only they may read its blobs.
    Model(SpecId),
}

impl Owner {
    /// Returns the owner of a blob of this model. The spec's own bytes belong to [`Owner::Specs`], all other blobs to the
    /// model.
    pub fn of(spec: SpecId, blob: &BlobId) -> Self {
        if BlobId::from(spec) == *blob {
            Self::Specs
        } else {
            Self::Model(spec)
        }
    }

    /// Returns the owner whose directory has this name; `None` when no owner has it.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "node" => Some(Self::Node),
            "specs" => Some(Self::Specs),
            id => id.parse().ok().map(Self::Model),
        }
    }
}

/// Writes the name of the owner's directory.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node => f.write_str("node"),
            Self::Specs => f.write_str("specs"),
            Self::Model(spec) => write!(f, "{spec}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_s_name_tells_the_owner_again() {
        let spec = SpecId([7; 32]);
        for owner in [Owner::Node, Owner::Specs, Owner::Model(spec)] {
            assert_eq!(Owner::from_name(&owner.to_string()), Some(owner));
        }
        assert_eq!(Owner::from_name("ab"), None);
        assert_eq!(Owner::of(spec, &BlobId([7; 32])), Owner::Specs);
        assert_eq!(Owner::of(spec, &BlobId([8; 32])), Owner::Model(spec));
    }
}
