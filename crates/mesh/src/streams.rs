//! Raw streams between two connected peers, by a small behaviour of this crate.
//!
//! The reasons not to use libp2p-stream 0.5.0-alpha: it hands inbound streams over through a channel of capacity 0 (bursts
//! are dropped: of 32 opened at once several failed), it dials by itself when not connected and may then wait for ever
//! (#6157), and it never forgets a connection. Here inbound streams wait in a queue with a stated length, opening needs a
//! connection and has a deadline, and the newest connection is used.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::PeerId;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedInbound};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    NotifyHandler, Stream, StreamProtocol, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};

use super::counters::MeshCounters;

/// Inbound streams of one protocol that may wait to be accepted. A stream costs some 100 bytes here. Its window counts for
/// more (at most 256 KiB before the stream is read): 64 MiB a protocol if peers fill every window.
const INBOUND_WAITING_MAX: usize = 256;

/// Requests to open a stream that may wait for the swarm's task.
const OPEN_WAITING_MAX: usize = 64;

/// Requests that one connection negotiates or keeps waiting at once. Yamux allows 256 streams on a connection (muxer.rs), and
/// QUIC as many.
const OPEN_PER_CONNECTION_MAX: usize = 128;

type Inbound = mpsc::Sender<(PeerId, Stream)>;

/// The protocols that are accepted, shared with every connection.
#[derive(Default)]
struct Registry {
    protocols: RwLock<BTreeMap<String, (StreamProtocol, Inbound)>>,
}

impl Registry {
    fn accepted(&self) -> Vec<StreamProtocol> {
        let protocols = self.protocols.read();
        protocols.values().map(|(name, _)| name.clone()).collect()
    }

    fn inbound(&self, protocol: &StreamProtocol) -> Option<Inbound> {
        let protocols = self.protocols.read();
        protocols.get(protocol.as_ref()).map(|(_, sender)| sender.clone())
    }
}

/// A request for a stream. Dropping it tells the caller that it failed.
#[derive(Debug)]
pub struct Open {
    protocol: StreamProtocol,
    reply: oneshot::Sender<Stream>,
}

/// The reason why no stream was opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The peer gave no answer within the deadline.
    #[error("no stream within {0:?}")]
    Timeout(Duration),
    /// The connection closed, or the peer does not speak the protocol.
    #[error("the connection closed, or the peer does not speak {0}")]
    Refused(StreamProtocol),
    /// The mesh has stopped, so it opens no streams.
    #[error("the mesh has stopped")]
    Stopped,
}

/// The handle that opens and accepts streams from outside the swarm's task.
#[derive(Clone)]
pub struct Control {
    opens: mpsc::Sender<(PeerId, Open)>,
    registry: Arc<Registry>,
}

impl Control {
    /// Opens a stream to a peer that is connected now, or returns an [`OpenError`]. Never dials.
    pub async fn open(&self, peer: PeerId, protocol: StreamProtocol, deadline: Duration) -> Result<Stream, OpenError> {
        let opening = async {
            let (reply, stream) = oneshot::channel();
            let open = Open {
                protocol: protocol.clone(),
                reply,
            };
            self.opens.send((peer, open)).await.map_err(|_| OpenError::Stopped)?;
            stream.await.map_err(|_| OpenError::Refused(protocol))
        };
        match tokio::time::timeout(deadline, opening).await {
            Ok(outcome) => outcome,
            Err(_) => Err(OpenError::Timeout(deadline)),
        }
    }

    /// Accepts a protocol from now on, and returns its streams. A second call takes the protocol over from the first.
    pub fn accept(&self, protocol: StreamProtocol) -> mpsc::Receiver<(PeerId, Stream)> {
        let (sender, receiver) = mpsc::channel(INBOUND_WAITING_MAX);
        let mut protocols = self.registry.protocols.write();
        protocols.insert(protocol.as_ref().to_owned(), (protocol, sender));
        receiver
    }
}

