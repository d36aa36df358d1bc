use std::collections::BTreeSet;

use super::*;
use crate::record::{Dtype, End, RoundPolicy, Rule, TensorSpec};

fn node(n: u8) -> NodeId {
    NodeId([n; 32])
}

fn nodes(ids: &[u8]) -> BTreeSet<NodeId> {
    ids.iter().map(|n| node(*n)).collect()
}

fn spec(members: &[u8], k: u32, target: Option<u32>) -> Spec {
    let tensor = TensorSpec {
        name: "w".into(),
        dtype: Dtype::F32,
        shape: vec![1],
    };
    Spec {
        name: "m".parse().unwrap(),
        tensors: vec![tensor].into(),
        strategy: Rule::new("fedavg/1"),
        aggregation: vec![],
        rounds: RoundPolicy {
            min_contributions: k,
            target,
            ..RoundPolicy::default()
        },
        codec: Rule::new("none/1"),
        privacy: Rule::new("none/1"),
        membership: Membership::List(nodes(members)),
        checkpoint0: BlobId([0; 32]),
        fixed: None,
        creator: node(1),
        succeeds: None,
        metrics: vec![],
        end: End::default(),
        schedules: Default::default(),
        earlier_rounds: 0,
    }
}

fn change(add: &[u8], remove: &[u8]) -> Change {
    Change {
        proposer: node(1),
        add: nodes(add),
        remove: nodes(remove),
    }
}

#[test]
fn the_successor_differs_in_members_weights_and_creator_alone() {
    let old = spec(&[1, 2, 3], 2, None);
    let new = change(&[4, 5], &[2]).successor(&old, 9, BlobId([7; 32])).unwrap();
    assert_eq!(new.membership, Membership::List(nodes(&[1, 3, 4, 5])));
    assert_eq!((new.checkpoint0, new.creator), (BlobId([7; 32]), node(1)));
    assert_eq!(new.succeeds, Some(old.id()));
    assert_eq!(new.earlier_rounds, 9);
    let newest = change(&[6], &[]).successor(&new, 4, BlobId([8; 32])).unwrap();
    assert_eq!(newest.earlier_rounds, 13);
    assert_eq!(new.rounds.min_contributions, 3, "a majority stays a majority");
    new.check().unwrap();
    let same = Spec {
        membership: old.membership.clone(),
        rounds: old.rounds.clone(),
        checkpoint0: old.checkpoint0,
        fixed: None,
        creator: old.creator,
        succeeds: None,
        earlier_rounds: 0,
        ..new
    };
    assert_eq!(same, old);
}

#[test]
fn k_and_target_never_exceed_the_members() {
    let successor = |k, target, change: Change| {
        let old = spec(&[1, 2, 3, 4, 5], k, target);
        let new = change.successor(&old, 9, BlobId([7; 32])).unwrap();
        new.check().unwrap();
        (new.rounds.min_contributions, new.rounds.target)
    };
    assert_eq!(successor(5, None, change(&[], &[4, 5])), (3, None));
    assert_eq!(successor(1, Some(5), change(&[], &[4, 5])), (1, Some(3)));
    assert_eq!(successor(3, Some(3), change(&[6, 7, 8], &[])), (5, Some(5)));
    assert_eq!(successor(2, None, change(&[6], &[])), (2, None));
}

#[test]
fn a_change_that_does_not_fit_is_refused_by_name() {
    let old = spec(&[1, 2, 3], 2, None);
    let fault = |change: Change| change.members(&old).unwrap_err().to_string();
    assert!(fault(change(&[], &[])).contains("1 to 64"));
    assert!(fault(change(&[2], &[])).contains("a member already"));
    assert!(fault(change(&[], &[9])).contains("cannot be removed"));
    assert!(fault(change(&[], &[1, 2, 3])).contains("0 members"));
    let many: Vec<u8> = (10..75).collect();
    assert!(fault(change(&many, &[])).contains("65 nodes"));
    let stranger = Change {
        proposer: node(9),
        ..change(&[4], &[])
    };
    assert!(fault(stranger).contains("the proposer"));
    let open = Spec {
        membership: Membership::Open,
        ..spec(&[1], 1, Some(1))
    };
    assert!(change(&[4], &[]).members(&open).is_err());
}

