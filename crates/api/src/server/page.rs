//! Reads the pages of lists.

use std::future::Future;

use prost::Message;
use qres_node::error::NodeError;
use qres_node::handle::{Page, PageRequest};
use tonic::Status;

use super::status::status;

/// Number of items of a page if the request names none.
const SIZE_DEFAULT: usize = 50;
/// Most items of a page.
const SIZE_MAX: usize = 1_000;
/// Most bytes of a page (3 MiB): callers accept messages of 4 MiB by default.
const BYTES_MAX: usize = 3 * 1024 * 1024;
/// Most bytes of a page token.
const TOKEN_BYTES_MAX: usize = 1_024;

/// Parses the page size and the page token of a list request. Returns INVALID_ARGUMENT for a token that is too long.
pub(super) fn request(size: u32, token: String) -> Result<PageRequest, Status> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(status(NodeError::invalid(
            "page_token",
            "page_token: is none of ours: send the last answer's next_page_token, or nothing for the first page",
        )));
    }
    let size = match size as usize {
        0 => SIZE_DEFAULT,
        size => size.min(SIZE_MAX),
    };
    Ok(PageRequest {
        size,
        token: (!token.is_empty()).then_some(token),
    })
}

/// Asks for a [`Page`], and for one of half the size while the messages have more than [`BYTES_MAX`] bytes together.
/// Returns the messages and the token of the next page, which is empty on the last one.
pub(super) async fn fitting<T, M, Asked>(
    mut request: PageRequest,
    ask: impl Fn(PageRequest) -> Asked,
    to_message: impl Fn(T) -> M,
) -> Result<(Vec<M>, String), Status>
where
    Asked: Future<Output = Result<Page<T>, NodeError>>,
    M: Message,
{
    loop {
        let page = ask(request.clone()).await.map_err(status)?;
        let messages: Vec<M> = page.items.into_iter().map(&to_message).collect();
        let bytes: usize = messages.iter().map(Message::encoded_len).sum();
        if bytes <= BYTES_MAX || messages.len() <= 1 {
            return Ok((messages, page.next.unwrap_or_default()));
        }
        request.size = (messages.len() / 2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_default_and_a_limit() {
        assert_eq!(request(0, String::new()).unwrap().size, 50);
        assert_eq!(request(7, String::new()).unwrap().size, 7);
        assert_eq!(request(u32::MAX, String::new()).unwrap().size, 1_000);
        assert_eq!(request(1, String::new()).unwrap().token, None);
        assert_eq!(request(1, "t".into()).unwrap().token.as_deref(), Some("t"));
        assert!(request(1, "t".repeat(2_000)).is_err());
    }

    #[tokio::test]
    async fn a_page_that_is_too_long_is_asked_for_again_shorter() {
        // 100 items of 100 KiB: about 30 fit.
        let ask = |request: PageRequest| async move {
            Ok(Page {
                items: vec!["x".repeat(100 * 1024); request.size],
                next: Some(request.size.to_string()),
            })
        };
        let asked = request(100, String::new()).unwrap();
        let (items, next) = fitting(asked, ask, |text| text).await.unwrap();
        assert_eq!(items.len(), 25);
        assert_eq!(next, "25");
    }
}
