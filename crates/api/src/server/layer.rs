//! The tower layers around every call, one file each, and what they share.

pub(super) mod access;
pub(super) mod answer;
pub(super) mod deadline;
pub(super) mod limit;
pub(super) mod method;
pub(super) mod metrics;
pub(super) mod outcome;
pub(super) mod request;
pub(super) mod trace;
pub(super) mod translate;

use tonic::body::Body;
use tonic::codegen::http;

type Request = http::Request<Body>;
type Response = http::Response<Body>;
