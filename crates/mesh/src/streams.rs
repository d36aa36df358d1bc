//! Raw streams between two connected peers: a small behaviour of its own.
//!
//! libp2p-stream 0.5.0-alpha hands inbound streams over through a channel of capacity 0 (bursts are dropped: of 32 opened at
//! once several failed), dials by itself when not connected and may then wait for ever (#6157), and never forgets a
//! connection. Here inbound streams wait in a queue with a stated length, opening needs a connection and has a deadline,
//! and the newest connection is used.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, PoisonError, RwLock};
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
use tokio::sync::{mpsc, oneshot};

use super::counters::MeshCounters;

/// Inbound streams of one protocol that wait to be accepted. A stream costs some 100 bytes here; its window (256 KiB at
/// most before anyone reads) is what counts: 64 MiB a protocol if every peer fills it.
const INBOUND_WAITING_MAX: usize = 256;

/// Requests to open a stream that wait for the swarm's task.
const OPEN_WAITING_MAX: usize = 64;

/// Requests that one connection negotiates or keeps waiting at once; Yamux allows 256 streams (`muxer`), QUIC as
/// many.
const OPEN_PER_CONNECTION_MAX: usize = 128;

type Inbound = mpsc::Sender<(PeerId, Stream)>;

/// The protocols that are accepted, shared with every connection.
#[derive(Default)]
struct Registry {
    protocols: RwLock<BTreeMap<String, (StreamProtocol, Inbound)>>,
}

impl Registry {
    fn accepted(&self) -> Vec<StreamProtocol> {
        let protocols = self.protocols.read().unwrap_or_else(PoisonError::into_inner);
        protocols.values().map(|(name, _)| name.clone()).collect()
    }

    fn inbound(&self, protocol: &StreamProtocol) -> Option<Inbound> {
        let protocols = self.protocols.read().unwrap_or_else(PoisonError::into_inner);
        protocols.get(protocol.as_ref()).map(|(_, sender)| sender.clone())
    }
}

/// A wish for a stream; dropping it tells the wisher that it failed.
#[derive(Debug)]
pub struct Open {
    protocol: StreamProtocol,
    reply: oneshot::Sender<Stream>,
}

/// Why no stream was opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No answer in time.
    #[error("no stream within {0:?}")]
    Timeout(Duration),
    /// Closed or protocol not spoken.
    #[error("the connection closed, or the peer does not speak {0}")]
    Refused(StreamProtocol),
    /// The mesh is gone.
    #[error("the mesh has stopped")]
    Stopped,
}

/// Opens and accepts streams from outside the swarm's task.
#[derive(Clone)]
pub struct Control {
    opens: mpsc::Sender<(PeerId, Open)>,
    registry: Arc<Registry>,
}

impl Control {
    /// A stream to a peer that is connected now; never dials.
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

    /// Accepts a protocol from now on. A second call takes the protocol over from the first.
    pub fn accept(&self, protocol: StreamProtocol) -> mpsc::Receiver<(PeerId, Stream)> {
        let (sender, receiver) = mpsc::channel(INBOUND_WAITING_MAX);
        let mut protocols = self.registry.protocols.write().unwrap_or_else(PoisonError::into_inner);
        protocols.insert(protocol.as_ref().to_owned(), (protocol, sender));
        receiver
    }
}

/// The behaviour.
pub struct Behaviour {
    registry: Arc<Registry>,
    counters: Arc<MeshCounters>,
    opens: mpsc::Receiver<(PeerId, Open)>,
    /// Oldest first.
    connections: HashMap<PeerId, Vec<ConnectionId>>,
}

impl Behaviour {
    /// A behaviour and what drives it.
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
            // Without a connection the wish is dropped, which tells the wisher at once.
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

/// One connection's part.
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
        // An outbound stream went to its wisher in the upgrade; a failed one told it by being dropped.
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

/// Takes any of the accepted protocols.
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

/// Hands the stream to whoever wished for it.
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
        // The wisher may have given up: then the stream closes here.
        drop(self.0.reply.send(stream));
        ready(Ok(()))
    }
}
