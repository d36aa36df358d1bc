//! The commands `qres completions` and `qres man`: files for shells and for `man`.

use std::io::Write;
use std::path::PathBuf;

use clap::Command;
use clap_complete::Shell;

use crate::failure::Failure;

/// Prints the completions of a shell.
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// The shell: bash, zsh, fish, elvish or powershell
    shell: Shell,
}

/// Writes the manual pages.
#[derive(Debug, clap::Args)]
pub struct Man {
    /// Directory for the pages, one for each command
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

impl Completions {
    /// Prints the completions of the command line of `qres`.
    pub fn run(self, mut qres: Command) -> Result<(), Failure> {
        let mut text = vec![];
        clap_complete::generate(self.shell, &mut qres, "qres", &mut text);
        let written = std::io::stdout().write_all(&text);
        written.map_err(|error| Failure::local(format!("the completions cannot be printed: {error}")))
    }
}

impl Man {
    /// Writes the pages of the command line of `qres`.
    pub fn run(self, qres: Command) -> Result<(), Failure> {
        std::fs::create_dir_all(&self.out).map_err(|error| Failure::file(&self.out, error))?;
        clap_mangen::generate_to(qres, &self.out).map_err(|error| Failure::file(&self.out, error))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Args;

    #[test]
    fn every_command_has_a_manual_page() {
        let dir = tempfile::tempdir().unwrap();
        let man = Man {
            out: dir.path().join("man"),
        };
        man.run(Args::command()).unwrap();
        let page = |name: &str| std::fs::read_to_string(dir.path().join("man").join(name)).unwrap();
        assert!(page("qres.1").contains("qres"));
        assert!(page("qres-model-create.1").contains("min\\-contributions"));
        assert!(page("qres-token-new.1").contains("expires"));
    }
}
