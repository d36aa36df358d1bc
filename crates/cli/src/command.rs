//! The commands, one file each, and the code that they share.

pub mod backup;
pub mod completions;
pub mod create;
pub mod doctor;
pub mod drain;
pub mod fetch;
pub mod follow;
pub mod members;
pub mod membership;
pub mod network_key;
pub mod peers;
pub mod round;
pub mod state;
pub mod status;
pub mod submissions;
pub mod submit;
pub mod tls;
pub mod token;
pub mod watch;

use qres_api::client::Client;
use qres_api::pb;

use crate::failure::Failure;
use crate::output::Output;

/// The largest page that a node gives, in items.
const PAGE_SIZE: u32 = 1_000;
/// Most pages that are read of one list, so that a node that never ends its list is not followed for ever.
const PAGES_MAX: usize = 1_000;

/// The connection and the output that every command works with.
#[derive(Debug, Clone)]
pub struct Context {
    /// The connection to the node.
    pub client: Client,
    /// The [`Output`] for results.
    pub output: Output,
}

impl Context {
    /// Reads one model, with all its tensors.
    pub async fn model(&self, model: &str) -> Result<pb::Model, Failure> {
        Ok(self.client.model(model).await?)
    }

    /// Reads the state of the node itself.
    pub async fn node(&self) -> Result<pb::Node, Failure> {
        let answer = self.client.node().get_node(pb::GetNodeRequest {}).await?.into_inner();
        needed(answer.node, "node")
    }

    /// Reads all known peers, page by page.
    pub async fn peers(&self) -> Result<Vec<pb::Peer>, Failure> {
        pages(|page_token| async {
            let request = pb::ListPeersRequest {
                page_size: PAGE_SIZE,
                page_token,
            };
            let page = self.client.peers().list_peers(request).await?.into_inner();
            Ok((page.peers, page.next_page_token))
        })
        .await
    }

    /// Reads all models, page by page.
    pub async fn models(&self) -> Result<Vec<pb::Model>, Failure> {
        pages(|page_token| async {
            let request = pb::ListModelsRequest {
                page_size: PAGE_SIZE,
                page_token,
            };
            let page = self.client.models().list_models(request).await?.into_inner();
            Ok((page.models, page.next_page_token))
        })
        .await
    }
}

/// Returns a field of an answer that the contract promises, or a [`Failure`] that names the field if it is missing.
pub fn needed<T>(field: Option<T>, name: &str) -> Result<T, Failure> {
    field.ok_or_else(|| Failure::local(format!("the node's answer has no {name}: is it of another version?")))
}

/// Reads a whole list, page by page. `ask` takes a page token and returns the items and the next token. Returns a
/// [`Failure`] after [`PAGES_MAX`] pages.
async fn pages<T, F>(ask: impl Fn(String) -> F) -> Result<Vec<T>, Failure>
where
    F: Future<Output = Result<(Vec<T>, String), Failure>>,
{
    let mut all = Vec::new();
    let mut token = String::new();
    for _ in 0..PAGES_MAX {
        let (items, next) = ask(token).await?;
        all.extend(items);
        if next.is_empty() {
            return Ok(all);
        }
        token = next;
    }
    Err(Failure::local(format!(
        "the node's list does not end after {PAGES_MAX} pages"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_list_is_read_to_its_end_and_not_beyond_the_limit() {
        let three = |token: String| async move {
            let page: u32 = token.parse().unwrap_or(0);
            let next = if page < 2 {
                (page + 1).to_string()
            } else {
                String::new()
            };
            Ok((vec![page], next))
        };
        assert_eq!(pages(three).await.unwrap(), [0, 1, 2]);
        let endless = |_| async { Ok((vec![()], "again".to_owned())) };
        assert!(pages(endless).await.unwrap_err().to_string().contains("does not end"));
    }
}
