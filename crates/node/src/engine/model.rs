//! One joined model: a task that owns its round machine, and carries out what it answers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use qres_fed::id::{BlobId, CheckpointId, ContributionId, Instant, SubmissionId};
use qres_fed::record::Membership;
use qres_fed::round::{Input, Machine, Output, Persist, SubmissionState, Unsigned};
use tokio::sync::{OwnedRwLockReadGuard, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::registry::{Heads, Joined, Model};
use super::tracer::Traces;
use super::{Core, announce, job, views};
use crate::clock::unix_ms;
use crate::error::NodeError;
use crate::mesh::{Fault, MessageToken, Topic, Verdict};
use crate::store::{StoredKey, StoredSubmission, Write};
use crate::transfer::Want;
use crate::view::{Event, SubmissionView};

/// Messages that wait for a model's task; senders wait when it is full.
const INBOX_MAX: usize = 256;
/// Messages taken together, so that one transaction (one fsync) serves them all.
const BATCH_MAX: usize = 64;
/// How long after a failed transaction it is tried again.
const COMMIT_RETRY: Duration = Duration::from_secs(1);

/// A submission to acknowledge.
pub struct SubmitRequest {
    /// What to store.
    pub stored: StoredSubmission,
    /// The idempotency key to commit with it.
    pub key: Option<StoredKey>,
    /// Keeps the blob until it is stored.
    pub guard: OwnedRwLockReadGuard<()>,
    /// Answered once it is durable.
    pub reply: oneshot::Sender<Result<SubmissionView, NodeError>>,
}

/// What a model's task is told.
pub enum Message {
    /// Verified inputs.
    Inputs(Vec<Input>),
    /// A job's answer; the guard keeps its new blob until the machine refers to it.
    Done {
        /// The answer.
        input: Input,
        /// Taken before the blob was finished.
        guard: OwnedRwLockReadGuard<()>,
        /// The job's span.
        traceparent: Option<String>,
    },
    /// A wanted blob is in the store, its digest right, its content not yet looked at.
    Arrived(BlobId),
    /// From a trainer.
    Submit(Box<SubmitRequest>),
    /// From gossip: answered with a verdict.
    Gossip {
        /// A contribution, a seal or a proof.
        input: Input,
        /// What must be known for it to be of use now.
        parent: CheckpointId,
        /// To answer with.
        token: MessageToken,
        /// The sender's span, to link to.
        traceparent: Option<String>,
    },
    /// A question about the machine.
    Ask(Box<dyn FnOnce(&Machine) + Send>),
}

/// The task.
pub struct ModelTask {
    pub(super) core: Arc<Core>,
    pub(super) model: Arc<Model>,
    pub(super) machine: Machine,
    pub(super) traces: Traces,
    inbox: mpsc::Receiver<Message>,
    heads: watch::Sender<Heads>,
    stop: CancellationToken,
    wake: Option<Instant>,
    writes: Vec<Write>,
    effects: VecDeque<Output>,
    /// Stored with the next transaction, answered after it.
    replies: Vec<(SubmissionId, oneshot::Sender<Result<SubmissionView, NodeError>>)>,
    submitted: BTreeMap<SubmissionId, StoredSubmission>,
    changed: Vec<SubmissionId>,
    /// Blobs on their way, and whether each is an update (else weights).
    wanted: BTreeMap<BlobId, bool>,
    guards: Vec<OwnedRwLockReadGuard<()>>,
}

impl ModelTask {
    /// A task over a machine that has been restored; `outputs` are the restoring's.
    pub fn spawn(core: &Arc<Core>, model: &Arc<Model>, machine: Machine, outputs: Vec<Output>) -> Arc<Joined> {
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        let heads = watch::Sender::new(Heads {
            head: machine.head(),
            confirmed: machine.confirmed_head(),
        });
        let stop = core.stop.child_token();
        let joined = Arc::new(Joined {
            inbox: sender,
            heads: heads.subscribe(),
            handed_out: std::sync::Mutex::default(),
            stop: stop.clone(),
        });
        let mut task = Self {
            core: core.clone(),
            model: model.clone(),
            machine,
            traces: Traces::default(),
            inbox,
            heads,
            stop,
            wake: None,
            writes: vec![],
            effects: VecDeque::new(),
            replies: vec![],
            submitted: BTreeMap::new(),
            changed: vec![],
            wanted: BTreeMap::new(),
            guards: vec![],
        };
        task.absorb(outputs);
        core.tasks.spawn(task.run());
        joined
    }

    async fn run(mut self) {
        self.settle().await;
        let stop = self.stop.clone();
        loop {
            let wake = self.wake.map(|at| self.core.clock.deadline(at));
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
                () = tokio::time::sleep_until(wake.unwrap_or_else(far)), if wake.is_some() => {
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
                    self.feed(input);
                }
            }
            Message::Done {
                input,
                guard,
                traceparent,
            } => {
                self.guards.push(guard);
                if let Input::Aggregated { result, .. } = &input {
                    self.traces.aggregated(*result, traceparent);
                }
                self.feed(input);
            }
            Message::Arrived(blob) => {
                if let Some(update) = self.wanted.remove(&blob) {
                    job::check(self, blob, update);
                }
            }
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

    async fn gossip(&mut self, input: Input, parent: CheckpointId, token: MessageToken, traceparent: Option<String>) {
        let known = self.machine.checkpoint(&parent).is_some();
        // An unknown parent may be ours to learn, so nobody is blamed for it.
        let verdict = if known { Verdict::Accept } else { Verdict::Ignore };
        self.core.mesh.report(token, verdict).await;
        self.traces.received(&input, traceparent);
        self.feed(input);
    }

    /// Stores a submission with the batch's transaction, or answers why not.
    async fn submit(&mut self, request: SubmitRequest) {
        let SubmitRequest {
            stored,
            key,
            guard,
            reply,
        } = request;
        // Two submissions of one batch must see each other: the first is stored before the second is looked at.
        if self
            .submitted
            .values()
            .any(|s| s.trainer == stored.trainer && s.base == stored.base)
        {
            self.settle().await;
        }
        let (spec, trainer, base) = (stored.spec, stored.trainer.clone(), stored.base);
        let found = self
            .core
            .blocking(move |store| store.submission_for(spec, &trainer, base))
            .await;
        let refusal = match found {
            Err(error) => Some(error.into()),
            Ok(Some(earlier)) if earlier.id == stored.id => {
                if let Some(key) = key {
                    self.writes.push(Write::Key(key));
                }
                self.submitted.insert(earlier.id, earlier);
                self.replies.push((stored.id, reply));
                return;
            }
            Ok(Some(earlier)) => Some(super::submit::already(&earlier)),
            Ok(None) => self.machine.check_base(&base).err().map(super::submit::base_refused),
        };
        if let Some(error) = refusal {
            // Whoever asked may have gone.
            let _ = reply.send(Err(error));
            return;
        }
        self.guards.push(guard);
        self.writes.push(Write::Submission(stored.clone()));
        self.writes.extend(key.map(Write::Key));
        self.replies.push((stored.id, reply));
        self.traces.submitted(stored.id, stored.traceparent.clone());
        let input = Input::Submission(qres_fed::round::Submission {
            id: stored.id,
            trainer: stored.trainer.clone(),
            base: stored.base,
            samples: stored.samples,
        });
        self.changed.push(stored.id);
        self.submitted.insert(stored.id, stored);
        self.feed(input);
    }

    fn feed(&mut self, input: Input) {
        let outputs = self.machine.handle(input, self.core.clock.now());
        self.absorb(outputs);
    }

    /// Takes a machine's answer: what must be durable goes into the batch's transaction, the rest waits for it. Signing
    /// has no effect outside, so it is done at once.
    fn absorb(&mut self, outputs: Vec<Output>) {
        let mut queue = VecDeque::from(outputs);
        while let Some(output) = queue.pop_front() {
            match output {
                Output::Persist(persist) => self.persist(persist),
                Output::Sign(unsigned) => {
                    let input = match unsigned {
                        Unsigned::Contribution(record) => Input::SignedContribution(self.core.identity.sign(record)),
                        Unsigned::Seal(record) => Input::SignedSeal(self.core.identity.sign(record)),
                    };
                    queue.extend(self.machine.handle(input, self.core.clock.now()));
                }
                other => self.effects.push_back(other),
            }
        }
    }

    fn persist(&mut self, persist: Persist) {
        let spec = self.model.id;
        let registry = &self.core.registry;
        self.writes.push(match persist {
            Persist::Contribution(signed) => {
                registry.own(signed.record.update, spec);
                Write::Contribution(signed)
            }
            Persist::Seal(signed) => {
                registry.own(signed.record.result, spec);
                Write::Seal(signed)
            }
            Persist::Proof(proof) => Write::Proof(spec, proof),
            Persist::Verified(checkpoint) => Write::Verified(spec, checkpoint),
            Persist::Submission(id, state) => {
                self.changed.push(id);
                if let Some(stored) = self.submitted.get_mut(&id) {
                    stored.state = state.clone();
                }
                let final_unix_ms = is_final(&state).then(unix_ms);
                Write::SubmissionState {
                    id,
                    state,
                    final_unix_ms,
                }
            }
            Persist::Forget {
                contributions,
                seals,
                proofs,
            } => Write::Forget {
                spec,
                contributions,
                seals,
                proofs,
            },
        });
    }

    /// One transaction for everything that waits, then the effects, then the answers.
    async fn settle(&mut self) {
        while !self.writes.is_empty() || !self.effects.is_empty() {
            let writes = std::mem::take(&mut self.writes);
            if !writes.is_empty() && !self.commit(writes).await {
                return;
            }
            self.guards.clear();
            for output in std::mem::take(&mut self.effects) {
                self.carry_out(output).await;
            }
        }
        for (id, reply) in std::mem::take(&mut self.replies) {
            if let Some(stored) = self.submitted.get(&id) {
                let _ = reply.send(Ok(views::submission(stored)));
            }
        }
        self.tell_submissions().await;
        self.submitted.clear();
        let heads = Heads {
            head: self.machine.head(),
            confirmed: self.machine.confirmed_head(),
        };
        self.heads
            .send_if_modified(|old| std::mem::replace(old, heads) != heads);
    }

    /// Tries until it is durable: a full disk stops the model, loses nothing and ends no process. `false` when stopping.
    async fn commit(&mut self, writes: Vec<Write>) -> bool {
        loop {
            let batch = writes.clone();
            let Err(error) = self.core.blocking(move |store| store.commit(batch)).await else {
                return true;
            };
            warn!(model = %self.model.spec().name, %error, "cannot store: the model waits and tries again");
            for (_, reply) in std::mem::take(&mut self.replies) {
                let _ = reply.send(Err(NodeError::new(
                    crate::error::Kind::ResourceExhausted,
                    "DISK_FULL",
                    format!("the submission could not be stored: {error}"),
                )
                .retry_after(10_000)));
            }
            tokio::select! {
                () = self.stop.cancelled() => return false,
                () = tokio::time::sleep(COMMIT_RETRY) => {}
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
                    .core
                    .blocking(move |store| store.submission(id))
                    .await
                    .ok()
                    .flatten(),
            };
            if let Some(stored) = stored {
                self.core.hub.push(Event::Submission(views::submission(&stored)));
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
            } => self.want(blob, bytes, update, holders).await,
            Output::DropBlob(blob) => {
                self.wanted.remove(&blob);
                self.core.downloads.cancel(blob);
            }
            Output::WantRecords { from } => self.core.syncer.request(self.model.id, from),
            Output::Encode(work) => job::encode(self, work),
            Output::Aggregate(work) => job::aggregate(self, work),
            Output::Head {
                checkpoint,
                round,
                weights,
            } => self.head_moved(checkpoint, round, weights),
            Output::Confirmed(checkpoint) => self.round_event(checkpoint),
            Output::RoundChanged => {
                let view = views::round(&self.core, &self.model, self.machine.open_round());
                self.core.hub.push(Event::Round(view));
            }
            Output::Equivocation { author, proof } => {
                warn!(model = %self.model.spec().name, %author, %proof, "a member signed two contributions on one parent: proven");
            }
            Output::Refused { author, reason } => {
                warn!(model = %self.model.spec().name, %author, reason, "record refused");
                if author != self.core.identity.node() {
                    self.core.mesh.penalize(author, Fault::Forged, reason);
                }
            }
            Output::WakeAt(at) => self.wake = at,
        }
    }

    async fn publish(&self, envelope: Vec<u8>) {
        if let Err(error) = self.core.mesh.publish(Topic::Epiphany, envelope).await {
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
            let blob = signed.record.update;
            self.core
                .blocking(move |store| read_whole(store, &blob))
                .await
                .unwrap_or_default()
        } else {
            vec![]
        };
        let envelope = announce::contribution(&spec.name, &signed, inline, crate::trace::traceparent(&span));
        self.publish(envelope).await;
    }

    async fn want(&mut self, blob: BlobId, bytes: Option<u64>, update: bool, holders: Vec<qres_fed::id::NodeId>) {
        self.core.registry.own(blob, self.model.id);
        if self.core.store.blobs().contains(&blob) {
            job::check(self, blob, update);
            return;
        }
        self.wanted.insert(blob, update);
        let bytes_max = if update {
            self.model.update_bytes.unwrap_or(0)
        } else {
            self.model.layout.file_bytes()
        };
        let traceparent = self.traces.of_blob(&blob);
        self.core.downloads.want(Want {
            spec: self.model.id,
            blob,
            bytes,
            bytes_max,
            holders,
            traceparent,
        });
    }

    fn head_moved(&mut self, checkpoint: CheckpointId, round: u64, weights: BlobId) {
        self.core.registry.own(weights, self.model.id);
        if let Some(joined) = self.model.joined() {
            joined
                .handed_out
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .clear();
        }
        let heads = Heads {
            head: self.machine.head(),
            confirmed: self.machine.confirmed_head(),
        };
        self.heads.send_replace(heads);
        let span = self.traces.head_moved(checkpoint, round, &weights);
        let _entered = span.enter();
        info!(model = %self.model.spec().name, round, %checkpoint, "head");
        self.core.model_changed(&self.model);
        self.round_event(checkpoint);
        self.core.garbage.notify_one();
    }

    fn round_event(&self, checkpoint: CheckpointId) {
        let Some(info) = self.machine.checkpoint(&checkpoint) else {
            return;
        };
        if let Some(round) = self.machine.round(info.round).filter(|_| info.round > 0) {
            self.core
                .hub
                .push(Event::Round(views::round(&self.core, &self.model, round)));
        }
    }

    /// The traces of contributions, for an aggregation to link to.
    pub(super) fn links(&self, contributions: impl Iterator<Item = ContributionId>) -> Vec<String> {
        contributions
            .filter_map(|id| self.traces.of_contribution(&id))
            .collect()
    }
}

fn far() -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs(3600)
}

/// Whether nothing more can become of a submission.
pub fn is_final(state: &SubmissionState) -> bool {
    match state {
        SubmissionState::Sealed { confirmed, .. } => *confirmed,
        SubmissionState::Rejected { .. } | SubmissionState::Superseded { .. } => true,
        SubmissionState::Pending | SubmissionState::Merged { .. } | SubmissionState::Carried { .. } => false,
    }
}

/// A small blob's bytes.
pub fn read_whole(store: &crate::store::Store, blob: &BlobId) -> Option<Vec<u8>> {
    use qres_fed::tensor::Source;
    let file = store.blobs().open(blob).ok()??;
    let mut bytes = vec![0; usize::try_from(file.len()).ok()?];
    file.read_at(0, &mut bytes).ok()?;
    Some(bytes)
}
