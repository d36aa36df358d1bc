//! Tests of the schedule of downloads.

mod crowd;

use qres_wire::clock;

use super::*;

fn node(n: u8) -> NodeId {
    NodeId([n; 32])
}

fn want(blob: u8, holders: &[u8]) -> DownloadRequest {
    DownloadRequest {
        spec: SpecId([9; 32]),
        blob: BlobId([blob; 32]),
        bytes: Some(100),
        bytes_max: 1000,
        holders: holders.iter().map(|n| node(*n)).collect(),
        owed_by: None,
        traceparent: None,
    }
}

/// A [`DownloadScheduler`] with a clock that only the test moves.
struct Desk {
    scheduler: DownloadScheduler,
    now: Instant,
    connected: Vec<NodeId>,
    missing: usize,
}

impl Desk {
    fn new(connected: &[u8]) -> Self {
        Self {
            scheduler: DownloadScheduler::default(),
            now: clock::now(),
            connected: connected.iter().map(|n| node(*n)).collect(),
            missing: 1,
        }
    }

    /// Takes every step there is; a look into the store finds nothing. Returns each blob that was asked for, with the
    /// peer.
    fn steps(&mut self) -> Vec<(Key, NodeId)> {
        let mut asked = Vec::new();
        let missing = self.missing;
        while let Some(step) = self.scheduler.next(&self.connected, self.now, |_| missing) {
            match step {
                Step::Look(key) => assert!(!self.scheduler.looked(key, false)),
                Step::Fetch(key, peer, goal) => {
                    assert_eq!(goal.blob, key.blob);
                    asked.push((key, peer));
                }
            }
        }
        asked
    }

    fn one(&mut self) -> (Key, NodeId) {
        let asked = self.steps();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked[0]
    }

    fn ended(&mut self, (key, peer): (Key, NodeId), outcome: Outcome) -> Then {
        self.scheduler.ended(key, peer, outcome, self.now)
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }
}

#[test]
fn a_blob_is_looked_for_in_the_store_before_anyone_is_asked() {
    let mut desk = Desk::new(&[1]);
    desk.scheduler.want(want(1, &[1]));
    let Some(Step::Look(key)) = desk.scheduler.next(&desk.connected, desk.now, |_| 0) else {
        panic!("a look");
    };
    assert!(desk.scheduler.next(&desk.connected, desk.now, |_| 0).is_none());
    assert!(desk.scheduler.looked(key, true));
    assert!(desk.steps().is_empty() && !desk.scheduler.waiting());
}

#[test]
fn holders_come_first_then_everyone_connected_and_nobody_else() {
    let mut desk = Desk::new(&[1, 2, 3]);
    desk.scheduler.want(want(1, &[8, 3]));
    let third = desk.one();
    assert_eq!(third.1, node(3), "8 is not connected");
    desk.ended(third, Outcome::Got(Got::Absent));
    let first = desk.one();
    assert_eq!(first.1, node(1));
    desk.ended(first, Outcome::Got(Got::Denied));
    let second = desk.one();
    assert_eq!(second.1, node(2));
    desk.ended(second, Outcome::Gone);
    assert!(desk.steps().is_empty() && desk.scheduler.waiting());
    assert_eq!(desk.scheduler.wake(desk.now), Some(desk.now + BACKOFF_MIN));
}

#[test]
fn waits_double_up_to_a_limit_and_a_nudge_or_a_second_want_ends_them() {
    let mut desk = Desk::new(&[1]);
    desk.scheduler.want(want(1, &[1]));
    let mut wait = BACKOFF_MIN;
    for _ in 0..12 {
        let asked = desk.one();
        desk.ended(asked, Outcome::Got(Got::Absent));
        assert_eq!(desk.scheduler.wake(desk.now), Some(desk.now + wait));
        desk.pass(wait - Duration::from_millis(1));
        assert!(desk.steps().is_empty());
        desk.pass(Duration::from_millis(1));
        wait = (wait * 2).min(BACKOFF_MAX);
    }
    let asked = desk.one();
    desk.ended(asked, Outcome::Got(Got::Absent));
    desk.scheduler.nudge(&node(1));
    let asked = desk.one();
    desk.ended(asked, Outcome::Got(Got::Absent));
    desk.scheduler.want(want(1, &[1]));
    desk.one();
}

#[test]
fn sessions_are_few_in_all_and_with_one_holder() {
    let mut desk = Desk::new(&[1, 2, 3, 4, 5]);
    for blob in 0..20 {
        desk.scheduler.want(want(blob, &[1, 2, 3, 4, 5]));
    }
    let asked = desk.steps();
    assert_eq!(asked.len(), SESSIONS_MAX);
    for peer in desk.connected.clone() {
        let with_one = asked.iter().filter(|(_, asked)| *asked == peer).count();
        assert!(with_one <= SESSIONS_PER_HOLDER_MAX);
    }
    assert_eq!(
        asked.iter().map(|(key, _)| key.blob.0[0]).collect::<Vec<_>>(),
        (0..8).collect::<Vec<_>>()
    );
    desk.ended(asked[3], Outcome::Got(Got::Here));
    assert_eq!(desk.one().0.blob, BlobId([8; 32]), "the next in line");
}

#[test]
fn whoever_denies_what_it_owes_is_blamed_and_others_are_not() {
    let mut desk = Desk::new(&[1, 2]);
    desk.scheduler.want(DownloadRequest {
        owed_by: Some(node(1)),
        ..want(1, &[1, 2])
    });
    let mut blamed = vec![];
    for _ in 0..2 * DENIALS_MAX {
        let asked = desk.one();
        if desk.ended(asked, Outcome::Got(Got::Absent)) == Then::Exhausted {
            blamed.push(asked.1);
        }
        desk.pass(BACKOFF_MAX);
    }
    assert!(
        !blamed.is_empty() && blamed.iter().all(|peer| *peer == node(1)),
        "{blamed:?}"
    );
}

