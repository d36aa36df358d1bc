//! GossipSub's settings, and the reasons for those that differ from the library's defaults.

use std::collections::HashSet;
use std::time::Duration;

use libp2p::gossipsub::{
    self, ConfigBuilder, IdentTopic, Message, MessageAuthenticity, MessageId, MetricsConfig, PeerScoreParams,
    PeerScoreThresholds, TopicScoreParams, ValidationMode, WhitelistSubscriptionFilter,
};
use libp2p::identity::Keypair;
use libp2p::metrics::Registry;

use super::topic::{TOPIC_EPIPHANY, TOPIC_HEARTBEAT, TOPIC_STATE};
use crate::config::MeshConfig;

/// Limits on control messages: their bytes, and the ids in them. The library does not split IHAVE and IWANT to its limit of
/// 16 KiB, and a larger one breaks the link (240 default ids within three heartbeats did). 5,000 ids of 22 bytes are 110 KiB.
const CONTROL_BYTES_MAX: usize = 1024 * 1024;
const CONTROL_IDS_MAX: usize = 5000;

/// Messages queued for one peer. Each may hold an envelope, so a peer that takes nothing costs at most 512 x 64 KiB = 32 MiB;
/// the library's 5,000 would be 312 MiB.
const QUEUE_MAX: usize = 512;

/// Time for which a copy of a message counts as a duplicate. A record that comes again later is judged again, and ignored
/// then. The library also keeps its scores' notes on each message for two minutes. Both together take about 600 bytes a
/// message: four nodes that make 20 rounds a second without pause hold 10 MiB of them (`make soak`), those whose rounds take
/// seconds next to nothing.
const DUPLICATES: Duration = Duration::from_mins(2);

/// Length of a message id in bytes.
const ID_BYTES: usize = 20;

/// The GossipSub behaviour with a fixed list of topics.
pub type GossipSub = gossipsub::Behaviour<gossipsub::IdentityTransform, WhitelistSubscriptionFilter>;

