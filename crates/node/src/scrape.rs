//! The figures that are read from the node's parts at each scrape.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use qres_files::descriptors;
use qres_mesh::{Count, MeshCounters};
use qres_store::DiskUse;
use qres_transfer::{FetchResult, StreamKind, TransferCounters};

use crate::catalog::entry::Model;
use crate::catalog::joined::Joined;
use crate::context::NodeContext;
use crate::view::PrivacySpent;

/// A row has a figure's name, its help, and the function that reads it.
type MeshRow = (&'static str, &'static str, fn(&MeshCounters) -> &Count);
type TransferRow = (&'static str, &'static str, fn(&TransferCounters) -> u64);
type ModelRow = (&'static str, &'static str, fn(&NodeContext, &Model, &Joined) -> u64);

/// The mesh's counters; `_total` is added to each name.
const MESH: [MeshRow; 24] = [
    (
        "qres_mesh_published_messages",
        "Gossip messages published, heartbeats included",
        |c| &c.published,
    ),
    (
        "qres_mesh_kept_messages",
        "Messages that no peer took at once and that were kept for the next one",
        |c| &c.publish_kept,
    ),
    (
        "qres_mesh_expired_messages",
        "Kept messages dropped because they were too old or too many",
        |c| &c.publish_expired,
    ),
    (
        "qres_mesh_received_messages",
        "First copies of gossip messages received, all topics",
        |c| &c.received,
    ),
    (
        "qres_mesh_ignored_queue_full_messages",
        "Gossip ignored because the engine's queue was full",
        |c| &c.ignored_queue_full,
    ),
    (
        "qres_mesh_ignored_author_rate_messages",
        "Gossip ignored because its author sent too much",
        |c| &c.ignored_author_rate,
    ),
    (
        "qres_mesh_ignored_carrier_rate_messages",
        "Gossip ignored because its carrier, or all carriers together, brought too much",
        |c| &c.ignored_carrier_rate,
    ),
    (
        "qres_mesh_ignored_not_admitted_messages",
        "Gossip ignored because its sender had not passed the hello",
        |c| &c.ignored_not_admitted,
    ),
    (
        "qres_mesh_rejected_messages",
        "Gossip rejected by the mesh itself: size, shape or author",
        |c| &c.rejected,
    ),
    (
        "qres_mesh_late_verdicts",
        "Verdicts that came after gossipsub had forgotten the message",
        |c| &c.verdicts_late,
    ),
    (
        "qres_mesh_dropped_faults",
        "Faults of peers that found the queue full",
        |c| &c.faults_dropped,
    ),
    (
        "qres_mesh_slow_peers",
        "Times that messages for a peer were dropped because it takes them too slowly",
        |c| &c.slow_peer,
    ),
    (
        "qres_mesh_watchdog_reconnects",
        "Links closed and dialled again because gossip on them was silent",
        |c| &c.watchdog_reconnects,
    ),
    ("qres_mesh_admitted_peers", "Peers admitted after their hello", |c| {
        &c.admitted
    }),
    (
        "qres_mesh_refused_peers",
        "Peers refused: another version or network, or faults",
        |c| &c.refused,
    ),
    ("qres_mesh_banned_peers", "Bans, by score or by hand", |c| &c.banned),
    ("qres_mesh_dial_failures", "Dials that failed", |c| &c.dial_failures),
    (
        "qres_mesh_inbound_failures",
        "Inbound connections that failed or were turned away",
        |c| &c.inbound_failures,
    ),
    (
        "qres_mesh_displaced_handshakes",
        "Inbound handshakes ended because newer connections needed their places",
        |c| &c.handshakes_displaced,
    ),
    (
        "qres_mesh_displaced_newcomers",
        "Connections closed before their hello because newer ones needed their places",
        |c| &c.newcomers_displaced,
    ),
    (
        "qres_mesh_dropped_streams",
        "Inbound streams dropped: their queue was full, or the peer was never admitted",
        |c| &c.streams_dropped,
    ),
    ("qres_mesh_heartbeats_sent", "Heartbeats published", |c| {
        &c.heartbeats_sent
    }),
    ("qres_mesh_heartbeats_received", "Heartbeats accepted", |c| {
        &c.heartbeats_received
    }),
    (
        "qres_mesh_pruned_peers",
        "Peers asked to leave because connections ran out",
        |c| &c.pruned,
    ),
];

/// The counters of transfers; `_total` is added to each name.
const TRANSFER: [TransferRow; 6] = [
    (
        "qres_transfer_sent_bytes",
        "Blob bytes sent to peers, without frames and encryption",
        TransferCounters::sent_bytes,
    ),
    (
        "qres_transfer_received_bytes",
        "Blob bytes received that matched their digest",
        TransferCounters::received_bytes,
    ),
    (
        "qres_transfer_refused_bytes",
        "Blob bytes received that did not match their digest",
        TransferCounters::refused_bytes,
    ),
    (
        "qres_transfer_busy_answers",
        "Times a peer that asked for a blob was told to come back later",
        TransferCounters::busy,
    ),
    (
        "qres_transfer_dropped_streams",
        "Blob streams dropped unread because their peer had too many open",
        TransferCounters::dropped_streams,
    ),
    (
        "qres_transfer_served_blobs",
        "Times that this node began to send a blob to a peer",
        TransferCounters::served,
    ),
];

