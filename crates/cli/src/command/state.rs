//! The command `qres state`.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Subcommand;
use qres_api::{CHUNK_BYTES_MAX, pb};
use serde_json::{Value, json};

use super::follow::{Next, follow};
use super::{Context, needed};
use crate::failure::Failure;
use crate::file;
use crate::show::json;
use crate::show::text;

/// Publishes and follows states.
#[derive(Debug, Subcommand)]
pub enum State {
    /// Send a state to all nodes that joined the model
    Publish {
        /// Name of a joined model, or name@id
        model: String,
        /// Name of the state, one of this node's
        name: String,
        /// The tensors: a safetensors file of at most 1 MiB
        file: PathBuf,
        /// Codec by which the state is coded for sending [default: bf16/1]
        #[arg(long, value_name = "NAME/VERSION")]
        codec: Option<String>,
    },
    /// Follow the states of a model
    Subscribe {
        /// Name of a joined model, or name@id
        model: String,
        /// Only states of these names
        names: Vec<String>,
        /// Write each state's tensors into this directory
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Go on after this revision instead of beginning with each publisher's newest states
        #[arg(long, value_name = "REVISION", default_value_t = 0)]
        from: u64,
    },
}

impl State {
    /// Publishes or follows states and prints them.
    pub async fn run(self, context: Context) -> Result<(), Failure> {
        match self {
            Self::Publish {
                model,
                name,
                file,
                codec,
            } => {
                let request = pb::PublishStateRequest {
                    model,
                    name,
                    timestamp: None,
                    codec: codec.map(|id| pb::Rule {
                        id,
                        ..Default::default()
                    }),
                    data: read(&file)?,
                };
                let answer = context.client.states().publish_state(request).await?.into_inner();
                let state = needed(answer.state, "state")?;
                context
                    .output
                    .print(|| json!({"state": json::state(&state)}), || line(&state));
                Ok(())
            }
            Self::Subscribe {
                model,
                names,
                out,
                from,
            } => subscribe(context, model, names, out, from).await,
        }
    }
}

/// Reads the file. Returns a [`Failure`] if it has more than [`CHUNK_BYTES_MAX`] bytes, which the node would refuse.
fn read(path: &Path) -> Result<Bytes, Failure> {
    let bytes = std::fs::metadata(path)
        .map_err(|error| Failure::file(path, error))?
        .len();
    if bytes > CHUNK_BYTES_MAX as u64 {
        let problem = format!("has {bytes} bytes, a state has at most {CHUNK_BYTES_MAX}");
        return Err(Failure::file(path, problem));
    }
    let data = std::fs::read(path).map_err(|error| Failure::file(path, error))?;
    Ok(data.into())
}

async fn subscribe(
    context: Context,
    model: String,
    names: Vec<String>,
    out: Option<PathBuf>,
    from: u64,
) -> Result<(), Failure> {
    if let Some(dir) = &out {
        std::fs::create_dir_all(dir).map_err(|error| Failure::file(dir, error))?;
    }
    let Context { client, output } = context;
    let client = &client;
    let open = |from| {
        let (model, names) = (model.clone(), names.clone());
        async move { client.subscribe_state(&model, names, from).await }
    };
    let each = |message: pb::SubscribeStateResponse| {
        let state = message.state.as_ref();
        let path = match (&out, state) {
            (Some(dir), Some(state)) => Some(save(dir, state)?),
            _ => None,
        };
        if state.is_none() && !output.is_json() {
            return Ok(Next::More);
        }
        let to_json = || {
            let mut shown = state.map_or(Value::Null, json::state);
            if let (Some(path), Value::Object(fields)) = (&path, &mut shown) {
                fields.remove("data");
                fields.insert("out".into(), path.display().to_string().into());
            }
            json!({"revision": message.revision, "kind": json::watch_kind(message.kind()), "state": shown})
        };
        let to_text = || {
            let path = path.as_ref().map(|path| format!("  {}", path.display()));
            format!("{}{}", state.map(line).unwrap_or_default(), path.unwrap_or_default())
        };
        Ok(match output.print(to_json, to_text) {
            true => Next::More,
            false => Next::Enough,
        })
    };
    follow(output, from, open, each).await
}

/// Writes the tensors of a [`pb::State`] and returns the path. A file of that name already has the same content, because a
/// publisher's sequence never repeats.
fn save(dir: &Path, state: &pb::State) -> Result<PathBuf, Failure> {
    let path = dir.join(file_name(state));
    file::write(&path, "state", &state.data)?;
    Ok(path)
}

/// Returns the file's name, `<publisher>-<name>-<sequence>.safetensors`. The state's name comes from another node:
/// characters that a file's name may not have, or that could lead to another folder, become `_`.
fn file_name(state: &pb::State) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
            c
        } else {
            '_'
        }
    };
    let name: String = state.name.chars().map(safe).collect();
    let publisher: String = state
        .publisher
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(16)
        .collect();
    format!("{publisher}-{name}-{}.safetensors", state.sequence)
}

fn line(state: &pb::State) -> String {
    format!(
        "{}  {}  {}  {}  fidelity {:.6}  {}",
        text::short(&state.publisher),
        state.name,
        state.sequence,
        state.timestamp.as_ref().map(ToString::to_string).unwrap_or_default(),
        state.fidelity,
        text::bytes(state.data.len() as u64)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_written_inside_its_directory_whatever_it_is_called() {
        let dir = tempfile::tempdir().unwrap();
        let state = pb::State {
            publisher: "feedfacecafe00112233".into(),
            name: "../../etc/passwd\n".into(),
            sequence: 7,
            data: b"abc".as_slice().into(),
            ..Default::default()
        };
        let path = save(dir.path(), &state).unwrap();
        assert_eq!(
            path,
            dir.path().join("feedfacecafe0011-.._.._etc_passwd_-7.safetensors")
        );
        assert_eq!(std::fs::read(path).unwrap(), b"abc");
    }

    #[test]
    fn a_state_that_is_too_large_is_refused_before_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        std::fs::write(&path, vec![0; CHUNK_BYTES_MAX + 1]).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("at most 1048576"));
        std::fs::write(&path, vec![0; CHUNK_BYTES_MAX]).unwrap();
        assert_eq!(read(&path).unwrap().len(), CHUNK_BYTES_MAX);
    }
}
