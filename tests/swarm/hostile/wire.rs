//! Messages of the mesh as docs and protos state them, written again by hand: a hostile peer shares no code with the nodes.

/// The message `qres.mesh.v1.Envelope`. Its oneof is written as optional fields, of which at most one is set.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Envelope {
    #[prost(message, optional, tag = "1")]
    pub epiphany: Option<Epiphany>,
    #[prost(message, optional, tag = "2")]
    pub seal: Option<SealAnnouncement>,
    #[prost(message, optional, tag = "3")]
    pub proof: Option<ProofAnnouncement>,
    #[prost(message, optional, tag = "4")]
    pub spec: Option<SpecAnnouncement>,
    #[prost(string, tag = "15")]
    pub traceparent: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Epiphany {
    #[prost(string, tag = "1")]
    pub model_type: String,
    #[prost(bytes = "vec", tag = "2")]
    pub weights: Vec<u8>,
    #[prost(float, tag = "3")]
    pub fidelity_score: f32,
    #[prost(bytes = "vec", tag = "4")]
    pub contribution: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    pub signature: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SealAnnouncement {
    #[prost(bytes = "vec", tag = "1")]
    pub seal: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub signature: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ProofAnnouncement {
    #[prost(bytes = "vec", tag = "1")]
    pub proof: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SpecAnnouncement {
    #[prost(bytes = "vec", tag = "1")]
    pub spec: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(bytes = "vec", tag = "4")]
    pub creator: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    pub signature: Vec<u8>,
}

/// The message that travels on the topic `qres/v1/state`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StateEnvelope {
    #[prost(bytes = "vec", tag = "1")]
    pub body: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub signature: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub tensors: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct BlobRequest {
    #[prost(message, optional, tag = "1")]
    pub get: Option<BlobGet>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct BlobGet {
    #[prost(bytes = "vec", tag = "1")]
    pub spec: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub blob: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct BlobAnswer {
    #[prost(int32, tag = "1")]
    pub status: i32,
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
}

/// Status of a [`BlobAnswer`] that has the blob: `BLOB_STATUS_OK`.
pub const OK: i32 = 1;
/// Status of a [`BlobAnswer`] without the blob: `BLOB_STATUS_NOT_FOUND`.
pub const NOT_FOUND: i32 = 2;
/// Status of a [`BlobAnswer`] to a peer that may not read the blob: `BLOB_STATUS_DENIED`.
pub const DENIED: i32 = 3;

#[derive(Clone, PartialEq, prost::Message)]
pub struct SyncRequest {
    #[prost(message, optional, tag = "1")]
    pub specs: Option<SyncSpecs>,
    #[prost(message, optional, tag = "2")]
    pub digest: Option<OfSpec>,
    #[prost(message, optional, tag = "4")]
    pub records: Option<SyncRecords>,
    #[prost(message, optional, tag = "5")]
    pub states: Option<OfSpec>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SyncSpecs {}

/// The messages `SyncDigest` and `SyncStates`, which both name a spec.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OfSpec {
    #[prost(bytes = "vec", tag = "1")]
    pub spec: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SyncRecords {
    #[prost(bytes = "vec", tag = "1")]
    pub spec: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub keys: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SyncItem {
    #[prost(message, optional, tag = "1")]
    pub end: Option<SyncEnd>,
    /// A `SyncSpec`, which has the same fields as a [`SpecAnnouncement`].
    #[prost(message, optional, tag = "2")]
    pub spec: Option<SpecAnnouncement>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SyncEnd {
    #[prost(int32, tag = "1")]
    pub status: i32,
}

/// Status of a [`SyncEnd`] after all items were sent: `SYNC_STATUS_OK`.
pub const SYNC_OK: i32 = 1;
/// Status of a [`SyncEnd`] if the model is not joined, or the peer may not read it: `SYNC_STATUS_NOT_FOUND`.
pub const SYNC_NOT_FOUND: i32 = 2;
