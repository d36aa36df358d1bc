//! The effects of a machine's outputs: it sends, fetches, computes and tells.

use std::sync::Arc;

use qres_fed::id::{BlobId, CheckpointId, NodeId};
use qres_fed::record::{BlobRole, Contribution, Membership, Signed};
use qres_fed::round::{Input, Machine, Output, Refusal, Refused};
use qres_fed::tensor::Layout;
use qres_mesh::{Fault, Topic};
use qres_store::{Owner, Verdicts};
use qres_transfer::DownloadRequest;
use qres_wire::{clock, envelope, trace};
use tokio::sync::watch;
use tracing::{info, warn};

use super::job::Jobs;
use super::round_clock::RoundClock;
use super::spans::Traces;
use super::wants::BlobWants;
use crate::archive;
use crate::blob_demand::Purpose;
use crate::catalog::entry::Model;
use crate::catalog::joined::Heads;
use crate::context::NodeContext;
use crate::metrics::rounds::{Judgement, Verdict};
use crate::view::conditions;
use crate::view::{Event, RoundView};

/// Carries out the outputs of one model's machine. Nothing here writes to the store: what must be durable is by then.
pub struct Effects {
    context: Arc<NodeContext>,
    model: Arc<Model>,
    jobs: Jobs,
    heads: watch::Sender<Heads>,
    wants: BlobWants,
    rounds: RoundClock,
    /// The traces of the model's records and jobs.
    pub traces: Traces,
}

impl Effects {
    /// Creates the effects of a model whose jobs and heads these are.
    pub fn new(context: Arc<NodeContext>, model: Arc<Model>, jobs: Jobs, heads: watch::Sender<Heads>) -> Self {
        let (rounds, traces) = (
            RoundClock::new(&heads.borrow().head),
            Traces::new(model.spec().name.to_string()),
        );
        Self {
            context,
            model,
            jobs,
            heads,
            wants: BlobWants::default(),
            rounds,
            traces,
        }
    }

    /// Carries out one output. Returns an input for the machine if the answer is known at once.
    pub async fn carry_out(&mut self, output: Output, machine: &Machine) -> Option<Input> {
        match output {
            Output::Persist(_) | Output::Sign(_) | Output::WakeAt(_) => {
                unreachable!("the task keeps these outputs to itself")
            }
            Output::SendContribution(signed) => self.send_contribution(signed).await,
            Output::SendSeal(signed) => {
                let traceparent = self.traces.sealed(&signed.record);
                self.publish(envelope::seal(&signed, traceparent)).await;
            }
            Output::SendProof(proof) => self.publish(envelope::proof(&proof)).await,
            Output::SendConsent(signed) => self.publish(envelope::consent(&signed)).await,
            Output::Succeeded(end) => {
                info!(
                    model = %self.model.spec().name, round = end.round, checkpoint = %end.checkpoint, successor = %end.successor,
                    "the members ended this model: it goes on as a successor"
                );
                self.heads.send_replace(Heads::of(machine));
                self.context.model_changed(&self.model);
                self.context.ended.notify_one();
            }
            Output::WantBlob {
                blob,
                bytes,
                role,
                holders,
                owed_by,
            } => return self.want(blob, bytes, role, holders, owed_by),
            Output::DropBlob(blob) => {
                self.wants.remove(&blob);
                self.give_up(&blob);
            }
            Output::WantRecords { from } => self.want_records(from),
            Output::WantArchived { from } => archive::read_for_machine(&self.context, &self.model, from),
            Output::Encode(work) => {
                let span = self.traces.encoding(&work);
                self.jobs.encode(work, span);
            }
            Output::Aggregate(work) => {
                let span = self.traces.aggregating(&work);
                self.jobs.aggregate(work, span);
            }
            Output::Head {
                checkpoint,
                round,
                weights,
            } => self.head_moved(machine, checkpoint, round, weights),
            Output::Confirmed(checkpoint) => self.round_event(machine, checkpoint),
            Output::RoundChanged => {
                let open = machine.open_round();
                self.rounds.changed(&open, clock::now());
                let view = RoundView::of(&self.model, open, self.context.clock.now());
                self.context.metrics.open_round(&self.model.id, &view);
                self.context.events.push(Event::Round(view));
            }
            Output::Equivocation { author, proof } => {
                conditions::log_equivocation(self.model.spec(), self.context.identity.node(), author, proof);
            }
            Output::Refused {
                author,
                refusal,
                what,
                reason,
            } => {
                self.count_refused(what);
                self.refused(author, refusal, reason);
            }
        }
        None
    }

    fn count_refused(&self, what: Refused) {
        let verdict = match what {
            Refused::Contribution => Verdict::Rules,
            Refused::Update => Verdict::Update,
            Refused::Seal | Refused::Result => return,
        };
        let rounds = &self.context.metrics.rounds;
        rounds.contribution(&self.model.spec().name, verdict);
    }

    fn refused(&self, author: NodeId, refusal: Refusal, reason: String) {
        let model = &self.model.spec().name;
        match refusal {
            Refusal::Useless => info!(%model, %author, reason, "record passed over"),
            Refusal::Fault => {
                warn!(%model, %author, reason, "record refused");
                if author != self.context.identity.node() {
                    self.context.mesh.penalize(author, Fault::Forged, reason);
                }
            }
        }
    }

    async fn publish(&self, envelope: Vec<u8>) {
        if let Err(error) = self.context.mesh.publish(Topic::Epiphany, envelope).await {
            // Agreement rests on sync, so a lost announcement costs time only.
            warn!(model = %self.model.spec().name, %error, "cannot announce; peers will learn of it by sync");
        }
    }

