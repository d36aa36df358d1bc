//! Heartbeats: a node's sign of life, with its heads.
//!
//! Every node hears every other one, so with a fixed period a node's traffic would grow with the swarm. Instead the period
//! grows: it is N/20 s in a swarm of N nodes (at least 5 s by default), so that at most 20 heartbeats a second arrive at a
//! node (docs/adr/0003-mesh.md). N counts the nodes that this node has met and the members of its joined models; strangers'
//! heartbeats have budgets of their own (gossip/carrier.rs).

#![warn(clippy::indexing_slicing, reason = "this file reads foreign bytes")]

use std::time::{Duration, Instant};

use prost::Message;
use qres_fed::id::{CheckpointId, SpecId};
use qres_fed::record::is_printable;
use qres_wire::pb;

use super::event::HeadClaim;
use super::hello::cut;

/// Largest encoding of a heartbeat, in bytes: 64 heads of some 80 bytes each, and the rest.
const HEARTBEAT_BYTES_MAX: usize = 8 * 1024;

/// Largest number of heads in one heartbeat.
const HEADS_MAX: usize = 64;

const VERSION_BYTES_MAX: usize = 128;

/// Heartbeats that a node hears in a second at most, while heads rest and while they move.
const NODES_A_SECOND: f64 = 20.0;
const NODES_A_SECOND_MOVING: f64 = 100.0;

/// Longest period that is believed, so that no peer can make the watchdog wait for ever.
const PERIOD_MAX: Duration = Duration::from_mins(10);

/// A received heartbeat that is within its limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Heartbeat {
    /// The period of the publisher's heartbeats.
    pub period: Duration,
    /// The software of the publisher.
    pub version: String,
    /// The heads of the publisher.
    pub heads: Vec<HeadClaim>,
    /// The run of the publisher's process, signed.
    pub boot: Option<pb::Boot>,
}

/// Decodes a heartbeat and checks its limits.
pub fn parse(data: &[u8]) -> Result<Heartbeat, String> {
    if data.len() > HEARTBEAT_BYTES_MAX {
        return Err(format!(
            "heartbeat of {} bytes, at most {HEARTBEAT_BYTES_MAX}",
            data.len()
        ));
    }
    let wire = pb::Heartbeat::decode(data).map_err(|e| format!("heartbeat: {e}"))?;
    if wire.version.len() > VERSION_BYTES_MAX || !wire.version.chars().all(is_printable) {
        return Err(format!(
            "heartbeat.version: at most {VERSION_BYTES_MAX} printable bytes"
        ));
    }
    if wire.heads.len() > HEADS_MAX {
        return Err(format!(
            "heartbeat.heads: {} of them, at most {HEADS_MAX}",
            wire.heads.len()
        ));
    }
    let heads: Result<Vec<_>, String> = wire.heads.iter().map(head).collect();
    Ok(Heartbeat {
        period: Duration::from_millis(wire.period_ms.into()).min(PERIOD_MAX),
        version: wire.version,
        heads: heads?,
        boot: wire.boot,
    })
}

fn head(head: &pb::Head) -> Result<HeadClaim, String> {
    let id = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).map_err(|_| "heartbeat.heads: an id has 32 bytes".to_owned());
    Ok(HeadClaim {
        spec: SpecId(id(&head.spec)?),
        checkpoint: CheckpointId(id(&head.checkpoint)?),
        round: head.round,
    })
}

/// Encodes a heartbeat with at most 64 heads.
pub fn encode(uptime: Duration, version: &str, period: Duration, heads: &[HeadClaim], boot: pb::Boot) -> Vec<u8> {
    pb::Heartbeat {
        uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
        version: cut(version, VERSION_BYTES_MAX),
        period_ms: u32::try_from(period.as_millis()).unwrap_or(u32::MAX),
        heads: heads
            .iter()
            .take(HEADS_MAX)
            .map(|h| pb::Head {
                spec: h.spec.0.to_vec(),
                checkpoint: h.checkpoint.0.to_vec(),
                round: h.round,
            })
            .collect(),
        boot: Some(boot),
    }
    .encode_to_vec()
}

fn spread(nodes: usize, a_second: f64) -> Duration {
    let nodes = f64::from(u32::try_from(nodes).unwrap_or(u32::MAX));
    Duration::from_secs_f64(nodes / a_second)
}

/// The clock of this node's own heartbeats.
pub struct HeartbeatTimer {
    pub(super) started: Instant,
    last: Option<Instant>,
    /// True if heads have changed since the last heartbeat.
    moved: bool,
    /// Index of the first head in the next heartbeat, when not all heads fit into one.
    cursor: usize,
    period_min: Duration,
    gap_min: Duration,
}

impl HeartbeatTimer {
    /// Makes a clock whose first heartbeat is due at once.
    pub fn new(period_min: Duration, gap_min: Duration, now: Instant) -> Self {
        Self {
            started: now,
            last: None,
            moved: false,
            cursor: 0,
            period_min,
            gap_min,
        }
    }

    /// Returns the heartbeat period in a swarm of this many nodes.
    pub fn period(&self, nodes: usize) -> Duration {
        self.period_min.max(spread(nodes, NODES_A_SECOND))
    }

    /// Notes that heads have changed.
    pub fn note_moved(&mut self) {
        self.moved = true;
    }

