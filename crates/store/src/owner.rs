//! Whose a blob is.

use std::fmt;

use qres_fed::id::{BlobId, SpecId};

/// Whose a blob is. A blob is found only under the owner it was put under: what one model holds is never used for another
/// model, and never served under another model, whoever names its digest (`docs/adr/0006-blobs-by-owner.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// This node: what its trainers sent. Never served.
    Node,
    /// The specs of known models. Anyone may read them.
    Specs,
    /// One model: its members alone may read it when the model has a list.
    Model(SpecId),
}

impl Owner {
    /// Whose a blob of this model is: a spec's own bytes belong to the specs.
    pub fn of(spec: SpecId, blob: &BlobId) -> Self {
        if BlobId::from(spec) == *blob {
            Self::Specs
        } else {
            Self::Model(spec)
        }
    }

    /// Whose directory has this name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "node" => Some(Self::Node),
            "specs" => Some(Self::Specs),
            id => id.parse().ok().map(Self::Model),
        }
    }
}

/// The name of the owner's directory.
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
