//! Calls about the rounds of a model.

use std::sync::Arc;

use qres_fed::id::NodeId;
use qres_fed::record::{Membership, Spec};
use qres_fed::round::{BaseError, Input, Machine, RoundInfo};
use qres_store::{Store, StoreError};

use crate::archive;
use crate::catalog::command::ModelCommand;
use crate::catalog::entry::Model;
use crate::context::NodeContext;
use crate::error::{NodeError, Reason};
use crate::page::{Page, PageRequest};
use crate::refusal::{base_refused, stopped};
use crate::request::ModelRef;
use crate::view::RoundView;

/// Returns one round of the head's branch; `None` asks for the open round.
pub async fn get(context: &Arc<NodeContext>, model: &ModelRef, round: Option<u64>) -> Result<RoundView, NodeError> {
    let (model, joined) = context.catalog.find_joined(model)?;
    let mut info = joined
        .ask(move |machine| match round {
            Some(round) => machine.round(round),
            None if machine.is_complete() => machine.round(machine.head().round),
            None => Some(machine.open_round()),
        })
        .await?;
    if let (None, Some(round)) = (&info, round) {
        info = archive::round(&context.disk, model.id, round).await?;
    }
    let info = info.ok_or_else(|| {
        NodeError::new(
            Reason::RoundUnknown,
            format!(
                "round {} is not on the head's branch here: rounds start at 1",
                round.unwrap_or(0)
            ),
        )
        .field("round")
    })?;
    let mut views = [RoundView::of(&model, info, context.clock.now())];
    judge(context, &model, &mut views).await?;
    let [view] = views;
    Ok(view)
}

/// Adds the verdicts and the evaluations that this node has to the rounds.
async fn judge(context: &Arc<NodeContext>, model: &Model, views: &mut [RoundView]) -> Result<(), NodeError> {
    let spec = model.id;
    let sealed = views
        .iter_mut()
        .filter_map(|view| Some(((view.round, view.checkpoint.as_ref()?.id), view)));
    let (of, sealed): (Vec<_>, Vec<_>) = sealed.unzip();
    let read = move |store: &Store| Ok::<_, StoreError>((store.verdicts(spec, &of)?, store.evaluations(spec, &of)?));
    let (verdicts, evaluations) = context.disk.blocking(read).await?;
    for ((view, verdicts), evaluation) in sealed.into_iter().zip(verdicts).zip(evaluations) {
        verdicts.iter().for_each(|verdicts| view.judge(verdicts));
        evaluation
            .iter()
            .for_each(|evaluation| view.evaluate(model.spec(), evaluation));
    }
    Ok(())
}

/// Returns a page of rounds, the newest first.
pub async fn list(
    context: &Arc<NodeContext>,
    model: &ModelRef,
    page: PageRequest,
) -> Result<Page<RoundView>, NodeError> {
    let (model, joined) = context.catalog.find_joined(model)?;
    let before = match page.token.as_deref().map(str::parse::<u64>) {
        None => None,
        Some(Ok(before)) => Some(before),
        Some(Err(_)) => {
            return Err(NodeError::invalid(
                "page_token",
                "not a token of this list: start without one",
            ));
        }
    };
    let size = page.size;
    let (mut infos, from) = joined.ask(move |machine| newest_first(machine, before, size)).await?;
    if infos.len() < size && from > 0 {
        infos.extend(archive::newest_first(&context.disk, model.id, from, size - infos.len()).await?);
    }
    let last = infos.last().map(|info| info.round);
    let next = last.filter(|round| *round > 1).map(|round| round.to_string());
    let view = |info| RoundView::of(&model, info, context.clock.now());
    let mut items: Vec<_> = infos.into_iter().map(view).collect();
    judge(context, &model, &mut items).await?;
    Ok(Page { items, next })
}

/// Returns the rounds in memory, the newest first, and the round from which down more are in the archive.
fn newest_first(machine: &Machine, before: Option<u64>, size: usize) -> (Vec<RoundInfo>, u64) {
    // A run that is complete has no open round.
    let newest = match machine.is_complete() {
        true => machine.head().round,
        false => machine.open_round().round,
    };
    let from = before.map_or(newest, |before| before.saturating_sub(1).min(newest));
    let page: Vec<_> = (1..=from).rev().map_while(|n| machine.round(n)).take(size).collect();
    let below = from - page.len() as u64;
    (page, below)
}

/// Ends the open round's waiting. The round stays open, and the error is [`Reason::BelowQuorum`], when fewer than k
/// contributions are in.
pub async fn seal(context: &Arc<NodeContext>, model: &ModelRef) -> Result<RoundView, NodeError> {
    let (known, joined) = context.catalog.find_joined(model)?;
    let (open, last) = joined
        .ask(|machine| (machine.open_round(), machine.last_checkpoint()))
        .await?;
    if let Some(last) = last {
        return Err(base_refused(BaseError::Complete(last.round)));
    }
    let spec = known.spec();
    let k = match open.closing {
        true => spec
            .rounds
            .min_contributions
            .max(u32::try_from(spec.quorum()).unwrap_or(u32::MAX)),
        false => spec.rounds.min_contributions,
    };
    let here = open.contributions.iter().filter(|c| !c.late).count();
    if here < k as usize {
        return Err(below_k(known.spec(), &open, here, k));
    }
    joined
        .inbox
        .send(ModelCommand::Inputs(vec![Input::SealNow]))
        .await
        .map_err(|_| stopped())?;
    get(context, model, Some(open.round)).await
}

/// Returns the error for a round that cannot be sealed: it names all members that are not in, whether the round still waits for
/// them or not.
fn below_k(spec: &Spec, open: &RoundInfo, here: usize, k: u32) -> NodeError {
    let is_in = |node: &NodeId| open.contributions.iter().any(|c| !c.late && c.author == Some(*node));
    let missing: Vec<_> = match &spec.membership {
        Membership::List(members) => members
            .iter()
            .filter(|m| !is_in(m) && !open.excluded.contains(m))
            .map(ToString::to_string)
            .collect(),
        Membership::Open => vec![],
    };
    let mut said = format!("round {} has {here} of the {k} contributions it needs", open.round);
    if !missing.is_empty() {
        said += &format!("; missing: {}", missing.join(", "));
    }
    if !open.excluded.is_empty() {
        let excluded: Vec<_> = open.excluded.iter().map(ToString::to_string).collect();
        said += &format!(
            "; convicted, so that their work does not count: {}",
            excluded.join(", ")
        );
    }
    NodeError::new(Reason::BelowQuorum, said).field("model")
}
