//! The task of one joined model: it owns the round machine, and carries out the machine's outputs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use qres_fed::id::{BlobId, CheckpointId, ContributionId, Instant, NodeId, SubmissionId};
use qres_fed::record::Membership;
use qres_fed::round::{Input, Machine, Output, Persist, Refusal, SubmissionState, Unsigned};
use tokio::sync::{OwnedRwLockReadGuard, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::archive;
use crate::blob_demand::Purpose;
use crate::catalog::command::Message;
use crate::catalog::{Heads, Joined, Model};
use crate::context::NodeContext;
use crate::error::NodeError;
use crate::model::job;
use crate::model::spans::Traces;
use crate::view::{Event, SubmissionView};
use crate::view::{build as views, conditions};
use qres_mesh::{Fault, MessageToken, Topic, Verdict};
use qres_store::{Blobs, Owner, StoredSubmission, Write};
use qres_transfer::DownloadRequest;
use qres_wire::clock::unix_ms;
use qres_wire::envelope as announce;

/// The most messages that wait for a model's task; senders wait when the inbox is full.
const INBOX_MAX: usize = 256;
/// The most messages taken together, so that one transaction (one fsync) serves them all.
const BATCH_MAX: usize = 64;

/// A blob that the machine wants.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    /// True for an update, false for weights.
    update: bool,
    /// True while the blob is in the store and being checked.
    checking: bool,
}

/// The task of one joined model.
pub struct ModelTask {
    pub(super) context: Arc<NodeContext>,
    pub(super) model: Arc<Model>,
    pub(super) machine: Machine,
    pub(super) traces: Traces,
    /// Lets jobs answer this task, and no later one of the same model. Weak: callers alone keep the inbox open.
    pub(super) sender: mpsc::WeakSender<Message>,
    /// Ends this task.
    pub(super) stop: CancellationToken,
    pub(super) inbox: mpsc::Receiver<Message>,
    heads: watch::Sender<Heads>,
    /// The number of submissions that wait to be merged, once the node drains.
    unmerged: watch::Sender<Option<usize>>,
    draining: bool,
    wake: Option<Instant>,
    pub(super) writes: Vec<Write>,
    effects: VecDeque<Output>,
    /// Callers to answer after the next transaction, which stores their submissions.
    pub(super) replies: Vec<(SubmissionId, oneshot::Sender<Result<SubmissionView, NodeError>>)>,
    pub(super) submitted: BTreeMap<SubmissionId, StoredSubmission>,
    pub(super) changed: Vec<SubmissionId>,
    wanted: BTreeMap<BlobId, Wanted>,
    pub(super) guards: Vec<OwnedRwLockReadGuard<()>>,
    /// The guard of the one submission that waits for a batch to be stored; dropped when the disk takes nothing.
    pub(super) waiting: Option<OwnedRwLockReadGuard<()>>,
    /// Blobs of submissions that the disk does not take yet: the collector leaves them.
    pub(super) unstored: Arc<Mutex<BTreeSet<BlobId>>>,
    /// True if records were passed over while the disk took nothing.
    pub(super) missed: bool,
}

impl ModelTask {
    /// Spawns the task of a restored [`Machine`]; `first` are the outputs of the restoring.
    pub fn spawn(context: &Arc<NodeContext>, model: &Arc<Model>, machine: Machine, first: Vec<Output>) -> Arc<Joined> {
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        let heads = watch::Sender::new(Heads::of(&machine));
        let unmerged = watch::Sender::new(None);
        let unstored = Arc::default();
        let stop = context.stop.child_token();
        let weak = sender.downgrade();
        let joined = Arc::new(Joined {
            inbox: sender,
            heads: heads.subscribe(),
            handed_out: Mutex::default(),
            unmerged: unmerged.subscribe(),
            unstored: Arc::clone(&unstored),
            records: AtomicUsize::default(),
            refused: Mutex::default(),
            stop: stop.clone(),
        });
        let mut task = Self {
            context: context.clone(),
            model: model.clone(),
            machine,
            traces: Traces::default(),
            sender: weak,
            stop,
            inbox,
            heads,
            unmerged,
            draining: false,
            wake: None,
            writes: vec![],
            effects: VecDeque::new(),
            replies: vec![],
            submitted: BTreeMap::new(),
            changed: vec![],
            wanted: BTreeMap::new(),
            guards: vec![],
            waiting: None,
            unstored,
            missed: false,
        };
        task.absorb(first);
        context.spawn_critical(format!("the task of model {}", model.spec().name), task.run());
        joined
    }