#[test]
fn forged_bytes_are_enough_and_broken_sessions_add_up_unless_something_comes() {
    let mut desk = Desk::new(&[1]);
    desk.scheduler.want(want(1, &[1]));
    for n in 1..=2 * FAILURES_MAX {
        let asked = desk.one();
        let progress = n == FAILURES_MAX;
        let then = desk.ended(asked, Outcome::Broken { progress });
        let exhausted = n == 2 * FAILURES_MAX - 1;
        assert_eq!(then == Then::Exhausted, exhausted, "{n}");
        desk.pass(BACKOFF_MAX);
    }
    let asked = desk.one();
    desk.ended(asked, Outcome::Forged);
    desk.pass(BACKOFF_MAX * 10);
    desk.scheduler.nudge(&node(1));
    desk.scheduler.want(want(1, &[1]));
    assert!(desk.steps().is_empty(), "never again");
}

#[test]
fn a_busy_holder_is_left_alone_for_every_blob() {
    let mut desk = Desk::new(&[1]);
    desk.scheduler.want(want(1, &[1]));
    let asked = desk.one();
    desk.ended(asked, Outcome::Got(Got::Busy(Duration::from_secs(1))));
    desk.scheduler.want(want(2, &[1]));
    assert!(desk.steps().is_empty());
    desk.pass(Duration::from_secs(1));
    assert_eq!(desk.steps().len(), 2);
}

#[test]
fn a_full_disk_blames_nobody_and_waits() {
    let mut desk = Desk::new(&[1, 2]);
    desk.scheduler.want(want(1, &[1]));
    let asked = desk.one();
    assert_eq!(desk.ended(asked, Outcome::Store), Then::On);
    assert!(desk.steps().is_empty(), "another holder would not help");
    desk.pass(BACKOFF_MIN);
    assert_eq!(desk.one().1, node(1));
}

#[test]
fn a_large_blob_is_split_over_holders_and_a_slow_one_gets_company() {
    let mut desk = Desk::new(&[1, 2, 3, 4, 5]);
    desk.missing = SPLIT_SEGMENTS_MIN;
    desk.scheduler.want(want(1, &[2, 3]));
    let asked: Vec<NodeId> = desk.steps().into_iter().map(|(_, peer)| peer).collect();
    assert_eq!(asked, [node(2), node(3)], "holders only");

    let mut desk = Desk::new(&[1, 2]);
    desk.scheduler.want(want(1, &[2]));
    assert_eq!(desk.one().1, node(2));
    assert_eq!(desk.scheduler.wake(desk.now), Some(desk.now + SLOW_AFTER));
    desk.pass(SLOW_AFTER);
    assert_eq!(desk.one().1, node(1), "anyone");
    assert!(desk.steps().is_empty());
}

#[test]
fn what_is_cancelled_is_gone_and_comes_back_as_another() {
    let mut desk = Desk::new(&[1]);
    desk.scheduler.want(want(1, &[1]));
    let old = desk.one();
    desk.scheduler.cancel(SpecId([8; 32]), old.0.blob);
    assert!(desk.scheduler.wanted(old.0), "of another model");
    desk.scheduler.cancel(old.0.spec, old.0.blob);
    assert!(!desk.scheduler.wanted(old.0));
    desk.scheduler.want(want(1, &[1]));
    let new = desk.one();
    assert_ne!(old.0, new.0);
    assert_eq!(
        desk.ended(old, Outcome::Got(Got::Here)),
        Then::On,
        "nobody wants that one"
    );
    assert_eq!(desk.ended(new, Outcome::Got(Got::Here)), Then::Here);
    assert!(desk.scheduler.sessions.is_empty() && desk.scheduler.wants.is_empty() && desk.scheduler.numbers.is_empty());
}

#[test]
fn two_records_that_name_two_lengths_let_either_in() {
    let mut desk = Desk::new(&[1]);
    desk.scheduler.want(want(1, &[1]));
    desk.scheduler.want(DownloadRequest {
        bytes: Some(300),
        ..want(1, &[2])
    });
    let Some(Step::Look(key)) = desk.scheduler.next(&desk.connected, desk.now, |_| 0) else {
        panic!("a look");
    };
    desk.scheduler.looked(key, false);
    let Some(Step::Fetch(_, _, goal)) = desk.scheduler.next(&desk.connected, desk.now, |_| 0) else {
        panic!("a fetch");
    };
    assert_eq!((goal.bytes, goal.bytes_max), (None, 300));
}

#[test]
fn a_blob_that_two_models_want_is_fetched_for_each_of_them() {
    let mut desk = Desk::new(&[1]);
    desk.scheduler.want(want(1, &[1]));
    desk.scheduler.want(DownloadRequest {
        spec: SpecId([8; 32]),
        ..want(1, &[1])
    });
    let asked = desk.steps();
    let specs: Vec<_> = asked.iter().map(|(key, _)| key.spec).collect();
    assert_eq!(specs, [SpecId([9; 32]), SpecId([8; 32])]);
    assert_eq!(desk.ended(asked[0], Outcome::Got(Got::Here)), Then::Here);
    assert!(desk.scheduler.wanted(asked[1].0), "the other one is still on its way");
    assert_eq!(desk.ended(asked[1], Outcome::Got(Got::Here)), Then::Here);
}
