//! Watches: a snapshot or a replay, then every change, with no gap.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use qres_fed::id::SpecId;

use super::hub::Read;
use super::registry::Known;
use super::{Core, state, views};
use crate::error::{Kind, NodeError};
use crate::handle::WatchFilter;
use crate::view::{Event, Revision, WatchItem};

/// Submissions that a snapshot shows: the newest.
const SNAPSHOT_SUBMISSIONS: usize = 100;

type Item = Result<WatchItem, NodeError>;

/// What a filter lets through, with names resolved to specs.
struct Filter {
    what: WatchFilter,
    spec: Option<SpecId>,
}

impl Filter {
    fn new(core: &Core, what: WatchFilter) -> Result<Self, NodeError> {
        let spec = match &what {
            WatchFilter::Models | WatchFilter::Peers | WatchFilter::Submissions(None) => None,
            WatchFilter::Rounds(model) | WatchFilter::States(model, _) | WatchFilter::Submissions(Some(model)) => {
                Some(core.registry.find(model)?.id())
            }
        };
        Ok(Self { what, spec })
    }

    fn admits(&self, event: &Event) -> bool {
        let of_spec = |spec: SpecId| self.spec.is_none_or(|wanted| wanted == spec);
        match (&self.what, event) {
            (WatchFilter::Models, Event::Model(_) | Event::ModelHeard(_) | Event::ModelLeft(..)) => true,
            (WatchFilter::Rounds(_), Event::Round(round)) => of_spec(round.spec),
            (WatchFilter::Submissions(_), Event::Submission(submission)) => of_spec(submission.spec),
            (WatchFilter::Peers, Event::Peer(_)) => true,
            (WatchFilter::States(_, names), Event::State(state)) => {
                of_spec(state.spec) && (names.is_empty() || names.contains(&state.name))
            }
            _ => false,
        }
    }
}

/// Where a watcher is.
struct Watcher {
    core: Arc<Core>,
    filter: Filter,
    next: Revision,
    newest: tokio::sync::watch::Receiver<Revision>,
    /// A snapshot is due.
    snapshot: bool,
}

/// Opens a watch that goes on after a revision, the last that its caller has handled; 0 = a snapshot first.
pub fn watch(core: &Arc<Core>, filter: WatchFilter, from: Revision) -> Result<BoxStream<'static, Item>, NodeError> {
    let filter = Filter::new(core, filter)?;
    let newest = core.hub.revision();
    if from > newest {
        return Err(NodeError::new(
            Kind::OutOfRange,
            "REVISION_AHEAD",
            format!("revision {from} is ahead of this node's newest, {newest}: is it another node's? 0 starts with a snapshot"),
        )
        .field("from_revision"));
    }
    let watcher = Watcher {
        core: core.clone(),
        filter,
        next: from + 1,
        newest: core.hub.subscribe(),
        snapshot: from == 0,
    };
    Ok(stream::unfold(watcher, |mut watcher| async move {
        let items = watcher.step().await?;
        Some((stream::iter(items), watcher))
    })
    .flatten()
    .boxed())
}

impl Watcher {
    /// The next items; `None` when the node stops.
    async fn step(&mut self) -> Option<Vec<Item>> {
        loop {
            if self.snapshot {
                self.snapshot = false;
                return Some(self.snapshot().await);
            }
            match self.core.hub.read(self.next) {
                Read::TooOld(oldest) => {
                    self.snapshot = true;
                    return Some(vec![Ok(WatchItem::TooOld(oldest))]);
                }
                Read::Events(events) => {
                    if let Some((last, _)) = events.last() {
                        self.next = last + 1;
                    }
                    let admitted = events.into_iter().filter(|(_, event)| self.filter.admits(event));
                    let items: Vec<_> = admitted
                        .map(|(revision, event)| Ok(WatchItem::Change(revision, (*event).clone())))
                        .collect();
                    if !items.is_empty() {
                        return Some(items);
                    }
                }
            }
            let (stop, next) = (self.core.stop.clone(), self.next);
            tokio::select! {
                () = stop.cancelled() => return None,
                changed = self.newest.wait_for(|revision| *revision >= next) => { changed.ok()?; }
            }
        }
    }

    async fn snapshot(&mut self) -> Vec<Item> {
        // Taken before the snapshot is made: what changes meanwhile is told again, never missed.
        let revision = self.core.hub.revision();
        self.next = revision + 1;
        let mut items = match self.standing().await {
            Ok(events) => events
                .into_iter()
                .map(|event| Ok(WatchItem::Snapshot(revision, event)))
                .collect(),
            Err(error) => vec![Err(error)],
        };
        items.push(Ok(WatchItem::SnapshotEnd(revision)));
        items
    }