    async fn run(mut self) {
        self.work().await;
        for blob in self.wanted.keys() {
            self.drop_want(blob);
        }
    }

    async fn work(&mut self) {
        self.settle().await;
        let stop = self.stop.clone();
        loop {
            let wake = self.wake.map(|at| self.context.clock.deadline(at));
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                message = self.inbox.recv() => {
                    let Some(message) = message else { return };
                    self.take(message).await;
                    for _ in 1..BATCH_MAX {
                        let Ok(message) = self.inbox.try_recv() else { break };
                        self.take(message).await;
                    }
                }
                () = tokio::time::sleep_until(wake.unwrap_or_else(tokio::time::Instant::now)), if wake.is_some() => {
                    self.wake = None;
                    self.feed(Input::Tick);
                }
            }
            self.settle().await;
        }
    }

    async fn take(&mut self, message: Message) {
        match message {
            Message::Inputs(inputs) => {
                for input in inputs {
                    self.input(input);
                }
            }
            Message::Done {
                input,
                guard,
                traceparent,
            } => {
                self.guards.push(guard);
                self.done(input, traceparent);
            }
            Message::Arrived(blob) => self.arrived(blob),
            Message::Unread(blob) => self.unread(blob),
            Message::Submit(request) => self.submit(*request).await,
            Message::Gossip {
                input,
                parent,
                token,
                traceparent,
            } => self.gossip(input, parent, token, traceparent).await,
            Message::Ask(question) => question(&self.machine),
        }
    }

    /// Takes an input from a caller or a peer.
    pub(super) fn input(&mut self, input: Input) {
        self.draining |= input == Input::MergeNow;
        self.feed(input);
    }

    /// Takes the answer of a job.
    pub(super) fn done(&mut self, input: Input, traceparent: Option<String>) {
        match &input {
            Input::Aggregated { result, .. } => self.traces.aggregated(*result, traceparent),
            Input::BlobHere { blob, update } | Input::BlobBad { blob, update } => {
                self.wanted.retain(|b, wanted| b != blob || wanted.update != *update);
            }
            _ => {}
        }
        self.feed(input);
    }

    pub(super) fn arrived(&mut self, blob: BlobId) {
        if let Some(wanted) = self.wanted.get_mut(&blob).filter(|wanted| !wanted.checking) {
            wanted.checking = true;
            let update = wanted.update;
            job::check(self, blob, update);
        }
    }

    pub(super) fn unread(&mut self, blob: BlobId) {
        if let Some(wanted) = self.wanted.get(&blob).copied() {
            self.want(blob, None, wanted.update, vec![], None);
        }
    }

    async fn gossip(&mut self, input: Input, parent: CheckpointId, token: MessageToken, traceparent: Option<String>) {
        let known = self.machine.checkpoint(&parent).is_some();
        // This node may have to learn an unknown parent yet, so the sender is not blamed for it.
        let verdict = if known { Verdict::Accept } else { Verdict::Ignore };
        self.context.mesh.report(token, verdict).await;
        self.traces.received(&input, traceparent);
        self.feed(input);
    }

    pub(super) fn feed(&mut self, input: Input) {
        let outputs = self.machine.handle(input, self.context.clock.now());
        self.absorb(outputs);
    }

    /// Takes a machine's outputs: those to persist go into the batch's transaction, the rest waits for it. Signing has no
    /// effect outside, so it is done at once.
    fn absorb(&mut self, outputs: Vec<Output>) {
        let mut queue = VecDeque::from(outputs);
        while let Some(output) = queue.pop_front() {
            match output {
                Output::Persist(persist) => self.persist(persist),
                Output::Sign(unsigned) => {
                    let input = match unsigned {
                        Unsigned::Contribution(record) => Input::SignedContribution(self.context.identity.sign(record)),
                        Unsigned::Seal(record) => Input::SignedSeal(self.context.identity.sign(record)),
                    };
                    queue.extend(self.machine.handle(input, self.context.clock.now()));
                }
                other => self.effects.push_back(other),
            }
        }
    }

    fn persist(&mut self, persist: Persist) {
        let spec = self.model.id;
        self.writes.push(match persist {
            Persist::Contribution(signed) => Write::Contribution(signed),
            Persist::Seal(signed) => Write::Seal(signed),
            Persist::Proof(proof) => Write::Proof(spec, proof),
            Persist::Verified(checkpoint) => Write::Verified(spec, checkpoint),
            Persist::Submission(id, state) => {
                self.context.metrics.submission(&self.model.spec().name, &state);
                self.changed.push(id);
                if let Some(stored) = self.submitted.get_mut(&id) {
                    stored.state = state.clone();
                }
                let final_unix_ms = state.is_final().then(unix_ms);
                Write::SubmissionState {
                    id,
                    state,
                    final_unix_ms,
                }
            }
            Persist::Forget(gone) => Write::Forget(spec, gone),
            Persist::Archive { root, rounds } => Write::Archive(spec, root, rounds),
            Persist::Unarchive { root } => Write::Unarchive(spec, root),
        });
    }

    /// Commits all that waits in one transaction, then sends the answers, then carries out the effects.
    pub(super) async fn settle(&mut self) {
        while !self.writes.is_empty() || !self.effects.is_empty() {
            let writes = std::mem::take(&mut self.writes);
            if !writes.is_empty() && !self.commit(writes).await {
                return;
            }
            self.answer();
            for output in std::mem::take(&mut self.effects) {
                self.carry_out(output).await;
            }
        }
        self.answer();
        self.tell_submissions().await;
        self.submitted.clear();
        if let Some(joined) = self.model.joined() {
            joined.records.store(self.machine.records().len(), Ordering::Relaxed);
        }
        let heads = Heads::of(&self.machine);
        self.heads
            .send_if_modified(|old| std::mem::replace(old, heads) != heads);
        if self.draining {
            let states = self.machine.submissions().values();
            let waiting = states.filter(|state| **state == SubmissionState::Pending).count();
            self.unmerged.send_replace(Some(waiting));
        }
    }

    /// Answers the waiting callers and lets the collector run, as their inputs are durable, or the machine had no use for them.
    /// A guard kept any longer would stop the collector, and with it every upload and job behind it.
    fn answer(&mut self) {
        self.guards.clear();
        for (id, reply) in std::mem::take(&mut self.replies) {
            if let Some(stored) = self.submitted.get(&id) {
                let _ = reply.send(Ok(views::submission(stored)));
            }
        }
    }

    async fn tell_submissions(&mut self) {
        let mut ids = std::mem::take(&mut self.changed);
        ids.sort();
        ids.dedup();
        for id in ids {
            let stored = match self.submitted.get(&id) {
                Some(stored) => Some(stored.clone()),
                None => self
                    .context
                    .blocking(move |store| store.submission(id))
                    .await
                    .ok()
                    .flatten(),
            };
            if let Some(stored) = stored {
                self.context.events.push(Event::Submission(views::submission(&stored)));
            }
        }
    }

    async fn carry_out(&mut self, output: Output) {
        match output {
            Output::Persist(_) | Output::Sign(_) => unreachable!("absorb keeps these back"),
            Output::SendContribution(signed) => self.send_contribution(signed).await,
            Output::SendSeal(signed) => {
                let traceparent = self.traces.sealed(&signed.record);
                self.publish(announce::seal(&signed, traceparent)).await;
            }
            Output::SendProof(proof) => self.publish(announce::proof(&proof)).await,
            Output::WantBlob {
                blob,
                bytes,
                update,
                holders,
                owed_by,
            } => self.want(blob, bytes, update, holders, owed_by),
            Output::DropBlob(blob) => {
                self.wanted.remove(&blob);
                self.drop_want(&blob);
            }
            Output::WantRecords { from } => self.want_records(from),
            Output::WantArchived { from } => archive::read_for_machine(&self.context, &self.model, from),
            Output::Encode(work) => job::encode(self, work),
            Output::Aggregate(work) => job::aggregate(self, work),
            Output::Head {
                checkpoint,
                round,
                weights,
            } => self.head_moved(checkpoint, round, weights),
            Output::Confirmed(checkpoint) => self.round_event(checkpoint),
            Output::RoundChanged => {
                let view = views::round(&self.context, &self.model, self.machine.open_round());
                self.context.metrics.open_round(self.model.id, &view);
                self.context.events.push(Event::Round(view));
            }
            Output::Equivocation { author, proof } => {
                conditions::log_equivocation(self.model.spec(), self.context.identity.node(), author, proof);
            }
            Output::Refused {
                author,
                refusal: Refusal::Useless,
                reason,
            } => info!(model = %self.model.spec().name, %author, reason, "record passed over"),
            Output::Refused {
                author,
                refusal: Refusal::Fault,
                reason,
            } => {
                warn!(model = %self.model.spec().name, %author, reason, "record refused");
                if author != self.context.identity.node() {
                    self.context.mesh.penalize(author, Fault::Forged, reason);
                }
            }
            Output::WakeAt(at) => self.wake = at,
        }
    }

    async fn publish(&self, envelope: Vec<u8>) {
        if let Err(error) = self.context.mesh.publish(Topic::Epiphany, envelope).await {
            // Agreement rests on sync, so a lost announcement costs time only.
            warn!(model = %self.model.spec().name, %error, "cannot announce; peers will learn of it by sync");
        }
    }

    async fn send_contribution(&mut self, signed: qres_fed::record::Signed<qres_fed::record::Contribution>) {
        let spec = self.model.spec();
        let span = self.traces.publishing(&signed.record);
        // A list model's weights never travel inline: gossip is forwarded by nodes that may not read them.
        let small = signed.record.update_bytes <= announce::INLINE_BYTES_MAX as u64;
        let inline = if spec.membership == Membership::Open && small {
            let (blob, owner) = (signed.record.update, Owner::Model(self.model.id));
            self.context
                .blocking(move |store| read_whole(&store.blobs_of(owner), &blob))
                .await
                .unwrap_or_default()
        } else {
            vec![]
        };
        let envelope = announce::contribution(&spec.name, &signed, inline, qres_wire::trace::traceparent(&span));
        self.publish(envelope).await;
    }

    fn want(&mut self, blob: BlobId, bytes: Option<u64>, update: bool, holders: Vec<NodeId>, owed_by: Option<NodeId>) {
        // A spec is neither an update nor weights, and lies in another directory.
        if blob == BlobId::from(self.model.id) {
            return self.feed(Input::BlobBad { blob, update });
        }
        // Only this model's own directory counts: a blob that another model holds under that digest is not for use here.
        let checking = self.context.store.blobs_of(Owner::Model(self.model.id)).contains(&blob);
        self.wanted.insert(blob, Wanted { update, checking });
        if checking {
            job::check(self, blob, update);
            return;
        }
        let bytes_max = if update {
            self.model.update_bytes.unwrap_or(0)
        } else {
            self.model.layout.file_bytes()
        };
        let want = DownloadRequest {
            spec: self.model.id,
            blob,
            bytes,
            bytes_max,
            holders,
            owed_by,
            traceparent: self.traces.of_blob(&blob),
        };
        let ask = || self.context.downloads.want(want);
        self.context.blob_demand.want(blob, self.model.id, Purpose::Round, ask);
    }

    fn want_records(&self, from: Vec<NodeId>) {
        // The missing records may have been refused before.
        if let Some(joined) = self.model.joined() {
            joined.forget_refused();
        }
        self.context.syncer.request(self.model.id, from);
    }

    fn drop_want(&self, blob: &BlobId) {
        let cancel = || self.context.downloads.cancel(self.model.id, *blob);
        let demand = &self.context.blob_demand;
        demand.forget(blob, self.model.id, Purpose::Round, cancel);
    }

    fn head_moved(&mut self, checkpoint: CheckpointId, round: u64, weights: BlobId) {
        if let Some(joined) = self.model.joined() {
            joined
                .handed_out
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .clear();
        }
        self.heads.send_replace(Heads::of(&self.machine));
        let span = self.traces.head_moved(checkpoint, round, &weights);
        let _entered = span.enter();
        info!(model = %self.model.spec().name, round, %checkpoint, "head");
        self.context.model_changed(&self.model);
        self.round_event(checkpoint);
        self.context.garbage.notify_one();
    }

    fn round_event(&self, checkpoint: CheckpointId) {
        let Some(info) = self.machine.checkpoint(&checkpoint) else {
            return;
        };
        if let Some(round) = self.machine.round(info.round).filter(|_| info.round > 0) {
            self.context
                .events
                .push(Event::Round(views::round(&self.context, &self.model, round)));
        }
    }

    /// Returns the traces of contributions, for an aggregation to link to.
    pub(super) fn links(&self, contributions: impl Iterator<Item = ContributionId>) -> Vec<String> {
        contributions
            .filter_map(|id| self.traces.of_contribution(&id))
            .collect()
    }
}

/// Returns all bytes of a small blob, or `None` if it cannot be read.
pub fn read_whole(blobs: &Blobs, blob: &BlobId) -> Option<Vec<u8>> {
    use qres_fed::tensor::Source;
    let file = blobs.open(blob).ok()??;
    file.read_vec(0, usize::try_from(file.len()).ok()?).ok()
}
