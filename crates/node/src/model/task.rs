//! The task of one joined model: it owns the round machine, and takes one turn after another.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use qres_fed::id::{BlobId, CheckpointId, Instant};
use qres_fed::privacy;
use qres_fed::record::Contribution;
use qres_fed::round::{Input, Machine, Output, Persist, SubmissionState, Unsigned};
use qres_mesh::MessageToken;
use qres_store::Write;
use qres_wire::clock::unix_ms;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::batch::Batch;
use super::curve::LearningCurve;
use super::effects::Effects;
use super::job::Jobs;
use crate::catalog::command::{Judged, ModelCommand, SubmitRequest};
use crate::catalog::entry::Model;
use crate::catalog::fixed::FixedState;
use crate::catalog::joined::{Heads, Joined};
use crate::context::NodeContext;
use crate::error::NodeError;
use crate::metrics::rounds::Verdict;
use crate::releases::{self, Releases};
use crate::view::{Event, SubmissionView};

/// The most commands that wait for a model's task; senders wait when the inbox is full.
const INBOX_MAX: usize = 256;
/// The most commands taken together, so that one transaction (one fsync) serves them all.
const BATCH_MAX: usize = 64;

/// The task of one joined model.
pub struct ModelTask {
    pub(super) context: Arc<NodeContext>,
    pub(super) model: Arc<Model>,
    pub(super) machine: Machine,
    pub(super) effects: Effects,
    pub(super) batch: Batch,
    /// What the rounds measured.
    curve: LearningCurve,
    /// A submission that waits until the batch before it is stored.
    pub(super) deferred: Option<Box<SubmitRequest>>,
    /// The state of the task while the disk takes no transaction.
    pub(super) stuck: Option<Stuck>,
    /// True if records were passed over while the disk took nothing.
    pub(super) missed: bool,
    /// Blobs of submissions that the disk does not take yet: the collector leaves them.
    pub(super) unstored: Arc<Mutex<BTreeSet<BlobId>>>,
    inbox: mpsc::Receiver<ModelCommand>,
    /// The time of the next [`Input::Tick`], if the machine asked for one.
    wake: Option<Instant>,
    /// Ends this task.
    stop: CancellationToken,
    draining: bool,
    /// The number of submissions that wait to be merged, once the node drains.
    unmerged: watch::Sender<Option<usize>>,
}

/// A transaction that failed, and is tried again.
pub(super) struct Stuck {
    /// The answer to submissions until then.
    pub refusal: NodeError,
    /// The time of the next try.
    pub retry_at: tokio::time::Instant,
}

impl ModelTask {
    /// Spawns the task of a restored [`Machine`], and marks the model as joined; `first` are the outputs of the restoring.
    pub fn spawn(
        context: &Arc<NodeContext>,
        model: &Arc<Model>,
        (machine, first): (Machine, Vec<Output>),
        (curve, releases): (LearningCurve, u64),
    ) {
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        let heads = watch::Sender::new(Heads::of(&machine));
        context.metrics.joined(model.id, &model.spec().name);
        let unmerged = watch::Sender::new(None);
        let unstored = Arc::default();
        let stop = context.lifecycle.stop.child_token();
        let jobs = Jobs::new(context.clone(), model.clone(), sender.downgrade(), stop.clone());
        let joined = Arc::new(Joined {
            inbox: sender,
            heads: heads.subscribe(),
            handed_out: Mutex::default(),
            unmerged: unmerged.subscribe(),
            unstored: Arc::clone(&unstored),
            records: AtomicUsize::default(),
            refused: Mutex::default(),
            changes: Mutex::default(),
            releases: Releases::new(releases),
            fixed: watch::Sender::new(match model.fixed {
                None => FixedState::Here,
                Some(_) => FixedState::Coming,
            }),
            stop: stop.clone(),
        });
        let mut task = Self {
            effects: Effects::new(context.clone(), model.clone(), jobs, heads),
            context: context.clone(),
            model: model.clone(),
            machine,
            batch: Batch::default(),
            curve,
            deferred: None,
            stuck: None,
            missed: false,
            unstored,
            inbox,
            wake: None,
            stop,
            draining: false,
            unmerged,
        };
        task.absorb(first);
        // The task wants blobs at once, and hears of them as a joined model.
        model.set_joined(Some(joined));
        context
            .lifecycle
            .spawn_critical(format!("the task of model {}", model.spec().name), task.run());
    }

    async fn run(mut self) {
        self.turn().await;
        while self.gather().await {
            let now = tokio::time::Instant::now();
            if self.stuck.as_ref().is_none_or(|stuck| stuck.retry_at <= now) {
                self.turn().await;
            }
        }
        self.effects.give_up_all();
    }

