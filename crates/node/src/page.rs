//! Pages of a list: the items of one call, and the token of the next page.

use crate::error::NodeError;

/// A page of a list: its items, and the token of the next page.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The items of the page.
    pub items: Vec<T>,
    /// The token of the next page; `None` on the last page.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// Converts every item, and keeps the token.
    pub fn map<U>(self, item: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(item).collect(),
            next: self.next,
        }
    }
}

/// The page that is asked for: at most `size` items after `token`.
#[derive(Debug, Clone)]
pub struct PageRequest {
    /// The most items of the page, 1 to 1,000.
    pub size: usize,
    /// The token from the previous page; `None` asks for the first page.
    pub token: Option<String>,
}

impl PageRequest {
    /// Returns the page of a list that ascends by `key`; a token is the key of the page's last item, in hex.
    pub fn cut<T>(&self, all: Vec<T>, key: impl Fn(&T) -> String) -> Result<Page<T>, NodeError> {
        let after = self.token.as_deref().map(|token| {
            let bytes = hex::decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            bytes.ok_or_else(|| NodeError::invalid("page_token", "not a token of this list: start without one"))
        });
        let after = after.transpose()?;
        let mut rest = all
            .into_iter()
            .filter(|item| after.as_ref().is_none_or(|after| key(item) > *after))
            .peekable();
        let items: Vec<_> = rest.by_ref().take(self.size).collect();
        debug_assert!(items.is_sorted_by(|a, b| key(a) < key(b)), "a list ascends by its key");
        let next = rest.peek().and(items.last()).map(|last| hex::encode(key(last)));
        Ok(Page { items, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(all: &[&str], size: usize, token: Option<String>) -> Result<Page<String>, NodeError> {
        let all = all.iter().map(ToString::to_string).collect();
        PageRequest { size, token }.cut(all, String::clone)
    }

    #[test]
    fn pages_end_to_end_give_every_item_once_even_when_the_last_one_shown_has_gone() {
        let all = ["a", "b", "c", "d", "e"];
        let (mut seen, mut token) = (vec![], None);
        loop {
            let page = cut(&all, 2, token).unwrap();
            seen.extend(page.items);
            token = page.next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(seen, all);
        let first = cut(&all, 2, None).unwrap();
        let rest = cut(&["a", "c", "d"], 5, first.next).unwrap();
        assert_eq!((rest.items, rest.next), (vec!["c".to_owned(), "d".to_owned()], None));
        // A full last page says that it is the last.
        assert_eq!(cut(&["a", "b"], 2, None).unwrap().next, None);
        assert_eq!(cut(&[], 2, None).unwrap().next, None);
    }

    #[test]
    fn a_token_that_is_none_of_ours_is_refused_by_its_field() {
        for token in ["zz", "ff", "f"] {
            let error = cut(&["a"], 1, Some(token.into())).unwrap_err();
            assert_eq!(error.field.as_deref(), Some("page_token"), "{token}");
        }
    }
}