    async fn standing(&self) -> Result<Vec<Event>, NodeError> {
        let core = &self.core;
        match &self.filter.what {
            WatchFilter::Models => Ok(core
                .registry
                .known()
                .into_iter()
                .map(|known| match known {
                    Known::Here(model) => Event::Model(views::model(core, &model)),
                    Known::Heard(heard) => Event::ModelHeard(heard),
                })
                .collect()),
            WatchFilter::Rounds(model) => {
                let (model, joined) = core.registry.find_joined(model)?;
                let rounds = joined
                    .ask(|machine| {
                        let open = machine.open_round();
                        let last = open
                            .round
                            .checked_sub(1)
                            .filter(|round| *round > 0)
                            .and_then(|r| machine.round(r));
                        last.into_iter().chain([open]).collect::<Vec<_>>()
                    })
                    .await?;
                Ok(rounds
                    .into_iter()
                    .map(|round| Event::Round(views::round(core, &model, round)))
                    .collect())
            }
            WatchFilter::Submissions(_) => {
                let spec = self.filter.spec;
                let page = core
                    .blocking(move |store| store.submissions(spec, None, SNAPSHOT_SUBMISSIONS))
                    .await?;
                Ok(page
                    .items
                    .iter()
                    .rev()
                    .map(|stored| Event::Submission(views::submission(stored)))
                    .collect())
            }
            WatchFilter::Peers => Ok(core.mesh.peers().await?.into_iter().map(Event::Peer).collect()),
            WatchFilter::States(..) => {
                let Some(spec) = self.filter.spec else {
                    return Ok(vec![]);
                };
                let mut events = vec![];
                for record in core.states.newest_of(spec) {
                    events.push(Event::State(state::view(core, &record).await?));
                }
                events.retain(|event| self.filter.admits(event));
                Ok(events)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use qres_fed::id::{BlobId, CheckpointId, NodeId, SubmissionId};
    use qres_fed::round::SubmissionState;

    use super::*;
    use crate::handle::ModelRef;
    use crate::view::{RoundView, StateView, SubmissionView};

    const ONE: SpecId = SpecId([1; 32]);
    const OTHER: SpecId = SpecId([2; 32]);

    fn round(spec: SpecId) -> Event {
        Event::Round(RoundView {
            spec,
            model: "m".parse().unwrap(),
            round: 1,
            parent: CheckpointId([0; 32]),
            checkpoint: None,
            sealers: vec![],
            contributions: vec![],
            missing: vec![],
            min_contributions: 1,
            deadline_in_ms: None,
            losing_seals: vec![],
        })
    }

    fn state(spec: SpecId, name: &str) -> Event {
        Event::State(StateView {
            spec,
            model: "m".parse().unwrap(),
            publisher: NodeId([0; 32]),
            name: name.into(),
            sequence: 1,
            timestamp_unix_ms: 0,
            fidelity: 1.0,
            tensors: bytes::Bytes::new(),
        })
    }

    fn submission(spec: SpecId) -> Event {
        Event::Submission(SubmissionView {
            id: SubmissionId(BlobId([0; 32]).0),
            spec,
            model: "m".parse().unwrap(),
            trainer: "t".into(),
            base: CheckpointId([0; 32]),
            samples: 1,
            metrics: [].into(),
            bytes: 0,
            at_unix_ms: 0,
            state: SubmissionState::Pending,
        })
    }

    #[test]
    fn a_filter_lets_through_what_was_asked_for_and_nothing_else() {
        let model = || ModelRef {
            name: "m".parse().unwrap(),
            id: None,
        };
        let left = || Event::ModelLeft(ONE, "m".parse().unwrap());
        let events = [
            round(ONE),
            round(OTHER),
            state(ONE, "a"),
            state(ONE, "b"),
            state(OTHER, "a"),
            submission(ONE),
            submission(OTHER),
            left(),
        ];
        let admitted = |what, spec| {
            let filter = Filter { what, spec };
            let places = events.iter().enumerate().filter(|(_, event)| filter.admits(event));
            places.map(|(place, _)| place).collect::<Vec<_>>()
        };
        assert_eq!(admitted(WatchFilter::Models, None), [7]);
        assert_eq!(admitted(WatchFilter::Rounds(model()), Some(ONE)), [0]);
        assert_eq!(admitted(WatchFilter::States(model(), vec![]), Some(ONE)), [2, 3]);
        assert_eq!(admitted(WatchFilter::States(model(), vec!["b".into()]), Some(ONE)), [3]);
        assert_eq!(admitted(WatchFilter::Submissions(None), None), [5, 6]);
        assert_eq!(admitted(WatchFilter::Submissions(Some(model())), Some(OTHER)), [6]);
        assert!(admitted(WatchFilter::Peers, None).is_empty());
    }
}
