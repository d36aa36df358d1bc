//! `qres-fuzz seed` writes the seeds of the corpora anew, `qres-fuzz list` prints the names of the targets, and
//! `qres-fuzz run TARGET FILE...` runs one target on files, to look at a crash.

use std::process::ExitCode;

use qres_fuzz::{Fixture, TARGETS, Target, seed_name};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["list"] => {
            TARGETS.iter().for_each(|target| println!("{}", target.name));
            Ok(())
        }
        ["seed"] => seed(),
        ["run", target, files @ ..] => run(target, files),
        _ => Err("say seed, list, or run TARGET FILE...".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("qres-fuzz: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn seed() -> Result<(), String> {
    let fixture = Fixture::new();
    for target in TARGETS {
        let folder = target.corpus();
        let fail = |error| format!("{}: {error}", folder.display());
        std::fs::create_dir_all(&folder).map_err(fail)?;
        for (number, seed) in target.seeds(&fixture).iter().enumerate() {
            std::fs::write(folder.join(seed_name(number)), seed).map_err(fail)?;
        }
    }
    Ok(())
}

fn run(name: &str, files: &[&str]) -> Result<(), String> {
    let target =
        Target::named(name).ok_or_else(|| format!("no target is called {name:?}: `qres-fuzz list` names them"))?;
    let fixture = Fixture::new();
    for file in files {
        let data = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
        let accepted = target.run(&fixture, &data);
        println!("{file}: {}", if accepted { "accepted" } else { "refused" });
    }
    Ok(())
}
