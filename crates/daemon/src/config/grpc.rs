//! The configuration of gRPC.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use qres_access::tls::Oldest;

/// Where gRPC listens, who may call, and how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcConfig {
    /// The address on which gRPC listens.
    pub addr: SocketAddr,
    /// The Unix socket on which gRPC listens too.
    pub socket: Option<PathBuf>,
    /// The files of TLS and of callers.
    pub security: SecurityFiles,
    /// The most connections of callers.
    pub connections_max: usize,
    /// The most short calls at the same time.
    pub calls_max: usize,
    /// The most streams at the same time on one connection.
    pub streams_max: u32,
    /// The most calls a second of one caller; `None` = no limit.
    pub rate_max: Option<NonZeroU32>,
}

/// The paths of the files of TLS and of callers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecurityFiles {
    /// The server's certificate chain and its private key, in PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The CA of client certificates, in PEM.
    pub client_ca: Option<PathBuf>,
    /// The callers file.
    pub callers: Option<PathBuf>,
    /// The oldest version of TLS that is spoken.
    pub oldest: Oldest,
}

impl SecurityFiles {
    /// Returns true if a call must show who makes it.
    pub fn has_credentials(&self) -> bool {
        self.client_ca.is_some() || self.callers.is_some()
    }
}
