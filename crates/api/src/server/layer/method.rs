//! The served methods, by their paths. A path that is unknown never becomes a label or the name of a span.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use prost::Message;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};
use qres_access::Role;

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
    /// The least role that may call the method; `None` if callers need no credential.
    pub(super) role: Option<Role>,
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
    // An unknown caller does not learn what is served.
    role: Some(Role::Reader),
};

/// The least role of each RPC of the contract, ascending by path: the option `required_role` of the RPC.
const ROLES: &[(&str, Role)] = &include!(concat!(env!("OUT_DIR"), "/roles.rs"));

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

/// The one call without a credential: it comes from load balancers, which have none. `Watch` is none: who may open streams can
/// hold the places of others.
const PROBE: &str = "grpc.health.v1.Health/Check";

/// Returns the least role for a method.
fn role(path: &str) -> Option<Role> {
    if path == PROBE {
        return None;
    }
    let found = ROLES.binary_search_by(|(known, _)| (*known).cmp(path));
    Some(found.map_or(Role::Reader, |at| ROLES[at].1))
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
            role: role(name),
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

    #[test]
    fn each_rpc_has_the_role_of_its_option_and_probes_need_none() {
        for (path, role) in [
            ("/qres.v1.ModelService/CreateModel", Some(Role::Operator)),
            ("/qres.v1.NodeService/DrainNode", Some(Role::Operator)),
            ("/qres.v1.WeightsService/SubmitWeights", Some(Role::Trainer)),
            ("/qres.v1.WeightsService/FetchWeights", Some(Role::Reader)),
            (
                "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                Some(Role::Reader),
            ),
            ("/grpc.health.v1.Health/Check", None),
            ("/grpc.health.v1.Health/Watch", Some(Role::Reader)),
            ("/qres.v1.Nothing/Nothing", Some(Role::Reader)),
        ] {
            assert_eq!(Method::of(path).role, role, "{path}");
        }
        let contract = METHODS.keys().filter(|path| path.starts_with("qres.")).count();
        assert_eq!(ROLES.len(), contract);
    }

    #[test]
    fn the_page_of_threats_has_the_table_of_roles() {
        let page = include_str!("../../../../../docs/security.md");
        for (path, role) in ROLES {
            let short = path.trim_start_matches("qres.v1.");
            let row = format!("| `{short}` | {role} |");
            assert!(page.contains(&row), "docs/security.md lacks: {row}");
        }
        assert_eq!(
            page.matches("Service/").count(),
            ROLES.len(),
            "a row of an RPC that is none"
        );
    }
}