/// The behaviour that opens and accepts raw streams.
pub struct Behaviour {
    registry: Arc<Registry>,
    counters: Arc<MeshCounters>,
    opens: mpsc::Receiver<(PeerId, Open)>,
    /// The connections of each peer, oldest first.
    connections: HashMap<PeerId, Vec<ConnectionId>>,
}

impl Behaviour {
    /// Makes a behaviour and the [`Control`] that drives it.
    pub fn new(counters: Arc<MeshCounters>) -> (Self, Control) {
        let (sender, opens) = mpsc::channel(OPEN_WAITING_MAX);
        let registry = Arc::new(Registry::default());
        let control = Control {
            opens: sender,
            registry: registry.clone(),
        };
        let behaviour = Self {
            registry,
            counters,
            opens,
            connections: HashMap::new(),
        };
        (behaviour, control)
    }

    fn handler(&self, peer: PeerId) -> Handler {
        Handler {
            peer,
            registry: self.registry.clone(),
            counters: self.counters.clone(),
            waiting: VecDeque::new(),
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id, connection_id, ..
            }) => self.connections.entry(peer_id).or_default().push(connection_id),
            FromSwarm::ConnectionClosed(ConnectionClosed {
                peer_id, connection_id, ..
            }) => {
                if let Some(ids) = self.connections.get_mut(&peer_id) {
                    ids.retain(|id| *id != connection_id);
                    if ids.is_empty() {
                        self.connections.remove(&peer_id);
                    }
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        while let Poll::Ready(Some((peer, open))) = self.opens.poll_recv(cx) {
            // Without a connection the request is dropped, which tells the caller at once.
            let Some(newest) = self.connections.get(&peer).and_then(|ids| ids.last()) else {
                continue;
            };
            return Poll::Ready(ToSwarm::NotifyHandler {
                peer_id: peer,
                handler: NotifyHandler::One(*newest),
                event: open,
            });
        }
        Poll::Pending
    }
}

/// The handler of one connection, which negotiates the streams of its [`Open`] requests.
pub struct Handler {
    peer: PeerId,
    registry: Arc<Registry>,
    counters: Arc<MeshCounters>,
    waiting: VecDeque<Open>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Open;
    type ToBehaviour = Infallible;
    type InboundProtocol = Accepting;
    type OutboundProtocol = Opening;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Accepting> {
        SubstreamProtocol::new(Accepting(self.registry.accepted()), ())
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Opening, (), Infallible>> {
        while let Some(open) = self.waiting.pop_front() {
            if open.reply.is_closed() {
                continue;
            }
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(Opening(open), ()),
            });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, open: Open) {
        if self.waiting.len() < OPEN_PER_CONNECTION_MAX {
            self.waiting.push_back(open);
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Accepting, Opening>) {
        // A negotiated outbound stream went to the caller in its upgrade. If the negotiation failed, dropping the request
        // told the caller.
        let ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
            protocol: (stream, protocol),
            ..
        }) = event
        else {
            return;
        };
        let taken = self
            .registry
            .inbound(&protocol)
            .is_some_and(|inbound| inbound.try_send((self.peer, stream)).is_ok());
        if !taken {
            self.counters.streams_dropped.add();
            tracing::debug!(peer = %self.peer, %protocol, "inbound stream dropped: {INBOUND_WAITING_MAX} wait already");
        }
    }
}

/// The inbound upgrade, which takes any of the accepted protocols.
pub struct Accepting(Vec<StreamProtocol>);

impl UpgradeInfo for Accepting {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<Stream> for Accepting {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}

/// The outbound upgrade, which hands the stream to the caller that asked for it.
pub struct Opening(Open);

impl UpgradeInfo for Opening {
    type Info = StreamProtocol;
    type InfoIter = std::iter::Once<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once(self.0.protocol.clone())
    }
}

impl OutboundUpgrade<Stream> for Opening {
    type Output = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn upgrade_outbound(self, stream: Stream, _: StreamProtocol) -> Self::Future {
        // If the caller has given up, sending fails and the stream closes here.
        drop(self.0.reply.send(stream));
        ready(Ok(()))
    }
}