/// Computes a message's id from topic, author and content. So a thief that signs another author's content makes another
/// message, and cannot win a race against the first one.
fn message_id(message: &Message) -> MessageId {
    let mut hash = blake3::Hasher::new_derive_key("qres gossip message id v1");
    let source = message.source.map(libp2p::PeerId::to_bytes).unwrap_or_default();
    for part in [message.topic.as_str().as_bytes(), &source, &message.data] {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    MessageId::new(&hash.finalize().as_bytes()[..ID_BYTES])
}

/// A neighbour that offered a message must deliver it within this time after this node asked for it, or its promise counts as
/// broken. The library's 3 s punish neighbours whose machine is busy: of seventeen nodes on two loaded cores several
/// graylisted each other. A neighbour that lies delays a message by 12 s more, but others offer that message, too.
const PROMISE: Duration = Duration::from_secs(15);

/// Builds the [`GossipSub`] behaviour and subscribes it to the three topics.
pub fn behaviour(config: &MeshConfig, keypair: &Keypair, library: &mut Registry) -> Result<GossipSub, String> {
    let degree = config.overrides.gossip_degree;
    let settings = ConfigBuilder::default()
        .validation_mode(ValidationMode::Strict)
        // A message is forwarded only once the layer above or the mesh accepts it.
        .validate_messages()
        .message_id_fn(message_id)
        // A message under this node's own key comes from a twin (twin.rs); its carrier is not at fault.
        .allow_self_origin(true)
        .max_transmit_size(config.overrides.gossip_frame_bytes_max)
        .max_control_message_size(CONTROL_BYTES_MAX)
        .max_control_messages_sent(CONTROL_IDS_MAX)
        .connection_handler_queue_len(QUEUE_MAX)
        // Queued messages older than this are dropped for a peer that takes them too slowly. A round takes seconds at least,
        // and the queue's length bounds the memory.
        .publish_queue_duration(Duration::from_secs(30))
        .forward_queue_duration(Duration::from_secs(10))
        .duplicate_cache_time(DUPLICATES)
        .mesh_n(degree.n)
        .mesh_n_low(degree.low)
        .mesh_n_high(degree.high)
        .mesh_outbound_min(degree.outbound_min)
        .gossip_lazy(8)
        .history_length(6)
        .history_gossip(3)
        .iwant_followup_time(PROMISE)
        .heartbeat_interval(config.timings.gossip_tick)
        .heartbeat_initial_delay(config.timings.gossip_tick / 5)
        // Own messages go to every connected peer. This also makes a heartbeat a sign of life of every link.
        .flood_publish(true)
        .idontwant_on_publish(true)
        .build()
        .map_err(|e| e.to_string())?;
    // The library checks this order only for topics with limits of their own: 2 x 3 <= 6 <= 8 <= 12.
    let topics = [TOPIC_EPIPHANY, TOPIC_STATE, TOPIC_HEARTBEAT].map(IdentTopic::new);
    let allowed: HashSet<_> = topics.iter().map(IdentTopic::hash).collect();
    let mut gossip = gossipsub::Behaviour::new_with_subscription_filter(
        MessageAuthenticity::Signed(keypair.clone()),
        settings,
        WhitelistSubscriptionFilter(allowed),
    )?
    .with_metrics(library.sub_registry_with_prefix("libp2p_gossipsub"), figures());
    gossip.with_peer_score(scores(), thresholds())?;
    for topic in &topics {
        gossip.set_topic_params(topic.clone(), topic_scores())?;
        gossip.subscribe(topic).map_err(|e| e.to_string())?;
    }
    Ok(gossip)
}

/// Returns the limits of the library's own figures: only the topics of this node are labels, none that strangers name.
fn figures() -> MetricsConfig {
    MetricsConfig {
        max_topics: 3,
        max_never_subscribed_topics: 0,
        score_buckets: vec![-100.0, -80.0, -40.0, -10.0, -1.0, 0.0, 1.0, 10.0, 50.0],
    }
}

fn scores() -> PeerScoreParams {
    PeerScoreParams {
        // The mesh's own score (score.rs, 0 down to -100) counts unchanged.
        app_specific_weight: 1.0,
        // P6 is off: the default punishes more than ten peers on one IP by the square of the excess, so twelve nodes on one
        // host, or a hospital behind one NAT, would graylist each other.
        ip_colocation_factor_weight: 0.0,
        // P7: broken promises and graft floods. Up to 6 of them cost nothing, since an honest peer may have bad luck.
        behaviour_penalty_weight: -5.0,
        behaviour_penalty_threshold: 6.0,
        behaviour_penalty_decay: gossipsub::score_parameter_decay(Duration::from_mins(5)),
        // A slow peer loses messages anyway. It leaves the gossip mesh for a while, and is never graylisted for slowness
        // alone.
        slow_peer_weight: -0.2,
        slow_peer_threshold: 16.0,
        slow_peer_decay: 0.2,
        topic_score_cap: 50.0,
        ..PeerScoreParams::default()
    }
}

fn topic_scores() -> TopicScoreParams {
    TopicScoreParams {
        topic_weight: 1.0,
        // P1: at most 5 points, after an hour in the gossip mesh.
        time_in_mesh_weight: 5.0 / 3600.0,
        time_in_mesh_quantum: Duration::from_secs(1),
        time_in_mesh_cap: 3600.0,
        // P2: at most 10 points, for being the first to deliver messages.
        first_message_deliveries_weight: 0.2,
        first_message_deliveries_decay: gossipsub::score_parameter_decay(Duration::from_mins(5)),
        first_message_deliveries_cap: 50.0,
        // P3 and P3b are off: they expect a rate of messages, and an idle model has none.
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        // P4: twice the square of the rejected messages. After 3 the peer gets no gossip (-18), after 7 it is graylisted
        // (-98).
        invalid_message_deliveries_weight: -2.0,
        invalid_message_deliveries_decay: gossipsub::score_parameter_decay(Duration::from_mins(10)),
        ..TopicScoreParams::default()
    }
}

fn thresholds() -> PeerScoreThresholds {
    PeerScoreThresholds {
        gossip_threshold: -10.0,
        publish_threshold: -50.0,
        graylist_threshold: GRAYLIST,
        accept_px_threshold: 10.0,
        opportunistic_graft_threshold: 5.0,
    }
}

/// gossipsub drops everything that a peer with a score below this sends.
pub const GRAYLIST: f64 = -80.0;

#[cfg(test)]
mod tests {
    use libp2p::PeerId;
    use libp2p::gossipsub::TopicHash;

    use super::*;
    use crate::config::Mode;
    use crate::limits::{ENVELOPE_BYTES_MAX, GOSSIP_FRAME_BYTES_MAX};

    fn message(topic: &str, source: PeerId, data: &[u8]) -> Message {
        Message {
            source: Some(source),
            data: data.to_vec(),
            sequence_number: Some(1),
            topic: TopicHash::from_raw(topic),
        }
    }

    #[test]
    fn ids_are_short_and_bound_to_topic_author_and_content_alone() {
        let (a, b) = (PeerId::random(), PeerId::random());
        let id = message_id(&message(TOPIC_STATE, a, b"x"));
        assert_eq!(id.0.len(), ID_BYTES);
        let mut again = message(TOPIC_STATE, a, b"x");
        again.sequence_number = Some(2);
        assert_eq!(message_id(&again), id);
        for other in [
            message(TOPIC_STATE, b, b"x"),
            message(TOPIC_EPIPHANY, a, b"x"),
            message(TOPIC_STATE, a, b"y"),
        ] {
            assert_ne!(message_id(&other), id);
        }
    }

    #[test]
    fn settings_build_and_leave_room_above_the_largest_envelope() {
        let config = MeshConfig::new(Mode::Node, "/nonexistent".into());
        let gossip = behaviour(&config, &Keypair::generate_ed25519(), &mut Registry::default()).unwrap();
        assert_eq!(gossip.topics().count(), 3);
        // 16 KiB covers the first 8 KiB of the next frame and a frame's own overhead of some 130 bytes.
        const { assert!(GOSSIP_FRAME_BYTES_MAX >= ENVELOPE_BYTES_MAX + 16 * 1024) };
        const { assert!(CONTROL_IDS_MAX * (ID_BYTES + 2) < CONTROL_BYTES_MAX / 2) };
    }
}
