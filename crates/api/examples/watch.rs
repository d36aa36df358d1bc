//! Follows the rounds of a model, and goes on where it was after a break of the connection.
//!
//! ```sh
//! cargo run -p qres-api --features client --example watch -- 127.0.0.1:4002 MODEL [ROUNDS]
//! ```

use std::time::Duration;

use futures::StreamExt;
use qres_api::client::{Client, ClientError};
use qres_api::pb::RoundState;

/// Pause before the node is called again that did not answer.
const PAUSE: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(model)) = (arguments.next(), arguments.next()) else {
        return Err("usage: watch ADDRESS MODEL [ROUNDS]".into());
    };
    let rounds = arguments.next().map_or(Ok(u64::MAX), |text| text.parse())?;
    // The last revision that was handled. A watch begins after it; 0 begins with a snapshot of what is.
    let mut revision = 0;
    loop {
        match follow(&address, &model, rounds, &mut revision).await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            // The node has forgotten what came after that revision: begin with a snapshot again.
            Err(error) if error.code() == Some(tonic::Code::OutOfRange) => revision = 0,
            Err(error) if error.is_passing() => eprintln!("{error}; trying again"),
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Prints rounds until this many are sealed (`true`), or until the watch ends.
async fn follow(address: &str, model: &str, rounds: u64, revision: &mut u64) -> Result<bool, ClientError> {
    let node = Client::connect(address).await?;
    let mut watch = node.watch_rounds(model, *revision).await?;
    while let Some(message) = watch.next().await {
        let message = message?;
        if let Some(round) = message.round {
            println!(
                "round {}: {}, {} contributions",
                round.round,
                round.state().as_str_name(),
                round.contributions.len()
            );
            if round.state() == RoundState::Sealed && round.round >= rounds {
                return Ok(true);
            }
        }
        *revision = message.revision;
    }
    Ok(false)
}