const MODEL: [ModelRow; 7] = [
    (
        "qres_model_head_round",
        "Round of the head, which may be provisional",
        |_, _, joined| joined.heads.borrow().head.round,
    ),
    (
        "qres_model_confirmed_round",
        "Round of the newest confirmed checkpoint of the head's branch",
        |_, _, joined| joined.heads.borrow().confirmed.round,
    ),
    (
        "qres_model_open_round_contributions",
        "Contributions in the open round, late ones left out",
        |context, model, _| context.metrics.contributions(&model.id),
    ),
    (
        "qres_model_records",
        "Records held in memory: what is old is on the disk alone",
        |_, _, joined| joined.records.load(Ordering::Relaxed) as u64,
    ),
    (
        "qres_model_convicted",
        "1 when there is proof against this node: all members refuse its work",
        |_, _, joined| joined.heads.borrow().conditions.convicted.is_some().into(),
    ),
    (
        "qres_model_comparing",
        "1 after a start, while records are compared and nothing is signed",
        |_, _, joined| joined.heads.borrow().conditions.comparing.is_some().into(),
    ),
    (
        "qres_model_unsettled_rounds",
        "Rounds above the newest settled checkpoint, once there are 32; at 1,024 no more are made",
        |_, _, joined| joined.heads.borrow().conditions.unsettled.map_or(0, |u| u.rounds),
    ),
];

/// A collector that reads the node's parts at each scrape.
pub struct Reading {
    context: Weak<NodeContext>,
    transfer: Arc<TransferCounters>,
}

impl Reading {
    /// Creates a collector that does not keep the node alive.
    pub fn new(context: Weak<NodeContext>, transfer: Arc<TransferCounters>) -> Self {
        Self { context, transfer }
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reading")
    }
}

impl Collector for Reading {
    /// Encodes all figures. Nothing here waits or reads files: a scrape reads atomics and short locks, and asks the system what
    /// is free and open.
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for (name, help, read) in TRANSFER {
            counter(&mut encoder, name, help, read(&self.transfer))?;
        }
        fetches(&mut encoder, &self.transfer)?;
        let Some(context) = self.context.upgrade() else {
            return Ok(());
        };
        traffic(&mut encoder, context.mesh.counters(), &self.transfer)?;
        peers_by_state(&mut encoder, context.mesh.counters())?;
        for (name, help, read) in MESH {
            counter(&mut encoder, name, help, read(context.mesh.counters()).get())?;
        }
        let peers = context.mesh.connected().len() as u64;
        gauge(
            &mut encoder,
            "qres_identity_in_use",
            "1 while another process runs with this node's identity: this one signs nothing",
            u64::from(!context.is_alone()),
        )?;
        gauge(
            &mut encoder,
            "qres_mesh_connected_peers",
            "Peers connected and admitted",
            peers,
        )?;
        let bytes = context.disk.store.blobs().bytes();
        gauge(&mut encoder, "qres_store_blob_bytes", "Bytes of the blobs held", bytes)?;
        disk(&mut encoder, context.disk.store.blobs().disk_use())?;
        let kept = context.disk.store.blobs().uploads_kept() as u64;
        gauge(
            &mut encoder,
            "qres_store_unfinished_uploads",
            "Unfinished uploads with a key that are kept",
            kept,
        )?;
        if let Some(bytes) = context.disk.store.record_bytes() {
            let help = "Bytes of the file of records";
            gauge(&mut encoder, "qres_store_record_bytes", help, bytes)?;
        }
        let found = descriptors::count();
        gauge(
            &mut encoder,
            "qres_open_descriptors",
            "File descriptors in use",
            found.used,
        )?;
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let tasks = runtime.metrics().num_alive_tasks() as u64;
            gauge(&mut encoder, "qres_tasks", "Asynchronous tasks alive", tasks)?;
        }
        gauge(
            &mut encoder,
            "qres_descriptors_max",
            "The most file descriptors",
            found.limit,
        )?;
        models(&mut encoder, &context)
    }
}

