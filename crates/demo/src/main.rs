//! `qres-demo`: a swarm of real nodes on this machine learns to read digits that no trainer has seen all of.

mod args;
mod attack;
mod baseline;
mod digits;
mod federation;
mod model;
mod plot;
mod progress;
mod run;
mod split;
mod swarm;
mod table;
mod trainer;

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use args::{Args, Scene};
use swarm::Swarm;

/// Exit code after SIGINT or SIGTERM, as shells report SIGINT: 128 + 2.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match demo(&args).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("qres-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the demo and kills its daemons, also if the demo fails or a signal ends it. Returns the [`ExitCode`].
async fn demo(args: &Args) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let ended = async {
        let nodes = match &args.scene {
            Some(Scene::Attack(_)) => attack::MEMBERS,
            None => args.nodes,
        };
        let swarm = Swarm::start(nodes).await?;
        let outcome = match &args.scene {
            Some(Scene::Attack(attacked)) => attack::run(attacked, &swarm).await,
            None => run::run(args, &swarm).await,
        };
        if !matches!(outcome, Ok(true)) {
            eprintln!("{}", swarm.logs());
        }
        swarm.stop().await;
        outcome
    };
    // Dropping the future drops the swarm in it, which kills its processes.
    tokio::select! {
        outcome = ended => Ok(if outcome? { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(INTERRUPTED)),
        _ = terminate.recv() => Ok(ExitCode::from(INTERRUPTED)),
    }
}
