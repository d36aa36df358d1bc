//! A libp2p peer that does not run this project's code: it sends what the test wants, byte by byte.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity};
use libp2p::request_response::{self, Message, ProtocolSupport};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, StreamProtocol, Swarm, identify, noise, ping, tcp, yamux};
use qres_fed::id::NodeId;
use tokio::sync::mpsc;

/// Encodes a hello by hand from the proto file: `network = "qres"`, majors 10 to 10.
pub fn hello() -> Vec<u8> {
    [&[0x0a, 4][..], b"qres", &[0x10, 10, 0x18, 10, 0x22, 5], b"raw/1"].concat()
}

#[derive(Clone)]
pub struct Bytes;

async fn read<T: AsyncRead + Unpin + Send>(io: &mut T) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io.take(1 << 20).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

impl request_response::Codec for Bytes {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        read(io).await
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        read(io).await
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()> {
        io.write_all(&bytes).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()> {
        io.write_all(&bytes).await
    }
}

#[derive(NetworkBehaviour)]
pub struct Behaviour {
    hello: request_response::Behaviour<Bytes>,
    reach: request_response::Behaviour<Bytes>,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    pub gossip: gossipsub::Behaviour,
}

/// The behaviour of the raw peer towards hellos.
#[derive(Clone)]
pub enum Manners {
    /// Sends these bytes as its hello, and as the answer to a hello.
    Says(Vec<u8>),
    /// Sends these bytes as its hello. It answers a first hello only when a second one comes, and then says hello again; it answers
    /// the second one when that is answered.
    Late(Vec<u8>),
    /// Speaks the hello protocol but never answers.
    Silent,
    /// Does not speak the hello protocol.
    Foreign,
}

/// An event that the raw peer saw.
#[derive(Debug)]
pub enum Saw {
    Identified(Box<identify::Info>),
    Hello,
    Subscribed,
    Message,
    /// An answer to a question for a dial back, or `None` if the question failed.
    Answer(Option<Vec<u8>>),
    Closed,
}

/// A raw peer, which runs on its own task.
pub struct Raw {
    pub node: NodeId,
    pub saw: mpsc::Receiver<Saw>,
    /// Messages to publish, each with its topic.
    pub publish: mpsc::Sender<(String, Vec<u8>)>,
    /// Questions for a dial back, byte by byte.
    pub ask: mpsc::Sender<Vec<u8>>,
    task: tokio::task::JoinHandle<()>,
}

pub const TOPICS: [&str; 3] = ["qres/v1/epiphany", "qres/v1/state", "qres/v1/heartbeat"];

fn swarm(manners: &Manners) -> Swarm<Behaviour> {
    let protocol = match manners {
        Manners::Foreign => "/foreign/hello/1",
        Manners::Says(_) | Manners::Late(_) | Manners::Silent => "/qres/hello/0",
    };
    libp2p::SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|key| {
            let config = gossipsub::ConfigBuilder::default()
                .max_transmit_size(1 << 20)
                .publish_queue_duration(std::time::Duration::from_secs(120))
                .build()
                .unwrap();
            let mut gossip = gossipsub::Behaviour::new(MessageAuthenticity::Signed(key.clone()), config).unwrap();
            for topic in TOPICS {
                gossip.subscribe(&IdentTopic::new(topic)).unwrap();
            }
            Behaviour {
                hello: request_response::Behaviour::with_codec(
                    Bytes,
                    [(StreamProtocol::new(protocol), ProtocolSupport::Full)],
                    request_response::Config::default(),
                ),
                reach: request_response::Behaviour::with_codec(
                    Bytes,
                    [(StreamProtocol::new("/qres/reach/10"), ProtocolSupport::Full)],
                    request_response::Config::default(),
                ),
                identify: identify::Behaviour::new(identify::Config::new("qres/10.0".to_owned(), key.public())),
                ping: ping::Behaviour::default(),
                gossip,
            }
        })
        .unwrap()
        .build()
}

/// Events and messages that may wait: more than any test makes.
const QUEUED_MAX: usize = 16_384;

