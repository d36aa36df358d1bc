//! `qres`: the command-line tool by which people look at a node and drive it.
//!
//! Architecture invariant: this tool knows the gRPC contract alone. A program in any language can do everything that it does.

mod args;
mod callers_file;
mod command;
mod confirm;
mod credentials;
mod failure;
mod file;
mod output;
mod progress;
mod show;
mod upload;
mod value;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use qres_api::client::Client;

use crate::args::{Args, Command, Model};
use crate::command::Context;

use crate::failure::Failure;
use crate::output::Output;

fn main() -> ExitCode {
    let args = Args::parse();
    let output = Output::new(args.json);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return output.fail(&Failure::local(format!("no threads to run on: {error}"))),
    };
    let outcome = runtime.block_on(run(args, output));
    // A blocked read of a file or terminal must not keep the process.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.fail(&failure),
    }
}

async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let work = async {
        let command = match local(args.command, output) {
            Ok(done) => return done,
            Err(command) => *command,
        };
        let credentials = args.credentials.read(std::env::var("QRES_TOKEN").ok())?;
        let command = match command {
            Command::Doctor(doctor) => return doctor.run(&args.addr, &credentials, output).await,
            other => other,
        };
        let client = Client::connect_as(args.addr.to_string(), &credentials).await?;
        let outcome = dispatch(
            command,
            Context {
                client: client.clone(),
                output,
            },
        )
        .await;
        if let Err(failure) = &outcome
            && failure.is_no_http2()
            && !client.address().starts_with("https:")
            && !output.is_json()
        {
            output.note("qres: a node with TLS needs https:// before its address, or --tls-ca");
        }
        outcome
    };
    match args.timeout {
        None => work.await,
        Some(limit) => tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            let text = format!(
                "not done within --timeout {}",
                show::text::duration_ms(limit.as_millis())
            );
            Err(Failure::local(text))
        }),
    }
}

/// Runs a command that needs no node. Returns any other command again.
fn local(command: Command, output: Output) -> Result<Result<(), Failure>, Box<Command>> {
    match command {
        Command::Tls(tls) => Ok(tls.run(output)),
        Command::Token(token) => Ok(token.run(output)),
        Command::NetworkKey(key) => Ok(key.run(output)),
        Command::Backup(backup) => Ok(backup.run(output)),
        Command::Restore(restore) => Ok(restore.run(output)),
        Command::Completions(completions) => Ok(completions.run(Args::command())),
        Command::Man(man) => Ok(man.run(Args::command())),
        other => Err(Box::new(other)),
    }
}

async fn dispatch(command: Command, context: Context) -> Result<(), Failure> {
    match command {
        Command::Status(status) => status.run(context).await,
        Command::Peers(peers) => peers.run(context).await,
        Command::Model(Model::Create(create)) => create.run(context).await,
        Command::Model(Model::Join(join)) => join.run(context).await,
        Command::Model(Model::Leave(leave)) => leave.run(context).await,
        Command::Model(Model::Member(member)) => member.run(context).await,
        Command::Model(Model::List(list)) => list.run(context).await,
        Command::Model(Model::Show(show)) => show.run(context).await,
        Command::Submit(submit) => submit.run(context).await,
        Command::Fetch(fetch) => fetch.run(context).await,
        Command::Submissions(submissions) => submissions.run(context).await,
        Command::Watch(watch) => watch.run(context).await,
        Command::State(state) => state.run(context).await,
        Command::Round(round) => round.run(context).await,
        Command::Drain(drain) => drain.run(context).await,
        // It makes its own connection.
        Command::Doctor(_)
        // They need no node: see `local`.
        | Command::Tls(_)
        | Command::Token(_)
        | Command::NetworkKey(_)
        | Command::Completions(_)
        | Command::Backup(_)
        | Command::Restore(_)
        | Command::Man(_) => Ok(()),
    }
}
