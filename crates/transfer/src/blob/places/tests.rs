//! Tests of the upload places, with a clock that only the test moves.

use tokio::time::advance;

use super::*;

fn node(n: u8) -> NodeId {
    NodeId([n; 32])
}

fn held(place: &Place) -> bool {
    !place.revoked().is_cancelled()
}

fn send(place: &Place, bytes: u64) {
    place.sent().fetch_add(bytes, Ordering::Relaxed);
}

/// Takes `count` places for the strangers 1, 2, ..., one place for each.
fn taken(places: &Places, count: u8) -> Vec<Place> {
    (1..=count)
        .map(|n| places.take(node(n), false).expect("room"))
        .collect()
}

const LITTLE: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn one_peer_cannot_take_everyones_room_and_what_ends_makes_room() {
    let places = Places::new(3, 2);
    let first = places.take(node(1), false).unwrap();
    let _second = places.take(node(1), false).unwrap();
    assert!(places.take(node(1), false).is_none(), "per peer");
    let _third = places.take(node(2), false).unwrap();
    assert!(places.take(node(2), false).is_none(), "in all");
    drop(first);
    assert!(places.take(node(2), false).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_place_without_bytes_goes_to_another_after_the_grace_and_not_while_there_is_room() {
    let places = Places::new(3, 2);
    let mut two = taken(&places, 2);
    advance(GRACE * 10).await;
    let third = places.take(node(3), false).expect("room");
    assert!(two.iter().all(held), "there was room");
    two.remove(0);
    let fourth = places.take(node(4), false).expect("room");
    advance(GRACE.checked_sub(LITTLE).unwrap()).await;
    let fifth = places.take(node(5), false).expect("the slow one's place");
    assert!(!held(&two[0]), "slow since long");
    assert!(places.take(node(6), false).is_none() && held(&third) && held(&fourth));
    advance(LITTLE).await;
    let _sixth = places.take(node(6), false).expect("the grace is over");
    assert!(!(held(&third) && held(&fourth)) && held(&fifth));
}

#[tokio::test(start_paused = true)]
async fn bytes_keep_a_place_and_the_one_with_fewest_goes_first() {
    let places = Places::new(3, 1);
    let three = taken(&places, 3);
    for _ in 0..10 {
        advance(Duration::from_secs(2)).await;
        send(&three[0], 2 * LEAST_RATE);
        send(&three[1], LEAST_RATE);
        send(&three[2], LEAST_RATE / 2);
    }
    let first = places.take(node(4), false).expect("a slow one's place");
    assert_eq!(three.iter().map(held).collect::<Vec<_>>(), [true, true, false]);
    let second = places.take(node(5), false).expect("the other slow one's");
    assert_eq!(three.iter().map(held).collect::<Vec<_>>(), [true, false, false]);
    assert!(places.take(node(6), false).is_none() && held(&first) && held(&second));
}

#[tokio::test(start_paused = true)]
async fn a_burst_buys_no_more_than_the_grace() {
    let places = Places::new(1, 1);
    let place = places.take(node(1), false).unwrap();
    send(&place, 1 << 40);
    assert!(places.take(node(2), false).is_none());
    advance(GRACE).await;
    assert!(places.take(node(2), false).is_some() && !held(&place));
}

#[tokio::test(start_paused = true)]
async fn asking_anew_begins_no_new_grace_and_a_slow_peer_goes_behind_the_others() {
    let places = Places::new(4, 4);
    let step = GRACE / 5;
    for _ in 0..5 {
        let place = places.take(node(1), false).expect("room");
        advance(step).await;
        drop(place);
    }
    // Peer 1 is slow by now: of the three places that strangers may hold, it gets only those that leave one free.
    let again = places.take(node(1), false).expect("room enough");
    let second = places.take(node(1), false).expect("room enough");
    assert!(places.take(node(1), false).is_none(), "the last one is for others");
    let other = places.take(node(2), false).expect("room");
    let _more = places.take(node(3), false).expect("the slow one's place");
    assert!(!held(&again) || !held(&second));
    advance(GRACE).await;
    assert!(places.take(node(1), false).is_none(), "a slow one takes nobody's place");
    assert!(held(&other));
}

#[tokio::test(start_paused = true)]
async fn a_debt_has_an_end_and_is_made_good_by_staying_away() {
    let places = Places::new(1, 1);
    let place = places.take(node(1), false).unwrap();
    advance(DEBT_MAX * 100).await;
    let other = places.take(node(2), false).expect("the slow one's place");
    drop(place);
    advance(LITTLE).await;
    send(&other, 1 << 40);
    assert!(lock(&places.ledger).is_slow(&node(1)));
    let away = DEBT_MAX * RECOVERY;
    advance(away.checked_sub(LITTLE * 2).unwrap()).await;
    assert!(places.take(node(1), false).is_none(), "still in debt");
    advance(LITTLE * 2).await;
    drop(other);
    assert!(places.take(node(1), false).is_some());
    advance(away * 2).await;
    lock(&places.ledger).settle(Instant::now());
    assert!(lock(&places.ledger).accounts.is_empty(), "a full account is forgotten");
}

#[tokio::test(start_paused = true)]
async fn strangers_have_their_share_and_members_come_first() {
    let places = Places::new(16, 4);
    let strangers = taken(&places, 12);
    assert!(places.take(node(13), false).is_none(), "the rest is the members'");
    let mut members = vec![];
    for n in 101..=104 {
        members.push(places.take(node(n), true).expect("kept for members"));
    }
    assert!(places.take(node(105), true).is_none(), "everyone is new");
    // Strangers that are fast give way to members once the grace is over, the slowest first.
    advance(GRACE).await;
    for (n, place) in strangers.iter().enumerate() {
        send(place, 100 * LEAST_RATE + n as u64);
    }
    members.iter().for_each(|place| send(place, 100 * LEAST_RATE));
    assert!(
        places.take(node(13), false).is_none(),
        "fast strangers keep theirs from a stranger"
    );
    members.push(places.take(node(105), true).expect("a stranger's place"));
    assert!(!held(&strangers[0]) && strangers[1..].iter().all(held) && members.iter().all(held));
}

#[tokio::test(start_paused = true)]
async fn a_stranger_that_waits_for_its_share_takes_no_member_s_place() {
    let places = Places::new(4, 4);
    let member = places.take(node(9), true).unwrap();
    advance(GRACE).await;
    let strangers = taken(&places, 3);
    assert!(places.take(node(5), false).is_none() && held(&member) && strangers.iter().all(held));
    advance(GRACE).await;
    assert!(places.take(node(5), false).is_some());
    assert!(held(&member), "slow strangers before slow members");
}

#[tokio::test(start_paused = true)]
async fn accounts_are_few_and_the_emptiest_stay() {
    let places = Places::new(1, 1);
    let id = |n: usize| {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&(n as u64).to_le_bytes());
        NodeId(id)
    };
    // No time passes, so no account recovers.
    let at = Instant::now();
    for n in 0..ACCOUNTS_MAX {
        let credit = n as i64 - 1;
        lock(&places.ledger).accounts.insert(id(n), Account { credit, at });
    }
    drop(places.take(id(0), false));
    assert_eq!(lock(&places.ledger).accounts.len(), ACCOUNTS_MAX);
    let _place = places.take(id(ACCOUNTS_MAX), false).expect("room");
    let ledger = lock(&places.ledger);
    assert_eq!(ledger.accounts.len(), ACCOUNTS_MAX);
    assert!(ledger.is_slow(&id(0)) && ledger.accounts.contains_key(&id(ACCOUNTS_MAX)));
    assert!(
        !ledger.accounts.contains_key(&id(ACCOUNTS_MAX - 1)),
        "the fullest made room"
    );
}
