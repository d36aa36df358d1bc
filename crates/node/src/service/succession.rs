//! Changes of members: operators propose and agree, and the node goes on with the successor (docs/adr/0011).

use std::collections::BTreeSet;
use std::sync::Arc;

use qres_fed::id::{CheckpointId, NodeId, SpecId, SubmissionId};
use qres_fed::record::{Canonical, Change, Signature, Signed, Spec};
use qres_fed::round::{Handed, Input, Machine, MembersPolicy, SubmissionState, Succession};
use qres_mesh::Topic;
use qres_store::{Owner, Store, StoreError, StoredSubmission, Write};
use qres_wire::clock::unix_ms;
use qres_wire::envelope;
use tracing::{info, warn};

use crate::catalog::command::ModelCommand;
use crate::catalog::entry::Model;
use crate::catalog::joined::Joined;
use crate::context::NodeContext;
use crate::error::{NodeError, Reason};
use crate::model::start::start_model;
use crate::refusal::stopped;
use crate::request::ModelRef;
use crate::service::membership::leave_ended;
use crate::service::submit::identity_of;
use crate::view::ModelView;
use crate::{announced, fixed_tensors};

/// What an operator says of the members of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembersCall {
    /// Add these nodes and remove those.
    Propose {
        /// Nodes that become members.
        add: BTreeSet<NodeId>,
        /// Members that are members no longer.
        remove: BTreeSet<NodeId>,
    },
    /// Agree to the change that this member proposes; without one, to the only change that is proposed.
    Accept(Option<NodeId>),
    /// Agree to no change any more.
    Withdraw,
}

/// Takes what the operator of this node says of a change of members.
pub async fn call(context: &Arc<NodeContext>, wanted: &ModelRef, call: MembersCall) -> Result<ModelView, NodeError> {
    context.lifecycle.refuse_if_draining()?;
    context.refuse_if_not_alone()?;
    let (model, joined) = context.catalog.find_joined(wanted)?;
    let me = context.identity.node();
    if !model.spec().admits(&me) {
        return Err(refused(format!(
            "this node ({me}) is no member of model {}",
            model.spec().name
        )));
    }
    if let Some((successor, _)) = joined.heads.borrow().successor {
        return Err(refused(format!("the model has ended: it goes on as {successor}")));
    }
    if context.config.members == MembersPolicy::Never && call != MembersCall::Withdraw {
        return Err(refused(
            "members_change is never on this node, so it would not take part: set ask or follow".into(),
        ));
    }
    let change = match call {
        MembersCall::Propose { add, remove } => Some(Change {
            proposer: me,
            add,
            remove,
        }),
        MembersCall::Accept(proposer) => Some(proposed(&joined, proposer).await?),
        MembersCall::Withdraw => None,
    };
    if let Some(change) = &change {
        change
            .members(model.spec())
            .map_err(|error| refused(error.to_string()))?;
    }
    let inputs = ModelCommand::Inputs(vec![Input::Agree(change.clone())]);
    joined.inbox.send(inputs).await.map_err(|_| stopped())?;
    // The answer of a durable question comes after the consent is on the disk.
    let (agreed, changes) = joined
        .ask_durable(move |machine| {
            // A quorum that agreed without this operator has made the change already.
            let agreed = machine.ending().or_else(|| machine.agrees_to().cloned());
            (agreed, machine.changes())
        })
        .await?;
    // The task tells it at the end of its turn, which may not be over.
    *joined.changes.lock() = changes;
    context.model_changed(&model);
    if agreed != change {
        return Err(refused(
            "this node compares its records first, or a quorum has agreed to another change: try again, `qres model show` says \
             more"
                .into(),
        ));
    }
    Ok(context.model_view(&model))
}

/// Returns the change that a member proposes; without a proposer the only one that is proposed.
async fn proposed(joined: &Joined, proposer: Option<NodeId>) -> Result<Change, NodeError> {
    let mut changes = joined.ask(Machine::changes).await?;
    changes.retain(|info| proposer.is_none_or(|proposer| info.change.proposer == proposer));
    match changes.as_slice() {
        [one] => Ok(one.change.clone()),
        [] => Err(refused("no member proposes such a change now".into())),
        several => {
            let proposers: Vec<_> = several.iter().map(|info| info.change.proposer.to_string()).collect();
            let all = proposers.join(", ");
            Err(refused(format!(
                "several members propose changes ({all}): name the proposer"
            )))
        }
    }
}

