//! The served methods, by their paths. A path that is unknown never becomes a label or the name of a span.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use prost::Message;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};

use crate::server::place::Place;
use crate::server::reflection::DESCRIPTOR_SETS;

/// Methods that may wait for an event for hours before they answer.
const WAITING: [&str; 2] = [
    "qres.v1.WeightsService/FetchWeights",
    "qres.v1.SubmissionService/GetSubmission",
];
/// Method whose request is one message of up to 4 MiB: it counts as an upload.
const HEAVY: &str = "qres.v1.StateService/PublishState";

/// A method of the contract, of health or of reflection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) struct Method {
    /// `package.Service/Method`, or `_OTHER` for a path that is not served.
    pub(in crate::server) name: &'static str,
    /// The kind of [`Place`] that a call takes.
    pub(super) place: Place,
    /// True if a call is short: it gets a reserved place if there is no other.
    pub(super) short: bool,
    /// The way in which the request is read.
    pub(super) reading: Reading,
}

/// The way in which a request is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// The whole request is read before the call begins.
    Whole,
    /// The call begins at once, and the whole request must come within a time.
    Within,
    /// The call begins at once, and each part of the request must come within a time.
    EachWithin,
    /// The handler of the call reads the request and limits the time.
    Handler,
}

const OTHER: Method = Method {
    name: "_OTHER",
    place: Place::Call,
    short: false,
    reading: Reading::Whole,
};

/// All methods by their path without the leading slash.
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

/// Returns the [`Place`] of a method, true if it is short, and the [`Reading`] of its request.
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
    /// Returns the method at an HTTP path, or [`OTHER`].
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