/// The sessions that fetched blobs, by their result.
fn fetches(encoder: &mut DescriptorEncoder, transfer: &TransferCounters) -> fmt::Result {
    let help = "Sessions that fetched a blob from a peer, by their result";
    let mut family = encoder.encode_descriptor("qres_transfer_fetches", help, None, MetricType::Counter)?;
    for result in FetchResult::ALL {
        let labels = [("result", result.word())];
        ConstCounter::new(transfer.fetches(result)).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// The bytes of the mesh, once by transport, and once by the kind of the stream.
fn traffic(encoder: &mut DescriptorEncoder, mesh: &MeshCounters, transfer: &TransferCounters) -> fmt::Result {
    let help = "Bytes on the streams of the mesh, without encryption, by direction and transport";
    let mut family = encoder.encode_descriptor("qres_mesh_transport_bytes", help, None, MetricType::Counter)?;
    for (transport, bytes) in [("tcp", &mesh.tcp), ("quic", &mesh.quic)] {
        for (direction, count) in [("sent", &bytes.sent), ("received", &bytes.received)] {
            let labels = [("direction", direction), ("transport", transport)];
            ConstCounter::new(count.get()).encode(family.encode_family(&labels)?)?;
        }
    }
    let help = "Bytes on the streams of blobs and of records, frames included, by direction and kind";
    let mut family = encoder.encode_descriptor("qres_mesh_stream_bytes", help, None, MetricType::Counter)?;
    for (kind, stream) in [("blobs", StreamKind::Blobs), ("records", StreamKind::Records)] {
        let counts = [
            ("sent", transfer.stream_sent(stream)),
            ("received", transfer.stream_received(stream)),
        ];
        for (direction, count) in counts {
            let labels = [("direction", direction), ("kind", kind)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

/// The known peers by state and transport.
fn peers_by_state(encoder: &mut DescriptorEncoder, mesh: &MeshCounters) -> fmt::Result {
    let help = "Known peers by state, and by the transport of their connection";
    let mut family = encoder.encode_descriptor("qres_mesh_peers", help, None, MetricType::Gauge)?;
    for (state, transport, peers) in mesh.census.rows() {
        let labels = [("state", state), ("transport", transport)];
        ConstGauge::new(peers).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn disk(encoder: &mut DescriptorEncoder, disk: DiskUse) -> fmt::Result {
    let rows = [
        (
            "qres_store_pending_bytes",
            "Bytes of blobs on their way in",
            Some(disk.pending),
        ),
        (
            "qres_store_quota_bytes",
            "The most bytes of blobs, those on their way in included",
            disk.limit,
        ),
        (
            "qres_store_unfinished_upload_bytes",
            "Bytes of unfinished uploads with a key",
            Some(disk.uploads),
        ),
        (
            "qres_store_unfinished_upload_quota_bytes",
            "The most bytes of unfinished uploads with a key",
            Some(disk.uploads_limit),
        ),
        (
            "qres_store_free_bytes",
            "Bytes free on the disk, for any program",
            disk.free,
        ),
    ];
    for (name, help, value) in rows {
        if let Some(value) = value {
            gauge(encoder, name, help, value)?;
        }
    }
    Ok(())
}

fn models(encoder: &mut DescriptorEncoder, context: &NodeContext) -> fmt::Result {
    let known = context.catalog.all();
    let joined: Vec<_> = known
        .iter()
        .filter_map(|model| Some((model, model.joined()?)))
        .collect();
    let available = (known.len() - joined.len() + context.catalog.heard().len()) as u64;
    gauge(encoder, "qres_models_joined", "Models joined", joined.len() as u64)?;
    gauge(
        encoder,
        "qres_models_available",
        "Models known from announcements and not joined",
        available,
    )?;
    if joined.is_empty() {
        return Ok(());
    }
    // A model that has ended bears the name of its successor: two series with equal labels would spoil the page.
    let succeeded: BTreeSet<_> = joined.iter().filter_map(|(model, _)| model.spec().succeeds).collect();
    let current: Vec<_> = joined
        .iter()
        .filter(|(model, _)| !succeeded.contains(&model.id))
        .collect();
    for (name, help, read) in MODEL {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (model, task) in &current {
            let labels = [("model", model.spec().name.as_str())];
            ConstGauge::new(read(context, model, task)).encode(family.encode_family(&labels)?)?;
        }
    }
    let spent = current.iter().filter_map(|(model, task)| {
        let spent = PrivacySpent::of(model.spec(), task.releases.made())?;
        Some((model.spec().name.as_str(), spent.epsilon))
    });
    epsilons(encoder, &spent.collect::<Vec<_>>())
}

/// Writes the ε that this node has spent in each model with noise. A model without noise has no series: 0 would look like privacy.
fn epsilons(encoder: &mut DescriptorEncoder, spent: &[(&str, f64)]) -> fmt::Result {
    if spent.is_empty() {
        return Ok(());
    }
    let help = "Epsilon of the differential privacy that this node has spent in a model with noise";
    let mut family = encoder.encode_descriptor("qres_model_privacy_epsilon", help, None, MetricType::Gauge)?;
    for (model, epsilon) in spent {
        ConstGauge::new(*epsilon).encode(family.encode_family(&[("model", *model)])?)?;
    }
    Ok(())
}

fn counter(encoder: &mut DescriptorEncoder, name: &str, help: &str, value: u64) -> fmt::Result {
    let encoder = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    ConstCounter::new(value).encode(encoder)
}

fn gauge(encoder: &mut DescriptorEncoder, name: &str, help: &str, value: u64) -> fmt::Result {
    let encoder = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::new(value).encode(encoder)
}
