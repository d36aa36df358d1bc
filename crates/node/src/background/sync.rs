//! Anti-entropy, on which agreement rests: nodes compare their records. Gossip only makes agreement fast.
//!
//! Nodes compare record ids when they connect, when a heartbeat names an unknown head, when a record names one that is missing,
//! and now and then with a random peer, which is also asked for the models that it knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use qres_fed::id::{NodeId, SpecId};
use qres_fed::round::{Input, Machine};
use qres_mesh::Fault;
use qres_transfer::{Held, Record};
use qres_wire::clock;
use qres_wire::identity;
use rand::seq::IndexedRandom;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{MissedTickBehavior, timeout};
use tracing::debug;

use crate::background::spec_offers::{self, Announced};
use crate::background::states;
use crate::catalog::command::ModelCommand;
use crate::catalog::joined::Joined;
use crate::context::NodeContext;
use crate::refusal::stopped;
use crate::syncer::greetings;
use crate::syncer::queue::Pair;
use crate::{archive, first_comparison};

/// The time between two comparisons with a random peer. Two nodes that both lost a message meet again within a few of these.
const PERIOD: Duration = Duration::from_secs(20);
/// The longest time of a comparison or a greeting. The records that came by then are kept, so the next one goes on from there.
const BESIDE_MAX: Duration = Duration::from_secs(300);
/// The time in which a comparison must bring [`WINDOW_RECORDS_MIN`] records, else it makes room for another peer that waits.
/// 256 records are about 100 KB: a link of 1 Mbit/s brings them in a second.
const WINDOW: Duration = Duration::from_secs(30);
/// The least records that a comparison must bring in a [`WINDOW`] while others wait.
const WINDOW_RECORDS_MIN: usize = 256;
/// A comparison that fails after this time or later counts as too slow as well: the peer stalled.
const STALLED_AFTER: Duration = Duration::from_secs(10);
/// The longest wait for a busy model's word on a head.
const ASK_MAX: Duration = Duration::from_millis(500);
/// The most batches of records between the network and the model's task.
const BATCHES_MAX: usize = 2;
/// The time between two measurements of the delay to the other members, for the sealers' stagger.
const DELAY_PERIOD: Duration = Duration::from_secs(5);

/// Greets and compares until the node stops.
pub async fn run(context: Arc<NodeContext>) {
    let mut period = tokio::time::interval(PERIOD);
    let mut delay = tokio::time::interval(DELAY_PERIOD);
    // Missed ticks are not followed by a burst of comparisons.
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    delay.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = context.lifecycle.stop.cancelled() => return,
            () = context.syncer.wake.notified() => {}
            _ = period.tick() => {
                meet_a_random_peer(&context);
                context.tell_heads(None);
            }
            _ = delay.tick() => {
                measure_delay(&context);
                first_comparison::compare_again(&context);
            }
        }
        first_comparison::tell_reachable(&context);
        greet_new(&context);
        compare_claims(&context).await;
        compare_wanted(&context);
    }
}

/// Runs `work` beside the loop, which must not wait for a peer; when the work ends the loop looks for the next.
fn beside(
    context: &Arc<NodeContext>,
    what: &'static str,
    slot: OwnedSemaphorePermit,
    work: impl Future<Output = ()> + Send + 'static,
) {
    let owner = context.clone();
    context.lifecycle.spawn_critical(what, async move {
        let bounded = timeout(BESIDE_MAX, work);
        if let Some(Err(_)) = owner.lifecycle.stop.run_until_cancelled(bounded).await {
            debug!(what, "took too long: given up, tried again later");
        }
        drop(slot);
        owner.syncer.wake.notify_one();
    });
}

