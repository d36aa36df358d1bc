//! Keeps a file at a model's newest weights, for a server that answers with the model.
//!
//! ```sh
//! cargo run -p qres-api --features client --example follow -- 127.0.0.1:4002 MODEL head.safetensors [ROUND]
//! ```
//!
//! Weights go to the disk as they come; the file is replaced as a whole, so a reader never sees a part. With a round it ends
//! once the file holds that round's weights or newer ones.

use std::path::Path;

use futures::StreamExt;
use qres_api::client::{Client, ClientError};
use qres_api::pb::FetchWeightsRequest;
use tokio::io::AsyncWriteExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(model), Some(path)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: follow ADDRESS MODEL FILE [ROUND]".into());
    };
    let until = arguments.next().map_or(Ok(u64::MAX), |text| text.parse())?;
    let node = Client::connect(&address).await?;
    let mut after = String::new();
    loop {
        let request = FetchWeightsRequest {
            model: model.clone(),
            after: after.clone(),
            // Every head, also those that this node's trainers cannot contribute to.
            every_head: true,
            ..Default::default()
        };
        let (id, round) = replace(&node, request, path.as_ref()).await?;
        println!("round {round}: {id}");
        if round >= until {
            return Ok(());
        }
        after = id;
    }
}

/// Writes a checkpoint beside the file, then renames it. Returns its id and round.
async fn replace(
    node: &Client,
    request: FetchWeightsRequest,
    path: &Path,
) -> Result<(String, u64), Box<dyn std::error::Error>> {
    let mut fetch = node.fetch(request).await?;
    let aside = path.with_extension("part");
    let mut file = tokio::fs::File::create(&aside).await?;
    while let Some(chunk) = fetch.data.next().await {
        let chunk: Result<_, ClientError> = chunk;
        file.write_all(&chunk?).await?;
    }
    file.sync_all().await?;
    tokio::fs::rename(&aside, path).await?;
    Ok((fetch.checkpoint.id, fetch.checkpoint.round))
}
