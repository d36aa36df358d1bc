//! The readers of callers' input, for the fuzz targets (`fuzz/`) alone: this module is no stable interface.
#![allow(missing_docs)]

use std::time::Duration;

use tonic::Status;
use tonic::codegen::http::HeaderMap;

pub use super::layer::trace::Metadata;
use super::{layer, model, page, state, weights};
use crate::pb;

pub fn timeout(headers: &HeaderMap) -> Option<Duration> {
    layer::deadline::timeout(headers)
}

pub fn submit(header: pb::SubmitWeightsRequest) -> Result<(), Status> {
    weights::submit(header).map(drop)
}

pub fn create(header: pb::CreateModelRequest) -> Result<(), Status> {
    model::create(header).map(drop)
}

pub fn fetch(request: pb::FetchWeightsRequest) -> Result<(), Status> {
    weights::fetch(&request).map(drop)
}

pub fn publish(request: pb::PublishStateRequest) -> Result<(), Status> {
    state::publish(request).map(drop)
}

pub fn page(request: pb::ListModelsRequest) -> Result<(), Status> {
    page::request(request.page_size, request.page_token).map(drop)
}
