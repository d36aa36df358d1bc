//! Watches: a snapshot or a replay, then every change, with no gap.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use qres_fed::id::{SpecId, SubmissionId};
use qres_fed::record::StateRecord;

use crate::catalog::known::Known;
use crate::context::NodeContext;
use crate::error::{NodeError, Reason};
use crate::event_log::Read;
use crate::request::WatchFilter;
use crate::service::states as state;
use crate::view::{Event, Revision, RoundView, SubmissionView, WatchItem};

/// The number of submissions that a snapshot shows: the newest ones.
const SNAPSHOT_SUBMISSIONS: usize = 100;

type Item = Result<WatchItem, NodeError>;

/// A [`WatchFilter`] whose model name is resolved to a spec.
struct Filter {
    what: WatchFilter,
    spec: Option<SpecId>,
}

impl Filter {
    fn new(context: &NodeContext, what: WatchFilter) -> Result<Self, NodeError> {
        let spec = match &what {
            WatchFilter::Models | WatchFilter::Peers | WatchFilter::Submissions(None) => None,
            WatchFilter::Rounds(model) | WatchFilter::States(model, _) | WatchFilter::Submissions(Some(model)) => {
                Some(context.catalog.find(model)?.id())
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

/// The filter and the position of one watcher.
struct Watcher {
    context: Arc<NodeContext>,
    filter: Filter,
    next: Revision,
    newest: tokio::sync::watch::Receiver<Revision>,
    phase: Phase,
}

/// The part of its watch that a watcher is in.
enum Phase {
    /// A snapshot is due next.
    Due,
    /// The rest of a snapshot is due, which began at this revision.
    Snapshot(Revision, Snapshot),
    /// The changes are due, as they happen.
    Changes,
    /// The watch has failed, and its caller was told.
    Failed,
}

/// The rest of a snapshot. It holds only what the items can be read from again: each item is made when the one before it has
/// been taken.
enum Snapshot {
    Models(std::vec::IntoIter<Known>),
    Submissions(std::vec::IntoIter<SubmissionId>),
    States(std::vec::IntoIter<StateRecord>),
    /// Two rounds, or the peers: small, and known only together.
    Events(std::vec::IntoIter<Event>),
}

/// Opens a watch that goes on after the revision `from`, the last that its caller has handled; 0 asks for a snapshot first. A
/// revision above the newest is refused with [`Reason::RevisionAhead`].
pub fn watch(
    context: &Arc<NodeContext>,
    filter: WatchFilter,
    from: Revision,
) -> Result<BoxStream<'static, Item>, NodeError> {
    let filter = Filter::new(context, filter)?;
    let newest = context.events.revision();
    if from > newest {
        return Err(NodeError::new(
            Reason::RevisionAhead,
            format!("revision {from} is ahead of this node's newest, {newest}: is it another node's? 0 starts with a snapshot"),
        )
        .field("from_revision"));
    }
    let watcher = Watcher {
        context: context.clone(),
        filter,
        next: from + 1,
        newest: context.events.subscribe(),
        phase: if from == 0 { Phase::Due } else { Phase::Changes },
    };
    let items = stream::unfold(watcher, |mut watcher| async move {
        let item = watcher.step().await?;
        Some((item, watcher))
    });
    Ok(items.boxed())
}

impl Watcher {
    /// Returns the next item, or `None` when the node stops, or after an error.
    async fn step(&mut self) -> Option<Item> {
        loop {
            match &mut self.phase {
                Phase::Due => {
                    // The revision is taken before the snapshot is made: a change meanwhile is told again, and never missed.
                    let revision = self.context.events.revision();
                    self.next = revision + 1;
                    match self.standing().await {
                        Ok(standing) => self.phase = Phase::Snapshot(revision, standing),
                        Err(error) => return Some(self.fail(error)),
                    }
                }
                Phase::Snapshot(revision, standing) => {
                    let revision = *revision;
                    match standing.next(&self.context).await {
                        Ok(Some(event)) if self.filter.admits(&event) => {
                            return Some(Ok(WatchItem::Snapshot(revision, event)));
                        }
                        Ok(Some(_)) => {}
                        Ok(None) => {
                            self.phase = Phase::Changes;
                            return Some(Ok(WatchItem::SnapshotEnd(revision)));
                        }
                        Err(error) => return Some(self.fail(error)),
                    }
                }
                Phase::Changes => match self.context.events.read(self.next, |event| self.filter.admits(event)) {
                    Read::TooOld(oldest) => {
                        self.phase = Phase::Due;
                        return Some(Ok(WatchItem::TooOld(oldest)));
                    }
                    Read::Event(revision, event) => {
                        self.next = revision + 1;
                        return Some(Ok(WatchItem::Change(revision, (*event).clone())));
                    }
                    Read::Nothing(next) => {
                        self.next = next;
                        self.wait().await?;
                    }
                },
                Phase::Failed => return None,
            }
        }
    }

    /// Waits for the revision [`Watcher::next`]; returns `None` when the node stops.
    async fn wait(&mut self) -> Option<()> {
        let (stop, next) = (self.context.lifecycle.stop.clone(), self.next);
        tokio::select! {
            () = stop.cancelled() => None,
            changed = self.newest.wait_for(|revision| *revision >= next) => changed.ok().map(drop),
        }
    }

    fn fail(&mut self, error: NodeError) -> Item {
        self.phase = Phase::Failed;
        Err(error)
    }

    async fn standing(&self) -> Result<Snapshot, NodeError> {
        let context = &self.context;
        match &self.filter.what {
            WatchFilter::Models => Ok(Snapshot::Models(context.catalog.known().into_iter())),
            WatchFilter::Rounds(model) => {
                let (model, joined) = context.catalog.find_joined(model)?;
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
                let (rounds, now) = (rounds.into_iter(), context.clock.now());
                let events = rounds.map(|round| Event::Round(RoundView::of(&model, round, now)));
                Ok(Snapshot::Events(events.collect::<Vec<_>>().into_iter()))
            }
            WatchFilter::Submissions(_) => {
                let spec = self.filter.spec;
                let page = context
                    .disk
                    .blocking(move |store| store.submissions(spec, None, SNAPSHOT_SUBMISSIONS))
                    .await?;
                let ids: Vec<_> = page.items.iter().rev().map(|stored| stored.id).collect();
                Ok(Snapshot::Submissions(ids.into_iter()))
            }
            WatchFilter::Peers => {
                let events: Vec<_> = context.mesh.peers().await?.into_iter().map(Event::Peer).collect();
                Ok(Snapshot::Events(events.into_iter()))
            }
            WatchFilter::States(_, names) => {
                let mut records = self.filter.spec.map_or(vec![], |spec| context.states.newest_of(spec));
                // The tensors are decoded one state at a time, and never those of states that the filter leaves out.
                records.retain(|record| names.is_empty() || names.contains(&record.name));
                Ok(Snapshot::States(records.into_iter()))
            }
        }
    }
}

impl Snapshot {
    /// Makes the next event. An item that has gone since the snapshot began is left out: a change tells that it has gone.
    async fn next(&mut self, context: &Arc<NodeContext>) -> Result<Option<Event>, NodeError> {
        match self {
            Self::Models(models) => Ok(models.next().map(|known| match known {
                Known::Here(model) => Event::Model(context.model_view(&model)),
                Known::Heard(heard) => Event::ModelHeard(heard),
            })),
            Self::Submissions(ids) => {
                for id in ids {
                    if let Some(stored) = context.disk.blocking(move |store| store.submission(id)).await? {
                        return Ok(Some(Event::Submission(SubmissionView::of(&stored))));
                    }
                }
                Ok(None)
            }
            Self::States(records) => {
                for record in records {
                    match state::view(context, &record).await {
                        Ok(view) => return Ok(Some(Event::State(view))),
                        // A newer state took its place, and is told as a change.
                        Err(_) if superseded(context, &record) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(None)
            }
            Self::Events(events) => Ok(events.next()),
        }
    }
}

/// Returns true if a state is no longer the newest of its name.
fn superseded(context: &NodeContext, record: &StateRecord) -> bool {
    let newest = context.states.newest_of(record.spec);
    !newest.iter().any(|other| other == record)
}

#[cfg(test)]
mod tests {
    use qres_fed::id::{BlobId, CheckpointId, NodeId, SubmissionId};
    use qres_fed::round::SubmissionState;

    use super::*;
    use crate::request::ModelRef;
    use crate::view::StateView;

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
            evaluation: vec![],
            closing: false,
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
