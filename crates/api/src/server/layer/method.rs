//! The methods that are served, by their paths: a caller's free text never becomes a label or a span's name.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use prost::Message;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};

use crate::server::place::Place;
use crate::server::reflection::DESCRIPTOR_SETS;

/// Answered when something has happened, which may take hours.
const WAITING: [&str; 2] = [
    "qres.v1.WeightsService/FetchWeights",
    "qres.v1.SubmissionService/GetSubmission",
];
/// One message of up to 4 MiB: as heavy as an upload.
const HEAVY: &str = "qres.v1.StateService/PublishState";

/// A method of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) struct Method {
    /// `package.Service/Method`, or `_OTHER` for a path that is none of ours.
    pub(in crate::server) name: &'static str,
    /// What a call takes.
    pub(super) place: Place,
    /// Short: where there is no place it gets a reserved one.
    pub(super) short: bool,
    /// How its request is read.
    pub(super) reading: Reading,
}

/// How a request is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// All of it before the call begins.
    Whole,
    /// All of it within a time.
    Within,
    /// Each part of it within a time.
    EachWithin,
    /// As its handler likes.
    Handler,
}

const OTHER: Method = Method {
    name: "_OTHER",
    place: Place::Call,
    short: false,
    reading: Reading::Whole,
};

/// By path without the leading slash.
static METHODS: LazyLock<BTreeMap<String, (Place, bool, Reading)>> = LazyLock::new(|| {
    let mut methods = BTreeMap::new();
    for set in DESCRIPTOR_SETS {
        let set = FileDescriptorSet::decode(set).expect("a set made at build time decodes");
        for file in set.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("{}.{}/{}", file.package(), service.name(), method.name());
                    let kind = kind(&path, method);
                    methods.insert(path, kind);
                }
            }
        }
    }
    methods
});

/// What a method takes, whether it is short, and how its request is read.
fn kind(path: &str, method: &MethodDescriptorProto) -> (Place, bool, Reading) {
    let probe = path.starts_with("grpc.");
    match (method.client_streaming(), method.server_streaming()) {
        (true, _) if probe => (Place::Probe, false, Reading::EachWithin),
        (true, _) => (Place::Upload, false, Reading::Handler),
        (false, _) if path == HEAVY => (Place::Upload, false, Reading::Within),
        (false, _) if WAITING.contains(&path) => (Place::Wait, false, Reading::Whole),
        (false, true) if !probe => (Place::Watch, false, Reading::Whole),
        (false, streams) if probe => (Place::Probe, !streams, Reading::Whole),
        (false, _) => (Place::Call, true, Reading::Whole),
    }
}

impl Method {
    /// The method at an HTTP path.
    pub(in crate::server) fn of(path: &str) -> Self {
        let found = METHODS.get_key_value(path.strip_prefix('/').unwrap_or(path));
        found.map_or(OTHER, |(name, &(place, short, reading))| Self {
            name,
            place,
            short,
            reading,
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
        assert_eq!(Method::of("/qres.v1.WeightsService/Nothing"), OTHER);
        assert_eq!(Method::of(""), OTHER);
    }

    #[test]
    fn every_kind_of_call_has_its_places() {
        for (path, place, short) in [
            ("/qres.v1.WeightsService/SubmitWeights", Place::Upload, false),
            ("/qres.v1.ModelService/CreateModel", Place::Upload, false),
            ("/qres.v1.StateService/PublishState", Place::Upload, false),
            ("/qres.v1.WeightsService/FetchWeights", Place::Wait, false),
            ("/qres.v1.SubmissionService/GetSubmission", Place::Wait, false),
            ("/qres.v1.StateService/SubscribeState", Place::Watch, false),
            ("/qres.v1.PeerService/WatchPeers", Place::Watch, false),
            ("/qres.v1.NodeService/GetNode", Place::Call, true),
            ("/qres.v1.ModelService/ListModels", Place::Call, true),
            ("/grpc.health.v1.Health/Check", Place::Probe, true),
            ("/grpc.health.v1.Health/Watch", Place::Probe, false),
            (
                "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                Place::Probe,
                false,
            ),
        ] {
            let method = Method::of(path);
            assert_eq!((method.place, method.short), (place, short), "{path}");
        }
    }
}
