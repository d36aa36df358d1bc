//! What one input leads to, in the order in which it must be carried out.

use std::collections::BTreeSet;

use super::{Output, Persist, RecordId, Refusal};
use crate::id::{Instant, NodeId};

/// Collects outputs. What must be durable comes first, whatever the order in which it was decided: nothing is ever sent
/// that is not durable.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    persists: Vec<Persist>,
    actions: Vec<Output>,
    sync: Option<BTreeSet<NodeId>>,
    round_changed: bool,
    /// Records that the store gave us: no need to write them again.
    stored: BTreeSet<RecordId>,
    waking: Option<Instant>,
}

impl Outbox {
    /// Makes something durable, before all actions of this answer.
    pub fn persist(&mut self, what: Persist) {
        let stored = match &what {
            Persist::Contribution(c) => self.stored.contains(&RecordId::Contribution(c.record.id())),
            Persist::Seal(s) => self.stored.contains(&RecordId::Seal(s.record.id())),
            Persist::Proof(p) => self.stored.contains(&RecordId::Proof(p.id())),
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

    /// Does something, after everything is durable.
    pub fn act(&mut self, what: Output) {
        self.actions.push(what);
    }

    /// Says that a record is its author's fault.
    pub fn refuse(&mut self, author: NodeId, reason: String) {
        let refusal = Refusal::Fault;
        self.act(Output::Refused {
            author,
            refusal,
            reason,
        });
    }

    /// Says that a record is of no use here, which is nobody's fault.
    pub fn pass_over(&mut self, author: NodeId, reason: String) {
        let refusal = Refusal::Useless;
        self.act(Output::Refused {
            author,
            refusal,
            reason,
        });
    }

    /// Asks for a sync, once an answer, with all that were named.
    pub fn want_records(&mut self, from: impl IntoIterator<Item = NodeId>) {
        self.sync.get_or_insert_default().extend(from);
    }

    /// Notes that the open round looks different now.
    pub fn round_changed(&mut self) {
        self.round_changed = true;
    }

    /// Sets the one timer; says so only when it differs.
    pub fn wake(&mut self, at: Option<Instant>) {
        if self.waking != at {
            self.waking = at;
            self.act(Output::WakeAt(at));
        }
    }

    /// Whether the timer's instant has come, be it by its tick or by another input that was faster. The next
    /// [`Self::wake`] speaks then, even when it names the same instant.
    pub fn is_due(&mut self, now: Instant) -> bool {
        self.waking.take_if(|at| *at <= now).is_some()
    }

    /// While a store is read back, its own records need no writing.
    pub fn set_stored(&mut self, stored: BTreeSet<RecordId>) {
        self.stored = stored;
    }

    /// Everything, in order.
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