/// Greets a random peer, because gossip may lose the announcement of a model. Its greeting ends with a comparison of the joined
/// models that it may read; each of the others is compared with a random reader.
fn meet_a_random_peer(context: &Arc<NodeContext>) {
    let met = context.mesh.connected().choose(&mut rand::rng()).copied();
    let mut others = context.catalog.all();
    others.retain(|model| model.joined().is_some() && met.is_none_or(|node| !model.readable_by(&node)));
    context.syncer.anyone.lock().extend(others.iter().map(|model| model.id));
    let mut greeted = context.syncer.greeted.lock();
    greeted.extend(met);
    greeted.extend(context.offers.take_more());
}

fn greet_new(context: &Arc<NodeContext>) {
    let came = std::mem::take(&mut *context.syncer.greeted.lock());
    let connected = context.mesh.connected();
    {
        let mut greetings = context.syncer.greetings.lock();
        came.into_iter()
            .for_each(|node| greetings.want(node, context.mesh.is_member(&node)));
        greetings.retain(|node| connected.contains(node));
    }
    loop {
        let Ok(slot) = context.syncer.greeters.clone().try_acquire_owned() else {
            return;
        };
        let last = context.syncer.greeters.available_permits() == 0;
        let Some(node) = context.syncer.greetings.lock().next(last, clock::now()) else {
            return;
        };
        let greeting = Greeting {
            context: context.clone(),
            node,
            too_slow: true,
        };
        beside(context, "a greeting", slot, greeting.run());
    }
}

/// A greeting under way; one that is given up was too slow, and the peer is greeted again later.
struct Greeting {
    context: Arc<NodeContext>,
    node: NodeId,
    too_slow: bool,
}

impl Greeting {
    async fn run(mut self) {
        self.too_slow = greet(&self.context, self.node).await;
    }
}

impl Drop for Greeting {
    fn drop(&mut self) {
        let mut greetings = self.context.syncer.greetings.lock();
        greetings.ended(&self.node, self.too_slow, clock::now());
        if self.too_slow {
            greetings.want(self.node, self.context.mesh.is_member(&self.node));
        }
    }
}

/// Asks a peer for the models that it knows, then wants comparisons with it. Returns true if the greeting was given up because
/// others wait.
async fn greet(context: &Arc<NodeContext>, node: NodeId) -> bool {
    let others_wait = || context.syncer.greetings.lock().others_wait(&node, clock::now());
    let offers = greetings::at_pace(context.sync.specs(node), others_wait).await;
    let given_up = offers.is_none();
    match offers {
        None => debug!(%node, "a peer is slow to say what models it knows while others wait: tried again later"),
        Some(Ok(offers)) => {
            for offered in offers {
                let announced = Announced {
                    id: offered.spec,
                    bytes: offered.bytes,
                    signature: offered.signature,
                    author: node,
                    carrier: node,
                    holders: vec![node],
                    compared: true,
                };
                spec_offers::consider(context, announced);
            }
        }
        Some(Err(error)) => debug!(%node, %error, "a peer does not say what models it knows"),
    }
    let joined = context
        .catalog
        .all()
        .into_iter()
        .filter(|m| m.joined().is_some() && m.readable_by(&node));
    context.syncer.want(joined.map(|m| (node, m.id)));
    given_up
}

/// Asks for a comparison with every peer that names a head which is unknown here.
async fn compare_claims(context: &Arc<NodeContext>) {
    let heard = std::mem::take(&mut *context.syncer.claims.lock());
    for (node, claims) in heard {
        for claim in claims {
            let Some(model) = context.catalog.get(&claim.spec).filter(|m| m.readable_by(&node)) else {
                continue;
            };
            let Some(joined) = model.joined() else { continue };
            if joined.heads.borrow().head.id == claim.checkpoint {
                continue;
            }
            // A full inbox loses one claim; the next heartbeat brings another.
            let (by, head) = (node, claim.checkpoint);
            let _ = joined
                .inbox
                .try_send(ModelCommand::Inputs(vec![Input::HeadClaim { by, head }]));
            let known = joined.ask(move |machine| machine.checkpoint(&claim.checkpoint).is_some());
            // If the head is unknown, or the model is too busy to answer, a comparison finds out.
            if !matches!(timeout(ASK_MAX, known).await, Ok(Ok(true) | Err(_))) {
                context.syncer.want([(node, claim.spec)]);
            }
        }
    }
}

