//! A node whose disk takes no transaction for a while: what it holds in memory alone goes to no other node.

use qres_fed::record::{Contribution, Report};
use qres_fed::round::RecordId;
use qres_transfer::ContentProvider;
use qres_wire::clock;

use super::*;
use crate::background::peer_access::PeerAccess;

/// A contribution of another member on checkpoint 0.
fn contribution(by: &Identity, model: &ModelView, update_bytes: u64, variant: u8) -> Signed<Contribution> {
    by.sign(Contribution {
        spec: model.id,
        parent: model.head.as_ref().unwrap().id,
        round: 1,
        author: by.node(),
        samples: 1,
        update: BlobId([variant; 32]),
        update_bytes,
        fidelity: 1.0,
        source: None,
        report: Report::default(),
        releases: 0,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_peer_is_told_a_record_that_a_crash_could_take_and_none_stays_refused() {
    let dir = tempfile::tempdir().unwrap();
    let node = node(dir.path()).await;
    let (context, other) = (node.context.clone(), Identity::ephemeral());
    let shared = CreateModel {
        membership: Some(Membership::List([context.identity.node(), other.node()].into())),
        ..request(None)
    };
    let mut upload = node.create_model(shared).await.unwrap();
    upload.write(weights(0.0)).await.unwrap();
    let created = upload.finish().await.unwrap();
    let model = context.catalog.get(&created.id).unwrap();
    let (joined, bytes) = (model.joined().unwrap(), model.update_bytes.unwrap());
    let access = PeerAccess {
        context: context.clone(),
    };
    let told = || access.record_ids(other.node(), created.id, 0);
    assert_eq!(within(told()).await, Some(vec![]));

    context.disk.store.fill(true);
    let signed = contribution(&other, &created, bytes, 1);
    let id = RecordId::Contribution(signed.record.id());
    let hear = |signed| ModelCommand::Inputs(vec![Input::Contribution(signed)]);
    joined.inbox.send(hear(signed)).await.unwrap();
    let held = within(joined.ask(move |machine| machine.keeps(&id))).await.unwrap();
    assert!(held, "it is in memory");
    assert_eq!(within(told()).await, None, "and nowhere else");

    // A comparison brings another record meanwhile. The task passes it over, so it looks like one that is not welcome.
    let missed = contribution(&other, &created, bytes, 2);
    let missed_id = RecordId::Contribution(missed.record.id());
    joined.inbox.send(hear(missed)).await.unwrap();
    let kept = within(joined.ask(move |machine| machine.keeps(&missed_id)))
        .await
        .unwrap();
    assert!(!kept);
    joined.refused.lock().add([missed_id], clock::now());
    context.disk.store.fill(false);
    within(async {
        while told().await.is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(within(told()).await, Some(vec![(1, id)]), "it is on the disk");
    assert!(
        joined.refused.lock().ids(clock::now()).is_empty(),
        "it is asked for again"
    );
    within(node.stop()).await;
}