fn refused(problem: String) -> NodeError {
    NodeError::new(Reason::ChangeRefused, problem).field("model")
}

/// Goes on with the successor of a model that has ended. Its proposer makes the successor, and the other members join it once it was
/// announced; after `waited`, they go on without the announcement. Doing it again does no harm.
pub async fn go_on(context: &Arc<NodeContext>, old: &Arc<Model>, waited: bool) -> Result<(), NodeError> {
    let Some(joined) = old.joined() else { return Ok(()) };
    let Some(end) = joined.ask(|machine| machine.succession().cloned()).await? else {
        return Ok(());
    };
    let known = context.catalog.by_id(&end.successor);
    if known.as_ref().is_some_and(|known| known.is_joined()) {
        answer(&joined, &end, Left::Moved).await?;
        return leave_older(context, old).await;
    }
    let spec = end.change.successor(old.spec(), end.round, end.weights);
    let spec = spec.map_err(|error| refused(error.to_string()))?;
    let me = context.identity.node();
    if !spec.admits(&me) {
        return answer(&joined, &end, Left::Removed).await;
    }
    let model = match known {
        Some(known) => announced::whole(context, &known).await?,
        // Also a proposer that refuses changes by now makes the successor: the others wait for its signature.
        None if end.change.proposer == me => Arc::new(Model::new(context.identity.sign(spec))),
        None if waited => Arc::new(Model::new(unsigned(spec))),
        None => return Ok(()),
    };
    if context.config.members == MembersPolicy::Never && end.change.proposer != me {
        return Ok(());
    }
    let (owner, old) = (context.clone(), old.clone());
    let moved = async move {
        move_over(&owner, &old, &joined, &model, &end).await?;
        leave_older(&owner, &old).await
    };
    context.lifecycle.to_the_end(moved).await
}

/// Returns a successor's spec without its creator's signature. Every member computes the spec, so its members need none; only
/// nodes that were no members do, and they get the spec from the creator when it is back.
fn unsigned(record: Spec) -> Signed<Spec> {
    let signature = Signature::NONE;
    Signed { record, signature }
}

/// Joins the successor and hands the open work over. The old model stays as it is, for members that were away.
async fn move_over(
    context: &Arc<NodeContext>,
    old: &Arc<Model>,
    joined: &Joined,
    model: &Arc<Model>,
    end: &Succession,
) -> Result<(), NodeError> {
    let _kept = context.disk.keep_new_blobs().await;
    let _turn = context.memberships.lock().await;
    let (model, was_here) = context.catalog.add(model.clone());
    if model.joined().is_some() {
        return Ok(());
    }
    let last = end.checkpoint;
    let handed = joined.ask_durable(move |machine| machine.handed_over(&last)).await?;
    let (signed, from, end) = (model.signed.clone(), old.id, end.clone());
    let stored = context
        .disk
        .blocking(move |store| begin(store, &signed, from, &handed, &end))
        .await;
    let fates = match stored {
        Ok(fates) => fates,
        Err(error) => {
            if !was_here {
                context.catalog.remove(&model.id);
            }
            return Err(error.into());
        }
    };
    context.catalog.heard().forget(&model.id);
    start_model(context, &model).await?;
    info!(model = %model.spec().name, id = %model.id, "the members changed: this node goes on with the successor");
    // The states are on the disk already. A task that has ended needs them no more.
    let _ = joined
        .inbox
        .send(ModelCommand::Inputs(vec![Input::HandedOver(fates)]))
        .await;
    announce(context, &model).await;
    context.model_changed(old);
    Ok(())
}

/// The final states of submissions of a model that has ended.
type Fates = Vec<(SubmissionId, SubmissionState)>;