impl Raw {
    /// Starts a raw peer that dials a node.
    pub fn dial(address: &str, manners: Manners) -> Self {
        let mut swarm = swarm(&manners);
        let node = qres_wire::identity::node_id(swarm.local_peer_id()).unwrap();
        swarm.dial(address.parse::<Multiaddr>().unwrap()).unwrap();
        let (saw_sender, saw) = mpsc::channel(QUEUED_MAX);
        let (publish, mut wishes) = mpsc::channel::<(String, Vec<u8>)>(QUEUED_MAX);
        let (ask, mut questions) = mpsc::channel::<Vec<u8>>(QUEUED_MAX);
        let task = tokio::spawn(async move {
            let (mut unanswered, mut told) = (Vec::new(), false);
            loop {
                tokio::select! {
                    event = swarm.select_next_some() => on_event(&mut swarm, event, &manners, &saw_sender, (&mut unanswered, &mut told)),
                    wish = wishes.recv() => match wish {
                        Some((topic, data)) => drop(swarm.behaviour_mut().gossip.publish(IdentTopic::new(topic), data)),
                        None => return,
                    },
                    Some(question) = questions.recv() => {
                        let peers: Vec<_> = swarm.connected_peers().copied().collect();
                        for peer in peers {
                            swarm.behaviour_mut().reach.send_request(&peer, question.clone());
                        }
                    }
                }
            }
        });
        Self {
            node,
            saw,
            publish,
            ask,
            task,
        }
    }

    /// Waits until the raw peer saw a wanted event, and returns it.
    pub async fn until(&mut self, what: &str, mut wanted: impl FnMut(&Saw) -> bool) -> Saw {
        let search = async {
            loop {
                let saw = self.saw.recv().await.expect("the raw peer runs");
                if wanted(&saw) {
                    return saw;
                }
            }
        };
        let found = tokio::time::timeout(crate::harness::DEADLINE, search).await;
        found.unwrap_or_else(|_| panic!("the raw peer never saw: {what}"))
    }

    pub fn publish(&self, topic: &str, data: Vec<u8>) {
        self.publish.try_send((topic.to_owned(), data)).unwrap();
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn on_event(
    swarm: &mut Swarm<Behaviour>,
    event: SwarmEvent<BehaviourEvent>,
    manners: &Manners,
    saw: &mpsc::Sender<Saw>,
    (unanswered, told): (&mut Vec<request_response::ResponseChannel<Vec<u8>>>, &mut bool),
) {
    let seen = match event {
        SwarmEvent::ConnectionEstablished { peer_id, .. } => {
            if let Manners::Says(bytes) | Manners::Late(bytes) = manners {
                swarm.behaviour_mut().hello.send_request(&peer_id, bytes.clone());
            }
            return;
        }
        SwarmEvent::ConnectionClosed { .. } => Saw::Closed,
        SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { info, .. })) => {
            Saw::Identified(Box::new(info))
        }
        SwarmEvent::Behaviour(BehaviourEvent::Hello(request_response::Event::Message { peer, message, .. })) => {
            let hello = &mut swarm.behaviour_mut().hello;
            match (message, manners) {
                (Message::Request { channel, .. }, Manners::Says(bytes)) => {
                    drop(hello.send_response(channel, bytes.clone()));
                }
                (Message::Request { channel, .. }, Manners::Late(bytes)) => {
                    unanswered.push(channel);
                    if unanswered.len() == 2 {
                        drop(hello.send_response(unanswered.remove(0), bytes.clone()));
                        hello.send_request(&peer, bytes.clone());
                        *told = true;
                    }
                }
                (Message::Request { channel, .. }, _) => unanswered.push(channel),
                (Message::Response { .. }, Manners::Late(bytes)) if *told => {
                    let last = unanswered
                        .pop()
                        .map(|channel| hello.send_response(channel, bytes.clone()));
                    drop(last);
                }
                (Message::Response { .. }, _) => {}
            }
            Saw::Hello
        }
        SwarmEvent::Behaviour(BehaviourEvent::Reach(request_response::Event::Message {
            message: Message::Response { response, .. },
            ..
        })) => Saw::Answer(Some(response)),
        SwarmEvent::Behaviour(BehaviourEvent::Reach(request_response::Event::OutboundFailure { .. })) => {
            Saw::Answer(None)
        }
        SwarmEvent::Behaviour(BehaviourEvent::Gossip(gossipsub::Event::Subscribed { .. })) => Saw::Subscribed,
        SwarmEvent::Behaviour(BehaviourEvent::Gossip(gossipsub::Event::Message { .. })) => Saw::Message,
        _ => return,
    };
    // The test may have stopped reading events, or may have ended.
    drop(saw.try_send(seen));
}
