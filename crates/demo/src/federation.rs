//! Starts the model: one node creates it, the others join it.

use std::collections::BTreeSet;

use anyhow::Context;
use futures::TryStreamExt;
use qres_api::client::Client;
use qres_api::pb;

use crate::args::Kind;
use crate::model::{STRATEGY, numbers};

/// Time in milliseconds that a round waits for a silent trainer. A round of the demo takes a fraction of a second: ten seconds
/// are enough for a machine under load, and end a demo whose trainer has died.
const DEADLINE_MS: u64 = 10_000;

/// Waits until the node is connected to all nodes of `others`.
pub async fn meet(node: &Client, others: &BTreeSet<String>) -> anyhow::Result<()> {
    let mut missing = others.clone();
    let mut peers = node.watch_peers(0).await?;
    while !missing.is_empty() {
        let message = peers.try_next().await?.context("the node ended its watch of peers")?;
        let Some(peer) = message.peer else { continue };
        if peer.state() == pb::PeerState::Connected {
            missing.remove(&peer.node_id);
        } else if others.contains(&peer.node_id) {
            missing.insert(peer.node_id);
        }
    }
    Ok(())
}

/// Creates the model with these members and with first weights that are drawn by the seed.
pub async fn create(node: &Client, kind: Kind, members: Vec<String>, seed: u64) -> anyhow::Result<pb::Model> {
    let strategy = pb::Rule {
        id: STRATEGY.to_owned(),
        params: numbers(),
    };
    let header = pb::CreateModelRequest {
        name: kind.model().to_owned(),
        strategy: Some(strategy),
        members,
        deadline_ms: Some(DEADLINE_MS),
        ..Default::default()
    };
    Ok(node.create_model_of(header, &kind.learner(seed).tensors()).await?)
}

/// Joins the model of that creator as soon as its announcement is here, and waits until its weights are here, too.
pub async fn join(node: &Client, model: &str, creator: &str) -> anyhow::Result<()> {
    let mut models = node.watch_models(0).await?;
    loop {
        let message = models.try_next().await?.context("the node ended its watch of models")?;
        match message.model {
            Some(known) if known.name == model && known.creator == creator => match known.standing() {
                pb::ModelStanding::Available => {
                    let request = pb::JoinModelRequest {
                        model: model.to_owned(),
                        creator: creator.to_owned(),
                    };
                    node.models().join_model(request).await?;
                }
                pb::ModelStanding::Joined | pb::ModelStanding::Complete => return Ok(()),
                pb::ModelStanding::Syncing
                | pb::ModelStanding::Left
                | pb::ModelStanding::Superseded
                | pb::ModelStanding::Unspecified => {}
            },
            Some(_) | None => {}
        }
    }
}