    async fn send_contribution(&mut self, signed: Signed<Contribution>) {
        let spec = self.model.spec();
        let span = self.traces.publishing(&signed.record);
        // A list model's weights never travel inline: gossip is forwarded by nodes that may not read them.
        let small = signed.record.update_bytes <= envelope::INLINE_BYTES_MAX as u64;
        let inline = if spec.membership == Membership::Open && small {
            let (blob, owner) = (signed.record.update, Owner::Model(self.model.id));
            let read = self
                .context
                .disk
                .blocking(move |store| store.blobs_of(owner).read(&blob));
            read.await.unwrap_or_default()
        } else {
            vec![]
        };
        let envelope = envelope::contribution(&spec.name, &signed, inline, trace::traceparent(&span));
        self.publish(envelope).await;
    }

    /// Checks a blob that is here, and fetches one that is not.
    pub fn want(
        &mut self,
        blob: BlobId,
        bytes: Option<u64>,
        role: BlobRole,
        holders: Vec<NodeId>,
        owed_by: Option<NodeId>,
    ) -> Option<Input> {
        // A spec has none of the roles, and lies in another directory.
        if blob == BlobId::from(self.model.id) {
            return Some(Input::BlobBad { blob, role });
        }
        // Only this model's own directory counts: a blob that another model holds under that digest is not for use here.
        let here = self
            .context
            .disk
            .store
            .blobs_of(Owner::Model(self.model.id))
            .contains(&blob);
        self.wants.add(blob, role, here);
        if here {
            self.jobs.check(blob, role, self.traces.checking(&blob, role));
            return None;
        }
        let bytes_max = match role {
            BlobRole::Update => self.model.update_bytes.unwrap_or(0),
            BlobRole::Weights => self.model.layout.file_bytes(),
            BlobRole::Optimiser => self.model.state_layout.as_ref().map_or(0, Layout::file_bytes),
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
        None
    }

    /// Checks a wanted blob that has arrived in the store.
    pub fn arrived(&mut self, blob: BlobId) {
        if let Some(role) = self.wants.begin_check(&blob) {
            self.jobs.check(blob, role, self.traces.checking(&blob, role));
        }
    }

    /// Looks again for a wanted blob that could not be read.
    pub fn unread(&mut self, blob: BlobId) -> Option<Input> {
        let role = self.wants.role(&blob)?;
        self.want(blob, None, role, vec![], None)
    }

    /// Notes the answer of a job: a blob that was checked is not wanted any more, and a result has the trace of its job.
    pub fn answered(&mut self, input: &Input, traceparent: Option<String>) {
        match input {
            Input::Aggregated { result, .. } => self.traces.aggregated(*result, traceparent),
            Input::BlobHere { blob, role } | Input::BlobBad { blob, role } => {
                self.wants.checked(blob, *role);
                // The blob may have come with a message while peers were asked for it.
                if self.wants.role(blob).is_none() {
                    self.give_up(blob);
                }
            }
            _ => {}
        }
    }

    /// Counts what an aggregation made of each contribution.
    pub fn judged(&self, verdicts: &Verdicts) {
        for (_, verdict) in verdicts {
            self.context
                .metrics
                .rounds
                .judged(&self.model.spec().name, Judgement::of(verdict));
        }
    }

    /// Gives up every blob that is wanted, when the task ends.
    pub fn give_up_all(&self) {
        self.wants.blobs().for_each(|blob| self.give_up(blob));
    }

    fn give_up(&self, blob: &BlobId) {
        let cancel = || self.context.downloads.cancel(self.model.id, *blob);
        let demand = &self.context.blob_demand;
        demand.forget(blob, self.model.id, Purpose::Round, cancel);
    }

    fn want_records(&self, from: Vec<NodeId>) {
        // The missing records may have been refused before.
        if let Some(joined) = self.model.joined() {
            joined.forget_refused();
        }
        self.context.syncer.request(self.model.id, from);
    }

    fn head_moved(&mut self, machine: &Machine, checkpoint: CheckpointId, round: u64, weights: BlobId) {
        if let Some(joined) = self.model.joined() {
            joined.handed_out.lock().clear();
        }
        let spec = self.model.spec();
        if let Some(end) = self.rounds.head_moved(machine, spec, checkpoint, clock::now()) {
            self.context.metrics.rounds.ended(&spec.name, &end);
        }
        self.heads.send_replace(Heads::of(machine));
        let sealed = machine.round(round);
        if let Some(sealed) = &sealed {
            let named = spec.metrics.iter().zip(&sealed.evaluation);
            self.context.metrics.measured.measured(&spec.name, named);
        }
        let listed = sealed.map(|round| round.contributions).unwrap_or_default();
        let listed = listed.iter().map(|contribution| contribution.id);
        let span = self.traces.head_moved(checkpoint, round, &weights, listed);
        let _entered = span.enter();
        info!(model = %self.model.spec().name, round, %checkpoint, "head");
        self.context.model_changed(&self.model);
        self.round_event(machine, checkpoint);
        self.context.disk.garbage.notify_one();
    }

    fn round_event(&self, machine: &Machine, checkpoint: CheckpointId) {
        let info = machine.checkpoint(&checkpoint).filter(|info| info.round > 0);
        if let Some(round) = info.and_then(|info| machine.round(info.round)) {
            let view = RoundView::of(&self.model, round, self.context.clock.now());
            self.context.events.push(Event::Round(view));
        }
    }

    /// Tells the heads as they stand, if they differ from those told last.
    pub fn tell_heads(&self, machine: &Machine) {
        let heads = Heads::of(machine);
        let completed = self.heads.borrow().last != heads.last;
        self.heads
            .send_if_modified(|old| std::mem::replace(old, heads) != heads);
        if completed {
            self.context.model_changed(&self.model);
        }
    }
}