#[test]
fn a_consent_is_checked_as_a_whole() {
    let old = spec(&[1, 2, 3], 2, None);
    let consent = Consent {
        spec: old.id(),
        author: node(2),
        number: 1,
        change: Some(change(&[4], &[])),
        handover: None,
    };
    assert_eq!(consent.check(&old), Ok(()));
    let handover = Some(Handover {
        round: 3,
        checkpoint: CheckpointId([1; 32]),
        bound: false,
    });
    let withdrawn = Consent {
        change: None,
        ..consent.clone()
    };
    assert_eq!(withdrawn.check(&old), Ok(()));
    assert!(Consent { handover, ..withdrawn }.check(&old).is_err());
    let stranger = Consent {
        author: node(4),
        ..consent
    };
    assert!(stranger.check(&old).is_err());
}

#[test]
fn defaults_follow_the_list_and_what_was_chosen_stays() {
    let limit = |spec: &Spec| strategy::max_share(&spec.strategy);
    // A list that grows out of the sizes without defaults gets them, and one that shrinks loses them.
    let two = spec(&[1, 2], 2, None);
    let five = change(&[3, 4, 5], &[]).successor(&two, 9, BlobId([7; 32])).unwrap();
    assert_eq!((limit(&five), five.aggregation.len()), (Some(0.4), 1));
    assert_eq!(five.aggregation[0].params["f"], 1.0);
    let eight = change(&[6, 7, 8], &[]).successor(&five, 9, BlobId([7; 32])).unwrap();
    assert_eq!((limit(&eight), eight.aggregation[0].params["f"]), (Some(0.25), 2.0));
    let two = change(&[], &[3, 4, 5, 6, 7, 8])
        .successor(&eight, 9, BlobId([7; 32]))
        .unwrap();
    assert_eq!((limit(&two), two.aggregation.len()), (None, 0));

    let mut chosen = spec(&[1, 2, 3], 2, None);
    strategy::set_max_share(&mut chosen.strategy, Some(1.0));
    chosen.aggregation = vec![Rule::new("mean/1")];
    let grown = change(&[4, 5, 6], &[]).successor(&chosen, 9, BlobId([7; 32])).unwrap();
    assert_eq!(
        (limit(&grown), grown.aggregation),
        (Some(1.0), vec![Rule::new("mean/1")])
    );
}

#[test]
fn a_change_breaks_no_bound_and_moves_no_trust() {
    let krum = Rule {
        id: "krum/1".into(),
        params: [("f".to_owned(), 1.0)].into(),
    };
    let mut five = spec(&[1, 2, 3, 4, 5], 5, None);
    five.aggregation = vec![krum];
    let error = change(&[], &[5]).members(&five).unwrap_err().to_string();
    assert!(error.contains("krum/1") && error.contains("may have 4"), "{error}");
    assert!(change(&[6], &[]).members(&five).is_ok());

    five.aggregation = vec![Rule::new("fltrust/1")];
    let by_other = Change {
        proposer: node(2),
        ..change(&[6], &[])
    };
    let error = by_other.members(&five).unwrap_err().to_string();
    assert!(error.contains("trusts the creator"), "{error}");
    assert!(change(&[6], &[]).members(&five).is_ok());
}

#[test]
fn a_sum_with_distributed_noise_stays_a_sum_however_many_members_there_are() {
    let mut four = spec(&[1, 2, 3, 4], 3, None);
    four.aggregation = defaults::rules(4, 3);
    four.rounds.max_staleness = 0;
    four.privacy = Rule {
        id: "distributed-gaussian/1".into(),
        params: [("clip".to_owned(), 1.0), ("noise_multiplier".to_owned(), 1.0)].into(),
    };
    let seven = change(&[5, 6, 7], &[]).successor(&four, 1, BlobId([7; 32])).unwrap();
    assert!(seven.aggregation.is_empty(), "{:?}", seven.aggregation);
    assert_eq!(crate::privacy::check_spec(&seven), Ok(()));
}