    /// Gathers the commands of a turn: until the inbox is empty, [`BATCH_MAX`] are taken, or a submission must wait for the
    /// others to be stored. Returns false when the task is to end.
    async fn gather(&mut self) -> bool {
        if let Some(request) = self.deferred.take() {
            self.submit(request).await;
        } else {
            let retry = self.stuck.as_ref().map(|stuck| stuck.retry_at);
            // No tick comes while the effects of the machine's last outputs wait for the disk.
            let wake = self.wake.filter(|_| retry.is_none());
            let wake = wake.map(|at| self.context.clock.deadline(at));
            let stop = self.stop.clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => return false,
                () = at(retry) => return true,
                command = self.inbox.recv() => match command {
                    Some(command) => self.take(command).await,
                    None => return false,
                },
                () = at(wake) => {
                    self.wake = None;
                    self.feed(Input::Tick);
                }
            }
        }
        for _ in 1..BATCH_MAX {
            if self.deferred.is_some() {
                debug_assert!(self.stuck.is_none(), "a stuck task refuses submissions at once");
                break;
            }
            let Ok(command) = self.inbox.try_recv() else { break };
            self.take(command).await;
        }
        true
    }

    /// Takes one command. While the task is stuck, questions and jobs are answered as ever, so that no caller waits for the
    /// disk; submissions are refused, and the records of other nodes come again by sync.
    async fn take(&mut self, command: ModelCommand) {
        match command {
            ModelCommand::Ask(question) => question(&self.machine),
            // The question of a stuck task is dropped, which tells the caller.
            ModelCommand::AskDurable(question) if self.stuck.is_none() => self.batch.ask(question),
            ModelCommand::AskDurable(_) => {}
            ModelCommand::Done {
                input,
                judged,
                guard,
                traceparent,
            } => {
                self.effects.answered(&input, traceparent);
                judged.into_iter().for_each(|judged| self.judged(judged));
                self.feed(input);
                // A stuck task holds no guard: the collector alone can free space. From here on the machine names the blob.
                if self.stuck.is_none() {
                    self.batch.hold(guard);
                }
            }
            ModelCommand::Arrived(blob) => self.effects.arrived(blob),
            ModelCommand::Unread(blob) => {
                let known = self.effects.unread(blob);
                known.into_iter().for_each(|input| self.feed(input));
            }
            ModelCommand::Submit(request) => self.submit(request).await,
            ModelCommand::Gossip {
                input,
                parent,
                token,
                traceparent,
            } => self.gossip(input, parent, token, traceparent).await,
            ModelCommand::Inputs(inputs) => inputs.into_iter().for_each(|input| self.input(input)),
        }
    }

    /// Counts and keeps the verdicts of an aggregation. A stuck task keeps none: they only inform.
    fn judged(&mut self, judged: Judged) {
        let Judged {
            round,
            checkpoint,
            verdicts,
        } = judged;
        self.effects.judged(&verdicts);
        if self.stuck.is_none() {
            self.batch.write(Write::Verdicts {
                spec: self.model.id,
                round,
                checkpoint,
                verdicts,
            });
        }
    }

    /// Takes an input from a caller or a peer. A stuck task passes records over: they would pile up as long as the disk is full.
    /// A comparison whose records were passed over does not count as one: this node might sign against a record that it missed.
    fn input(&mut self, input: Input) {
        use Input::{Compared, Consent, Contribution, Proof, Seal};
        let by_sync = matches!(input, Contribution(_) | Seal(_) | Proof(_) | Consent(_) | Compared(_));
        if by_sync && self.stuck.is_some() {
            self.missed = true;
            return;
        }
        self.draining |= input == Input::MergeNow;
        self.feed(input);
    }

    async fn gossip(&mut self, input: Input, parent: CheckpointId, token: MessageToken, traceparent: Option<String>) {
        if self.stuck.is_some() {
            self.missed = true;
            self.context.mesh.report(token, qres_mesh::Verdict::Ignore).await;
            return;
        }
        let known = self.machine.checkpoint(&parent).is_some();
        // This node may have to learn an unknown parent yet, so the sender is not blamed for it.
        let verdict = match known {
            true => qres_mesh::Verdict::Accept,
            false => qres_mesh::Verdict::Ignore,
        };
        self.context.mesh.report(token, verdict).await;
        self.effects.traces.received(&input, traceparent);
        self.feed(input);
    }

    /// Feeds the machine, and collects its outputs in the batch.
    pub(super) fn feed(&mut self, input: Input) {
        let outputs = self.machine.handle(input, self.context.clock.now());
        self.absorb(outputs);
    }

    /// Collects outputs in the batch: those to persist as its writes, the rest as its effects. Signing has no effect outside,
    /// so it is done at once.
    fn absorb(&mut self, outputs: Vec<Output>) {
        let mut queue = VecDeque::from(outputs);
        while let Some(output) = queue.pop_front() {
            match output {
                Output::Persist(persist) => self.persist(persist),
                Output::Sign(unsigned) => {
                    let input = match unsigned {
                        Unsigned::Contribution(record) => Input::SignedContribution(self.context.identity.sign(record)),
                        Unsigned::Seal(record) => Input::SignedSeal(self.context.identity.sign(record)),
                        Unsigned::Consent(record) => Input::SignedConsent(self.context.identity.sign(record)),
                    };
                    queue.extend(self.machine.handle(input, self.context.clock.now()));
                }
                Output::WakeAt(at) => self.wake = at,
                other => {
                    self.note(&other);
                    self.batch.effect(other);
                }
            }
        }
    }

    /// Notes what the rounds measured. A stuck task notes nothing: the figures only inform.
    fn note(&mut self, output: &Output) {
        let writes = match output {
            _ if self.stuck.is_some() => vec![],
            Output::Head { .. } => self.curve.head_moved(&self.model, &self.machine),
            Output::Confirmed(_) => self.curve.confirmed(&self.model, &self.machine),
            _ => vec![],
        };
        writes.into_iter().for_each(|write| self.batch.write(write));
    }

    fn persist(&mut self, persist: Persist) {
        let spec = self.model.id;
        let write = match persist {
            Persist::Contribution(signed) => {
                let verdict = match signed.record.parent == self.machine.head().id {
                    true => Verdict::OpenRound,
                    false => Verdict::OtherRound,
                };
                let rounds = &self.context.metrics.rounds;
                rounds.contribution(&self.model.spec().name, verdict);
                self.raise_releases(&signed.record);
                Write::Contribution(signed)
            }
            Persist::Seal(signed) => Write::Seal(signed),
            Persist::Proof(proof) => Write::Proof(spec, proof),
            Persist::Consent(signed) => Write::Consent(signed),
            Persist::Verified(checkpoint) => Write::Verified(spec, checkpoint),
            Persist::Submission(id, state) => {
                self.context.metrics.submission(&self.model.spec().name, &state);
                let final_unix_ms = state.is_final().then(unix_ms);
                return self.batch.state(id, state, final_unix_ms);
            }
            Persist::Forget(gone) => Write::Forget(spec, gone),
            Persist::Archive { root, rounds } => Write::Archive(spec, root, rounds),
            Persist::Unarchive { root } => Write::Unarchive(spec, root),
        };
        self.batch.write(write);
    }

    /// Learns from a contribution of this node that came back from a peer: a restored data directory may count fewer noisy updates.
    fn raise_releases(&mut self, contribution: &Contribution) {
        let spec = self.model.spec();
        let (Some(gaussian), Some(joined)) = (privacy::gaussian(spec), self.model.joined()) else {
            return;
        };
        let own = contribution.author == self.context.identity.node();
        if own && joined.releases.raise(contribution.releases) {
            let write = releases::write(spec, self.model.id, &gaussian, contribution.releases);
            self.batch.write(write);
        }
    }

    /// Makes the batch durable, answers the callers, and carries out the effects, until nothing is left to do or the disk takes
    /// nothing.
    async fn turn(&mut self) {
        while let Some(ready) = self.batch.ready() {
            let Some(durable) = self.commit(ready).await else {
                return;
            };
            debug_assert!(self.stuck.is_none(), "nothing goes out while the disk takes nothing");
            let done = self.batch.done(durable);
            for (reply, view) in done.answers {
                // Sending fails only if the caller has gone.
                let _ = reply.send(Ok(view));
            }
            done.questions.into_iter().for_each(|question| question(&self.machine));
            for output in done.effects {
                let known = self.effects.carry_out(output, &self.machine).await;
                known.into_iter().for_each(|input| self.feed(input));
            }
        }
        self.tell().await;
    }

    /// Tells watchers and the other tasks how the model stands after a turn.
    async fn tell(&mut self) {
        for (id, stored) in self.batch.end() {
            let stored = match stored {
                Some(stored) => Some(stored),
                None => {
                    let read = self.context.disk.blocking(move |store| store.submission(id));
                    read.await.ok().flatten()
                }
            };
            if let Some(stored) = stored {
                self.context.events.push(Event::Submission(SubmissionView::of(&stored)));
            }
        }
        if let Some(joined) = self.model.joined() {
            joined.records.store(self.machine.records().len(), Ordering::Relaxed);
            let changes = self.machine.changes();
            let told = std::mem::replace(&mut *joined.changes.lock(), changes.clone());
            if told != changes {
                self.context.model_changed(&self.model);
            }
        }
        self.effects.tell_heads(&self.machine);
        if self.draining {
            let states = self.machine.submissions().values();
            let waiting = states.filter(|state| **state == SubmissionState::Pending).count();
            self.unmerged.send_replace(Some(waiting));
        }
    }
}

/// Waits until a time; for ever when there is none.
async fn at(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
