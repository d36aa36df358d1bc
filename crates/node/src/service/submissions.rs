//! Calls about submissions and their fate.

use std::sync::Arc;

use qres_fed::id::SubmissionId;
use qres_fed::round::SubmissionState;
use qres_store::StoreError;

use crate::context::NodeContext;
use crate::error::{NodeError, Reason};
use crate::page::{Page, PageRequest};
use crate::refusal::stopped;
use crate::request::ModelRef;
use crate::view::SubmissionView;

/// Returns true if a trainer that waits has its answer. A sealed submission may still be provisional: the next round's
/// contributions confirm it, and a trainer that goes on waiting would never make one.
fn is_settled(state: &SubmissionState) -> bool {
    match state {
        SubmissionState::Sealed { .. } | SubmissionState::Rejected { .. } | SubmissionState::Superseded { .. } => true,
        SubmissionState::Pending | SubmissionState::Merged { .. } | SubmissionState::Carried { .. } => false,
    }
}

/// Returns one submission; with `wait`, once it is sealed (provisional or confirmed), rejected or superseded.
pub async fn get(context: &Arc<NodeContext>, id: SubmissionId, wait: bool) -> Result<SubmissionView, NodeError> {
    let mut newest = context.events.subscribe();
    loop {
        newest.mark_unchanged();
        let stored = context
            .disk
            .blocking(move |store| store.submission(id))
            .await?
            .ok_or_else(|| {
                NodeError::new(
                Reason::SubmissionUnknown,
                format!(
                    "submission {id} is unknown here: it was made on another node, or became final more than 7 days ago"
                ),
            )
            .field("id")
            })?;
        if !wait || is_settled(&stored.state) {
            return Ok(SubmissionView::of(&stored));
        }
        tokio::select! {
            () = context.lifecycle.stop.cancelled() => return Err(stopped()),
            changed = newest.changed() => changed.map_err(|_| stopped())?,
        }
    }
}

/// Returns a page of submissions, the newest first.
pub async fn list(
    context: &Arc<NodeContext>,
    model: Option<ModelRef>,
    page: PageRequest,
) -> Result<Page<SubmissionView>, NodeError> {
    let spec = model
        .map(|model| context.catalog.find(&model))
        .transpose()?
        .map(|model| model.id());
    let found = context
        .disk
        .blocking(move |store| store.submissions(spec, page.token.as_deref(), page.size))
        .await;
    let found = found.map_err(|error| match error {
        StoreError::Token(_) => NodeError::invalid("page_token", error.to_string()),
        other => other.into(),
    })?;
    Ok(Page {
        items: found.items.iter().map(SubmissionView::of).collect(),
        next: found.next,
    })
}

#[cfg(test)]
mod tests {
    use qres_fed::id::{CheckpointId, ContributionId};

    use super::*;

    #[test]
    fn a_wait_ends_with_a_seal_or_a_no() {
        let sealed = |confirmed| SubmissionState::Sealed {
            checkpoint: CheckpointId([1; 32]),
            weight_ppm: 1,
            confirmed,
            settled: false,
        };
        let reason = || "r".to_owned();
        for state in [
            sealed(false),
            sealed(true),
            SubmissionState::Rejected { reason: reason() },
            SubmissionState::Superseded { reason: reason() },
        ] {
            assert!(is_settled(&state), "{state:?}");
        }
        let contribution = ContributionId([2; 32]);
        for state in [
            SubmissionState::Pending,
            SubmissionState::Merged { contribution },
            SubmissionState::Carried { round: 3 },
        ] {
            assert!(!is_settled(&state), "{state:?}");
        }
    }
}
