//! A hostile peer that passes the hello and writes gossip's frames by itself, under any number of names.

use std::io;
use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use libp2p::identity::Keypair;
use libp2p::request_response::{self, Message, ProtocolSupport};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, StreamProtocol, Swarm, noise, tcp, yamux};
use tokio::sync::mpsc;

use crate::harness::{Node, until};
use crate::raw::{self, Bytes};

/// Encodes a protobuf field of bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2][..], &length(bytes.len()), bytes].concat()
}

fn length(mut rest: usize) -> Vec<u8> {
    let mut out = vec![];
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}

/// Encodes a gossipsub frame with one message, correctly signed by this author.
pub fn frame(author: &Keypair, seqno: u64, topic: &str, data: &[u8]) -> Vec<u8> {
    let from = author.public().to_peer_id().to_bytes();
    let message = [
        field(1, &from),
        field(2, data),
        field(3, &seqno.to_be_bytes()),
        field(4, topic.as_bytes()),
    ]
    .concat();
    let signature = author
        .sign(&[&b"libp2p-pubsub:"[..], &message].concat())
        .expect("an Ed25519 key signs");
    // Field 2 of the RPC is a published message.
    let rpc = field(2, &[message, field(5, &signature)].concat());
    [length(rpc.len()), rpc].concat()
}

/// The codec that writes the given bytes, and reads and discards the bytes of the other side.
#[derive(Clone, Default)]
pub struct Frames;

async fn discard<T: AsyncRead + Unpin + Send>(io: &mut T) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 1 << 16];
    while io.read(&mut bytes).await? > 0 {}
    Ok(vec![])
}

impl request_response::Codec for Frames {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        discard(io).await
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        discard(io).await
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
        _: &mut T,
        _: Vec<u8>,
    ) -> io::Result<()> {
        Ok(())
    }
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    hello: request_response::Behaviour<Bytes>,
    gossip: request_response::Behaviour<Frames>,
}

/// The hostile peer, which runs on its own task.
pub struct Forger {
    floods: mpsc::Sender<Vec<u8>>,
    task: tokio::task::JoinHandle<()>,
}

fn swarm() -> Swarm<Behaviour> {
    let patient = || request_response::Config::default().with_request_timeout(Duration::from_secs(600));
    libp2p::SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )
        .unwrap()
        .with_behaviour(|_| Behaviour {
            hello: request_response::Behaviour::with_codec(
                Bytes,
                [(StreamProtocol::new("/qres/hello/0"), ProtocolSupport::Full)],
                patient(),
            ),
            gossip: request_response::Behaviour::with_codec(
                Frames,
                [(StreamProtocol::new("/meshsub/1.1.0"), ProtocolSupport::Full)],
                patient(),
            ),
        })
        .unwrap()
        .with_swarm_config(|c| c.with_idle_connection_timeout(Duration::from_secs(600)))
        .build()
}

impl Forger {
    /// Connects to a node, under a fresh key, and waits until the node has admitted it.
    pub async fn connect(target: &Node) -> Self {
        let mut swarm = swarm();
        let node = qres_wire::identity::node_id(swarm.local_peer_id()).unwrap();
        let victim = qres_wire::identity::peer_id(&target.node).unwrap();
        swarm.dial(target.address().parse::<Multiaddr>().unwrap()).unwrap();
        let (floods, mut wishes) = mpsc::channel::<Vec<u8>>(4);
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    event = swarm.select_next_some() => on_event(&mut swarm, event),
                    wish = wishes.recv() => match wish {
                        Some(frames) => drop(swarm.behaviour_mut().gossip.send_request(&victim, frames)),
                        None => return,
                    },
                }
            }
        });
        until("the forger is admitted", || target.mesh.connected().contains(&node)).await;
        Self { floods, task }
    }

    /// Writes these frames on one stream. A node reads one stream of a peer at a time, so wait before the next call.
    pub async fn flood(&self, frames: Vec<u8>) {
        self.floods.send(frames).await.unwrap();
    }
}

impl Drop for Forger {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn on_event(swarm: &mut Swarm<Behaviour>, event: SwarmEvent<BehaviourEvent>) {
    match event {
        SwarmEvent::ConnectionEstablished { peer_id, .. } => {
            swarm.behaviour_mut().hello.send_request(&peer_id, raw::hello());
        }
        SwarmEvent::Behaviour(BehaviourEvent::Hello(request_response::Event::Message {
            message: Message::Request { channel, .. },
            ..
        })) => drop(swarm.behaviour_mut().hello.send_response(channel, raw::hello())),
        _ => {}
    }
}
