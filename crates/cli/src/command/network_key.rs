//! The command `qres network-key`: makes the key that all nodes of a network share.

use std::path::PathBuf;

use qres_access::Token;
use qres_files::private;
use serde_json::json;

use crate::failure::Failure;
use crate::output::Output;

/// First lines of the file, the same as for other programs with libp2p.
const HEAD: &str = "/key/swarm/psk/1.0.0/\n/base16/\n";

/// Makes the key of a network.
#[derive(Debug, clap::Args)]
pub struct NetworkKey {
    /// File for the key
    #[arg(long, value_name = "FILE", default_value = "network.key")]
    out: PathBuf,
}

impl NetworkKey {
    /// Writes a new key to a new file.
    pub fn run(self, output: Output) -> Result<(), Failure> {
        if self.out.exists() {
            return Err(Failure::file(&self.out, "is there already: a network has one key"));
        }
        let random = Token::generate().map_err(|error| Failure::local(format!("no random numbers: {error}")))?;
        // 32 bytes in hexadecimal: the hash of a random token is as random as the token.
        let text = format!("{HEAD}{}\n", random.hash().hex());
        let path = std::path::absolute(&self.out).map_err(|error| Failure::file(&self.out, error))?;
        private::replace(&path, text.as_bytes()).map_err(|error| Failure::file(&self.out, error))?;
        let shown = self.out.display().to_string();
        output.print(
            || json!({"file": shown}),
            || format!("{shown} is the network's key: give it to every node (--network-key {shown})"),
        );
        Ok(())
    }
}