/// Stores the successor as joined, with its first weights and the submissions that are carried over, and the final states of
/// those that were open in the old model: one transaction, or a crash would leave work that counts in neither or in both.
fn begin(
    store: &Store,
    signed: &Signed<Spec>,
    from: SpecId,
    handed: &[(SubmissionId, Handed)],
    end: &Succession,
) -> Result<Fates, StoreError> {
    let (spec, id) = (&signed.record, signed.record.id());
    let zero = spec.zero().0;
    store.blobs_of(Owner::Specs).put(&spec.to_canonical(), true)?;
    let (old, to) = (store.blobs_of(Owner::Model(from)), Owner::Model(id));
    let held = old.share(&spec.checkpoint0, to)?;
    fixed_tensors::share(store, spec, from, id)?;
    let mut writes = vec![Write::Spec(signed.clone()), Write::Join(id), Write::ForgetHeard(id)];
    // The members computed the spec: its tensors are those of the old one.
    writes.extend(spec.fixed.map(|_| Write::CarryPersonal { from, to: id }));
    writes.extend(held.then_some(Write::Verified(id, zero)));
    let mut fates = Fates::new();
    let now = unix_ms();
    for (old_id, handed) in handed {
        let new = match handed {
            Handed::CarriedOver => carried(store, *old_id, id, zero)?,
            Handed::Sealed { .. } | Handed::Lost => None,
        };
        let state = fate(*handed, end, new.as_ref().map(|new| &new.id), Left::Moved);
        writes.push(Write::SubmissionState {
            id: *old_id,
            state: state.clone(),
            final_unix_ms: Some(now),
        });
        writes.extend(new.map(Write::Submission));
        fates.push((*old_id, state));
    }
    store.commit(writes)?;
    Ok(fates)
}

/// Returns a submission as it goes on in the successor; `None` if its bytes are gone.
fn carried(
    store: &Store,
    id: SubmissionId,
    spec: SpecId,
    base: CheckpointId,
) -> Result<Option<StoredSubmission>, StoreError> {
    let here = |submission: &StoredSubmission| store.blobs_of(Owner::Node).contains(&submission.blob);
    let found = store.submission(id)?.filter(here);
    Ok(found.map(|old| StoredSubmission {
        id: SubmissionId(identity_of(
            &spec,
            &base,
            &old.blob,
            (old.samples, &old.report),
            old.delta,
            &old.trainer,
        )),
        spec,
        base,
        // The trainer's newest ones are carried over by themselves.
        personal: None,
        state: SubmissionState::Pending,
        final_unix_ms: None,
        at_unix_ms: unix_ms(),
        ..old
    }))
}

/// Why the open work of a model that has ended is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// This node went on with the successor.
    Moved,
    /// This node is no member of the successor.
    Removed,
}

/// Answers for the work that is still open in a model that has ended.
async fn answer(joined: &Joined, end: &Succession, left: Left) -> Result<(), NodeError> {
    let last = end.checkpoint;
    let handed = joined.ask(move |machine| machine.handed_over(&last)).await?;
    if handed.is_empty() {
        return Ok(());
    }
    let fates = handed
        .into_iter()
        .map(|(id, handed)| (id, fate(handed, end, None, left)));
    let fates = ModelCommand::Inputs(vec![Input::HandedOver(fates.collect())]);
    joined.inbox.send(fates).await.map_err(|_| stopped())
}

/// Returns the final state of a submission of a model that has ended; `new` is its id in the successor.
fn fate(handed: Handed, end: &Succession, new: Option<&SubmissionId>, left: Left) -> SubmissionState {
    let successor = end.successor;
    match (handed, new, left) {
        (Handed::Sealed { checkpoint, weight_ppm }, ..) => SubmissionState::Sealed {
            checkpoint,
            weight_ppm,
            confirmed: true,
            settled: true,
        },
        (_, Some(new), _) => SubmissionState::Superseded {
            reason: format!(
                "the members of the model changed: the work goes on in the successor {successor} as submission {new}"
            ),
        },
        (_, None, Left::Removed) => SubmissionState::Rejected {
            reason: format!("this node is no member of the successor {successor}: the work is in no checkpoint"),
        },
        (_, None, Left::Moved) => SubmissionState::Rejected {
            reason: format!(
                "the model ended with checkpoint {} before this work was sealed: fetch the head of the successor {successor}, train \
                 from it and submit again",
                end.checkpoint
            ),
        },
    }
}

async fn announce(context: &NodeContext, model: &Model) {
    if model.spec().creator != context.identity.node() {
        return;
    }
    if let Err(error) = context
        .mesh
        .publish(Topic::Epiphany, envelope::spec(&model.signed))
        .await
    {
        warn!(%error, "cannot announce the successor; peers will learn of it by sync");
    }
}

/// Leaves the models that an ended model succeeded itself: one ended model is kept, for members that were away.
async fn leave_older(context: &Arc<NodeContext>, old: &Model) -> Result<(), NodeError> {
    let older = old.spec().succeeds.and_then(|older| context.catalog.get(&older));
    if older.is_none_or(|older| older.joined().is_none()) {
        return Ok(());
    }
    let _kept = context.disk.keep_new_blobs().await;
    let _turn = context.memberships.lock().await;
    leave_ended(context, old).await
}
