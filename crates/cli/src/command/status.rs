//! The command `qres status`.

use qres_api::pb;
use serde_json::json;

use super::{Context, needed};
use crate::failure::Failure;
use crate::show::json;
use crate::show::lines::Lines;
use crate::show::table::{Table, facts};
use crate::show::text;

/// Shows the node, its models and the members that a round waits for.
#[derive(Debug, clap::Args)]
pub struct Status {}

impl Status {
    /// Asks for the node, its models and their open rounds, and prints them.
    pub async fn run(self, context: Context) -> Result<(), Failure> {
        let answer = context
            .client
            .node()
            .get_node(pb::GetNodeRequest {})
            .await?
            .into_inner();
        let node = needed(answer.node, "node")?;
        let mut models = Vec::new();
        for model in context.models().await? {
            let round = open_round(&context, &model).await?;
            models.push((model, round));
        }
        let to_json = || {
            let each = |(model, round): &(pb::Model, Option<pb::Round>)| json!({"model": json::model(model), "open_round": round.as_ref().map(json::round)});
            json!({"node": json::node(&node), "models": json::list(&models, each)})
        };
        let to_text = || node_text(&node, context.client.address()).then(models_text(&models));
        context.output.print(to_json, to_text);
        Ok(())
    }
}

/// Reads the round of a joined model that gathers contributions. Returns `None` if there is none or the model is not joined.
async fn open_round(context: &Context, model: &pb::Model) -> Result<Option<pb::Round>, Failure> {
    if model.standing() != pb::ModelStanding::Joined {
        return Ok(None);
    }
    let request = pb::GetRoundRequest {
        model: format!("{}@{}", model.name, model.id),
        round: None,
    };
    match context.client.rounds().get_round(request).await.map_err(Failure::from) {
        Ok(answer) => Ok(answer.into_inner().round),
        // Since the list was made the model was left, or it has no open round any more.
        Err(failure) if failure.is_not_found() => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Formats the part of the status that is about the node.
pub fn node_text(node: &pb::Node, address: &str) -> Lines {
    let mode = match node.mode() {
        pb::NodeMode::Bootstrap => ", bootstrap",
        pb::NodeMode::Unspecified | pb::NodeMode::Node => "",
    };
    let state = match node.draining {
        true => ", draining: takes no submissions",
        false => "",
    };
    let uptime = text::duration_ms(node.uptime_ms.into());
    let version = format!(
        "{} (protocol {}{mode}), up {uptime}{state}",
        node.version, node.protocol
    );
    let line = |text: String| Some(Lines::from(text));
    facts([
        ("peer id", line(node.peer_id.clone())),
        ("node id", line(node.node_id.clone())),
        ("version", line(version)),
        ("grpc", line(address.to_owned())),
        ("mesh", Some(node.listen_addresses.iter().map(String::as_str).collect())),
        ("peers", line(format!("{} connected", node.connected_peers))),
        ("weights", line(format!("{} on disk", text::bytes(node.blob_bytes)))),
        ("disk", node.disk.map(|disk| Lines::from(disk_line(disk)))),
        ("uploads", node.disk.map(|disk| Lines::from(uploads_line(disk)))),
        (
            "files",
            node.descriptors.map(|found| Lines::from(descriptors_line(found))),
        ),
    ])
}

fn disk_line(disk: pb::Disk) -> String {
    let used = text::bytes(disk.used_bytes);
    let quota = match disk.quota_bytes {
        Some(quota) => format!("{used} used of {}", text::bytes(quota)),
        None => format!("{used} used, no limit"),
    };
    match disk.free_bytes {
        Some(free) => format!("{quota}, {} free", text::bytes(free)),
        None => quota,
    }
}

fn uploads_line(disk: pb::Disk) -> String {
    let (used, quota) = (text::bytes(disk.upload_bytes), text::bytes(disk.upload_quota_bytes));
    format!("{used} unfinished of {quota}")
}

fn descriptors_line(found: pb::Descriptors) -> String {
    format!("{} descriptors used of {}", found.used, found.limit)
}

fn models_text(models: &[(pb::Model, Option<pb::Round>)]) -> Lines {
    let mut table = Table::new(["MODEL", "STANDING", "MEMBER", "HEAD", "ROUND", "CONFIRMED", "NOW"]);
    for (model, round) in models {
        let head = model.head.as_ref();
        table.row([
            model.name.clone(),
            text::standing(model).to_owned(),
            text::yes(model.member),
            head.map_or("-".into(), |head| text::short(&head.id)),
            head.map_or("-".into(), |head| head.round.to_string()),
            head.map_or("-".into(), |head| text::yes(head.confirmed)),
            round.as_ref().map(text::round_line).unwrap_or_default(),
        ]);
    }
    let mut lines = table.text("no models: make one with `qres model create`");
    for (model, _) in models {
        for condition in &model.conditions {
            let kind = text::condition(condition);
            lines.push(&format!("{}: {kind}: {}", model.name, condition.text));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_who_the_node_is_and_who_its_models_wait_for() {
        let node = pb::Node {
            peer_id: "12D3".into(),
            node_id: "ab".into(),
            version: "0.1.0".into(),
            protocol: "10.0".into(),
            listen_addresses: vec!["/ip4/127.0.0.1/tcp/1".into(), "/ip4/127.0.0.1/udp/1/quic-v1".into()],
            uptime_ms: 61_000,
            connected_peers: 3,
            draining: true,
            blob_bytes: 2048,
            disk: Some(pb::Disk {
                used_bytes: 4096,
                quota_bytes: Some(9 << 30),
                free_bytes: Some(10 << 30),
                upload_bytes: 2048,
                upload_quota_bytes: 9 << 28,
            }),
            descriptors: Some(pb::Descriptors { used: 30, limit: 1024 }),
            ..Default::default()
        };
        assert_eq!(
            node_text(&node, "127.0.0.1:4002").to_string(),
            "peer id  12D3\n\
             node id  ab\n\
             version  0.1.0 (protocol 10.0), up 1 m 1 s, draining: takes no submissions\n\
             grpc     127.0.0.1:4002\n\
             mesh     /ip4/127.0.0.1/tcp/1\n         /ip4/127.0.0.1/udp/1/quic-v1\n\
             peers    3 connected\n\
             weights  2.0 KiB on disk\n\
             disk     4.0 KiB used of 9.0 GiB, 10.0 GiB free\n\
             uploads  2.0 KiB unfinished of 2.2 GiB\n\
             files    30 descriptors used of 1024"
        );
        let unlimited = pb::Disk {
            used_bytes: 1,
            ..Default::default()
        };
        assert_eq!(disk_line(unlimited), "1 B used, no limit");
        let model = pb::Model {
            name: "m".into(),
            standing: pb::ModelStanding::Joined.into(),
            member: true,
            head: Some(pb::Checkpoint {
                id: "1a2b3c4d5e".into(),
                round: 7,
                confirmed: true,
                ..Default::default()
            }),
            ..Default::default()
        };
        let round = pb::Round {
            round: 8,
            state: pb::RoundState::Open.into(),
            missing: vec!["feedfacecafe".into()],
            min_contributions: 2,
            ..Default::default()
        };
        assert_eq!(
            models_text(&[(model, Some(round))]).to_string(),
            "MODEL  STANDING  MEMBER  HEAD      ROUND  CONFIRMED  NOW\n\
             m      joined    yes     1a2b3c4d  7      yes        round 8  open  0 in, 2 needed, waiting for feedface"
        );
        assert!(models_text(&[]).to_string().contains("qres model create"));
    }
}