fn compare_wanted(context: &Arc<NodeContext>) {
    let connected = context.mesh.connected();
    let absent = context
        .syncer
        .sync_queue
        .lock()
        .retain(|(node, _)| connected.contains(node));
    // A node that is not connected is compared with when it connects. Another node may have the wanted records meanwhile, so a
    // random one is asked.
    let mut anyone = std::mem::take(&mut *context.syncer.anyone.lock());
    anyone.extend(absent.into_iter().map(|(_, spec)| spec));
    for spec in anyone {
        let Some(model) = context.catalog.get(&spec) else {
            continue;
        };
        let readers: Vec<_> = connected.iter().filter(|node| model.readable_by(node)).collect();
        context
            .syncer
            .want(readers.choose(&mut rand::rng()).map(|node| (**node, spec)));
    }
    start_turns(context);
}

fn start_turns(context: &Arc<NodeContext>) {
    loop {
        let Ok(slot) = context.syncer.slots.clone().try_acquire_owned() else {
            return;
        };
        // A pause that ends does not wake the loop, which comes by every few seconds.
        let Some(pair) = context.syncer.sync_queue.lock().next(clock::now()) else {
            return;
        };
        let running = Running {
            context: context.clone(),
            pair,
            too_slow: true,
        };
        beside(context, "a comparison", slot, running.run());
    }
}

/// A comparison under way. Its turn ends when this value is dropped, for any reason. A comparison that is given up was too
/// slow.
struct Running {
    context: Arc<NodeContext>,
    pair: Pair,
    too_slow: bool,
}

impl Running {
    async fn run(mut self) {
        self.too_slow = at_pace(&self.context, self.pair).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.context
            .syncer
            .sync_queue
            .lock()
            .ended(&self.pair, self.too_slow, clock::now());
    }
}

/// Compares while the peer keeps up, or no other peer waits. Returns true if the peer was too slow.
async fn at_pace(context: &Arc<NodeContext>, (node, spec): Pair) -> bool {
    let (came, began) = (AtomicUsize::new(0), clock::now());
    let mut work = std::pin::pin!(compare(context, node, spec, &came));
    loop {
        match timeout(WINDOW, &mut work).await {
            Ok(Ok(())) => return false,
            Ok(Err(error)) => {
                debug!(%node, %spec, %error, "comparing records failed: tried again later");
                return clock::now() - began >= STALLED_AFTER;
            }
            Err(_) => {
                let slow = came.swap(0, Ordering::Relaxed) < WINDOW_RECORDS_MIN;
                if slow && context.syncer.sync_queue.lock().others_wait(&node, clock::now()) {
                    debug!(%node, %spec, "comparing records is too slow while others wait: tried again later");
                    return true;
                }
            }
        }
    }
}

/// Compares the records of a model with a peer, and counts those that come in `came`.
async fn compare(
    context: &Arc<NodeContext>,
    node: NodeId,
    spec: SpecId,
    came: &AtomicUsize,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let Some(joined) = context.catalog.get(&spec).and_then(|m| m.joined()) else {
        return Ok(());
    };
    let refused = joined.refused.lock().ids(clock::now());
    let (mut held, root) = joined
        .ask(|machine: &Machine| {
            let held = Held {
                records: machine.records().iter().copied().collect(),
                above: machine.sync_above(),
                refused,
            };
            (held, machine.root_round())
        })
        .await?;
    if held.above < root {
        archive::add_ids(&context.disk, spec, held.above, &mut held.records).await?;
    }
    let (sender, receiver) = mpsc::channel(BATCHES_MAX);
    let (missing, all_taken) = tokio::join!(
        context.sync.missing(node, spec, held, sender),
        take(context, &joined, node, receiver, came)
    );
    missing?;
    if !all_taken {
        return Err("it sent what it should not, or the model's task has ended".into());
    }
    for envelope in context.sync.states(node, spec).await? {
        states::consider(context, node, envelope).await;
    }
    context.downloads.nudge(node);
    joined
        .inbox
        .send(ModelCommand::Inputs(vec![Input::Compared(node)]))
        .await
        .map_err(|_| stopped())?;
    Ok(())
}

