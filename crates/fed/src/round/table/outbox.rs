//! The outputs of one input, in the order in which they must be carried out.

use std::collections::BTreeSet;

use crate::id::{CheckpointId, Instant, NodeId};
use crate::round::{Output, Persist, RecordId, Refusal, Refused};

/// Collects outputs. Every [`Persist`] comes before all actions, independent of the order in which they were decided, because
/// nothing is ever sent that is not durable.
#[derive(Debug)]
pub(in crate::round) struct Outbox {
    persists: Vec<Persist>,
    actions: Vec<Output>,
    sync: Option<BTreeSet<NodeId>>,
    round_changed: bool,
    /// Records that came from the store and need not be written again.
    stored: BTreeSet<RecordId>,
    waking: Option<Instant>,
    /// The confirmed checkpoint that was said last.
    pub told_confirmed: CheckpointId,
    /// The settled round of the head's branch at the end of the last input.
    pub seen_settled: u64,
    /// The sealers of whom a branch from below the horizon was reported.
    pub told_below_horizon: BTreeSet<NodeId>,
}

impl Outbox {
    /// Makes an empty outbox. `confirmed` is the checkpoint that callers take as confirmed at the start.
    pub fn new(confirmed: CheckpointId) -> Self {
        Self {
            persists: vec![],
            actions: vec![],
            sync: None,
            round_changed: false,
            stored: BTreeSet::new(),
            waking: None,
            told_confirmed: confirmed,
            seen_settled: 0,
            told_below_horizon: BTreeSet::new(),
        }
    }

    /// Adds a [`Persist`], a change that becomes durable before all actions of this answer.
    pub fn persist(&mut self, what: Persist) {
        let stored = match &what {
            Persist::Contribution(c) => self.stored.contains(&RecordId::Contribution(c.record.id())),
            Persist::Seal(s) => self.stored.contains(&RecordId::Seal(s.record.id())),
            Persist::Proof(p) => self.stored.contains(&RecordId::Proof(p.id())),
            Persist::Consent(c) => self.stored.contains(&RecordId::Consent(c.record.id())),
            Persist::Verified(_)
            | Persist::Submission(..)
            | Persist::Forget(_)
            | Persist::Archive { .. }
            | Persist::Unarchive { .. } => false,
        };
        if !stored {
            self.persists.push(what);
        }
    }

    /// Adds an action that is carried out after everything is durable.
    pub fn act(&mut self, what: Output) {
        self.actions.push(what);
    }

    /// Reports a record that is its author's fault, as [`Refusal::Fault`].
    pub fn refuse(&mut self, author: NodeId, what: Refused, reason: String) {
        let refusal = Refusal::Fault;
        self.act(Output::Refused {
            author,
            refusal,
            what,
            reason,
        });
    }

    /// Reports a record that is of no use here and no fault of its author, as [`Refusal::Useless`].
    pub fn pass_over(&mut self, author: NodeId, what: Refused, reason: String) {
        let refusal = Refusal::Useless;
        self.act(Output::Refused {
            author,
            refusal,
            what,
            reason,
        });
    }

    /// Asks for one sync per answer, with all nodes that were named.
    pub fn want_records(&mut self, from: impl IntoIterator<Item = NodeId>) {
        self.sync.get_or_insert_default().extend(from);
    }

    /// Notes that the open round looks different now.
    pub fn round_changed(&mut self) {
        self.round_changed = true;
    }

    /// Sets the only timer. Emits [`Output::WakeAt`] only if the instant differs.
    pub fn wake(&mut self, at: Option<Instant>) {
        if self.waking != at {
            self.waking = at;
            self.act(Output::WakeAt(at));
        }
    }

    /// Returns true if the instant of the timer has come, by its tick or by another input that was faster. After that the next
    /// [`Self::wake`] emits its output even for the same instant.
    pub fn is_due(&mut self, now: Instant) -> bool {
        self.waking.take_if(|at| *at <= now).is_some()
    }

    /// Sets the records that came from the store while it is read back; they need no writing.
    pub fn set_stored(&mut self, stored: BTreeSet<RecordId>) {
        self.stored = stored;
    }

    /// Takes out all outputs, in the order in which they must be carried out.
    pub fn drain(&mut self) -> Vec<Output> {
        let mut all: Vec<_> = self.persists.drain(..).map(Output::Persist).collect();
        all.append(&mut self.actions);
        if let Some(from) = self.sync.take() {
            all.push(Output::WantRecords {
                from: from.into_iter().collect(),
            });
        }
        if std::mem::take(&mut self.round_changed) {
            all.push(Output::RoundChanged);
        }
        all
    }
}
