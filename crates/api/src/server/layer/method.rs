//! The methods that are served, by their paths: a caller's free text never becomes a label or a span's name.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use prost::Message;
use prost_types::FileDescriptorSet;

use crate::server::reflection::DESCRIPTOR_SETS;

/// A method of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) struct Method {
    /// `package.Service/Method`, or `_OTHER` for a path that is none of ours.
    pub(in crate::server) name: &'static str,
    /// Takes a stream of data.
    pub(in crate::server) upload: bool,
    /// Health and reflection: for operators, also when the node is busy.
    pub(in crate::server) operators: bool,
}

const OTHER: Method = Method {
    name: "_OTHER",
    upload: false,
    operators: false,
};

/// By path without the leading slash; the value is whether the caller streams.
static METHODS: LazyLock<BTreeMap<String, bool>> = LazyLock::new(|| {
    let mut methods = BTreeMap::new();
    for set in DESCRIPTOR_SETS {
        let set = FileDescriptorSet::decode(set).expect("a set made at build time decodes");
        for file in set.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("{}.{}/{}", file.package(), service.name(), method.name());
                    methods.insert(path, method.client_streaming());
                }
            }
        }
    }
    methods
});

impl Method {
    /// The method at an HTTP path.
    pub(in crate::server) fn of(path: &str) -> Self {
        let found = METHODS.get_key_value(path.strip_prefix('/').unwrap_or(path));
        found.map_or(OTHER, |(name, &streams)| {
            let operators = name.starts_with("grpc.");
            Self {
                name,
                upload: streams && !operators,
                operators,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_methods_keep_their_names_and_others_share_one() {
        let submit = Method::of("/qres.v1.WeightsService/SubmitWeights");
        assert_eq!(submit.name, "qres.v1.WeightsService/SubmitWeights");
        assert!(submit.upload && !submit.operators);
        assert!(!Method::of("/qres.v1.WeightsService/FetchWeights").upload);
        assert!(Method::of("/grpc.health.v1.Health/Check").operators);
        let reflection = Method::of("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo");
        assert!(reflection.operators && !reflection.upload);
        assert_eq!(Method::of("/qres.v1.WeightsService/Nothing"), OTHER);
        assert_eq!(Method::of(""), OTHER);
    }
}