/// Verifies what a peer sent and hands it to the model, and remembers what the model does not keep; stops at the first forgery.
/// Returns true if all was taken in.
async fn take(
    context: &Arc<NodeContext>,
    joined: &Arc<Joined>,
    node: NodeId,
    mut batches: mpsc::Receiver<Vec<Record>>,
    came: &AtomicUsize,
) -> bool {
    while let Some(batch) = batches.recv().await {
        came.fetch_add(batch.len(), Ordering::Relaxed);
        let ids: Vec<_> = batch.iter().map(Record::id).collect();
        let verified = context
            .disk
            .blocking(move |_| batch.into_iter().map(verify).collect::<Option<Vec<_>>>())
            .await;
        let Some(inputs) = verified else {
            context
                .mesh
                .penalize(node, Fault::Forged, "sent a record whose signature is wrong".into());
            return false;
        };
        if joined.inbox.send(ModelCommand::Inputs(inputs)).await.is_err() {
            return false;
        }
        let not_kept = move |machine: &Machine| ids.into_iter().filter(|id| !machine.keeps(id)).collect::<Vec<_>>();
        let Ok(refused) = joined.ask(not_kept).await else {
            return false;
        };
        joined.refused.lock().add(refused, clock::now());
    }
    true
}

fn verify(record: Record) -> Option<Input> {
    match record {
        Record::Contribution(signed) => identity::verify(&signed).then_some(Input::Contribution(signed)),
        Record::Seal(signed) => identity::verify(&signed).then_some(Input::Seal(signed)),
        Record::Consent(signed) => identity::verify(&signed).then_some(Input::Consent(signed)),
        Record::Proof(proof) => {
            let valid = proof.check().is_ok() && identity::verify(&proof.first) && identity::verify(&proof.second);
            valid.then_some(Input::Proof(proof))
        }
    }
}

/// Tells each model the delay to its connected members ([`Input::DelayMs`]), which the sealers' stagger follows.
fn measure_delay(context: &NodeContext) {
    for model in context.catalog.all() {
        let Some(joined) = model.joined() else { continue };
        let connected = context.mesh.connected();
        let members = connected.iter().filter(|node| model.spec().admits(node));
        let rtts: Vec<_> = members.filter_map(|node| context.mesh.rtt(node)).collect();
        if let Some(rtt) = typical_rtt(rtts) {
            let one_way = ms(rtt).div_ceil(2);
            // A model that is too busy to take this delay takes the next one.
            let _ = joined
                .inbox
                .try_send(ModelCommand::Inputs(vec![Input::DelayMs(one_way)]));
        }
    }
}

/// Returns whole milliseconds, at most [`u64::MAX`].
fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the round-trip time within which about three quarters of the members answer. Of two or more it is never the slowest
/// one's: one member could make every round wait by answering late.
fn typical_rtt(mut rtts: Vec<Duration>) -> Option<Duration> {
    rtts.sort_unstable();
    let at = rtts.len().checked_sub(1)? * 3 / 4;
    rtts.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_member_does_not_set_the_stagger() {
        let rtt = |ms: &[u64]| typical_rtt(ms.iter().map(|ms| Duration::from_millis(*ms)).collect());
        assert_eq!(rtt(&[]), None);
        assert_eq!(rtt(&[40]), Some(Duration::from_millis(40)));
        for others in 1..20 {
            let mut all = vec![20; others];
            all.push(60_000);
            assert_eq!(rtt(&all), Some(Duration::from_millis(20)), "{others} others");
        }
        assert_eq!(rtt(&[10, 20, 30, 40, 50]), Some(Duration::from_millis(40)));
    }
}