    /// Returns true if a heartbeat is due. It leaves a tenth of a period early, so that the next one comes within the period
    /// that it states.
    pub fn due(&self, nodes: usize, now: Instant) -> bool {
        let Some(last) = self.last else { return true };
        let passed = now.saturating_duration_since(last);
        let gap = self.gap_min.max(spread(nodes, NODES_A_SECOND_MOVING));
        passed >= self.period(nodes).mul_f64(0.9) || (self.moved && passed >= gap)
    }

    /// Notes that a heartbeat was sent.
    pub fn sent(&mut self, now: Instant) {
        self.last = Some(now);
        self.moved = false;
    }

    /// Returns the heads of the next heartbeat: all, or the next 64 in turn if there are more.
    pub fn window(&mut self, heads: &[HeadClaim]) -> Vec<HeadClaim> {
        if heads.len() <= HEADS_MAX {
            return heads.to_vec();
        }
        let start = self.cursor % heads.len();
        self.cursor = start + HEADS_MAX;
        heads.iter().cycle().skip(start).take(HEADS_MAX).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use qres_wire::clock;
    use qres_wire::identity::Identity;

    use super::super::twin::Boot;
    use super::*;

    fn claim(n: u8) -> HeadClaim {
        HeadClaim {
            spec: SpecId([n; 32]),
            checkpoint: CheckpointId([n; 32]),
            round: n.into(),
        }
    }

    #[test]
    fn a_heartbeat_is_read_as_written_and_fits_its_limit() {
        let heads: Vec<_> = (0..64).map(claim).collect();
        let boot = Boot::new(&Identity::ephemeral()).sign(7);
        let bytes = encode(
            Duration::from_secs(9),
            "qres-daemon/0.1.0",
            Duration::from_secs(5),
            &heads,
            boot.clone(),
        );
        assert!(bytes.len() < HEARTBEAT_BYTES_MAX, "{} bytes", bytes.len());
        let beat = parse(&bytes).unwrap();
        assert_eq!((beat.period, &beat.heads), (Duration::from_secs(5), &heads));
        assert_eq!(beat.version, "qres-daemon/0.1.0");
        assert_eq!(beat.boot, Some(boot));
    }

    #[test]
    fn hostile_heartbeats_are_rejected() {
        let wire = |heads: Vec<pb::Head>, version: &str| {
            pb::Heartbeat {
                uptime_ms: 0,
                version: version.to_owned(),
                period_ms: u32::MAX,
                heads,
                boot: None,
            }
            .encode_to_vec()
        };
        let head = |bytes: usize| pb::Head {
            spec: vec![1; 32],
            checkpoint: vec![1; bytes],
            round: u64::MAX,
        };
        for bytes in [
            vec![0xff; 10],
            vec![0; HEARTBEAT_BYTES_MAX + 1],
            wire(vec![head(31)], ""),
            wire(vec![head(32); 65], ""),
            wire(vec![], &"v".repeat(129)),
            wire(vec![], "a\u{1b}[2J"),
            wire(vec![], "a\u{2066}b"),
        ] {
            assert!(parse(&bytes).is_err());
        }
        assert_eq!(parse(&wire(vec![head(32)], "v")).unwrap().period, PERIOD_MAX);
    }

    #[test]
    fn a_nodes_heartbeat_traffic_has_a_ceiling() {
        let now = clock::now();
        let heartbeat_timer = HeartbeatTimer::new(Duration::from_secs(5), Duration::from_secs(1), now);
        for nodes in [1_u32, 10, 100, 1_000, 100_000] {
            let heard_a_second = f64::from(nodes) / heartbeat_timer.period(nodes as usize).as_secs_f64();
            assert!(
                heard_a_second <= 20.0 + 1e-9,
                "{nodes} nodes: {heard_a_second} a second"
            );
        }
    }

    #[test]
    fn it_beats_at_once_then_every_period_and_sooner_when_heads_move() {
        let now = clock::now();
        let ms = Duration::from_millis;
        let mut heartbeat_timer = HeartbeatTimer::new(ms(5000), ms(1000), now);
        assert!(heartbeat_timer.due(3, now));
        heartbeat_timer.sent(now);
        assert!(!heartbeat_timer.due(3, now + ms(4400)) && heartbeat_timer.due(3, now + ms(4500)));
        heartbeat_timer.note_moved();
        assert!(!heartbeat_timer.due(3, now + ms(900)) && heartbeat_timer.due(3, now + ms(1000)));
        assert!(
            !heartbeat_timer.due(1000, now + ms(9000)),
            "in a swarm of 1,000 at most every 10 s"
        );
        heartbeat_timer.sent(now);
        assert!(!heartbeat_timer.due(3, now + ms(1000)));
    }

    #[test]
    fn more_heads_than_fit_take_turns() {
        let mut heartbeat_timer = HeartbeatTimer::new(Duration::ZERO, Duration::ZERO, clock::now());
        let heads: Vec<_> = (0..100).map(claim).collect();
        let mut seen: Vec<_> = heartbeat_timer
            .window(&heads)
            .iter()
            .chain(&heartbeat_timer.window(&heads))
            .map(|h| h.round)
            .collect();
        assert_eq!(seen.len(), 128);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 100);
    }
}
