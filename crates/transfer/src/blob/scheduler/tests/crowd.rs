//! Tests of sessions that make room.

use qres_wire::clock;

use super::*;
use crate::blob::crowd::LEAST_RATE;

/// A [`DownloadScheduler`] with a clock and the bytes of each session, which only the test changes.
struct Desk {
    scheduler: DownloadScheduler,
    now: Instant,
    connected: Vec<NodeId>,
    sessions: Vec<Session>,
    received: BTreeMap<Session, u64>,
}

impl Desk {
    fn new(connected: &[u8]) -> Self {
        Self {
            scheduler: DownloadScheduler::default(),
            now: clock::now(),
            connected: connected.iter().map(|n| node(*n)).collect(),
            sessions: vec![],
            received: BTreeMap::new(),
        }
    }

    fn want(&mut self, blob: u8, holders: &[u8]) {
        self.scheduler.want(DownloadRequest {
            spec: SpecId([9; 32]),
            blob: BlobId([blob; 32]),
            bytes: None,
            bytes_max: 1000,
            holders: holders.iter().map(|n| node(*n)).collect(),
            owed_by: None,
            traceparent: None,
        });
        self.steps();
    }

    /// Takes every step there is; returns how many sessions began.
    fn steps(&mut self) -> usize {
        let before = self.sessions.len();
        while let Some(step) = self.scheduler.next(&self.connected, self.now, |_| 1) {
            match step {
                Step::Look(key) => assert!(!self.scheduler.looked(key, false)),
                Step::Fetch(key, peer, _) => self.sessions.push((key, peer)),
            }
        }
        self.sessions.len() - before
    }

    fn makes_room(&mut self) -> Option<Session> {
        let received = |session| self.received.get(&session).copied().unwrap_or(0);
        self.scheduler.makes_room(&self.connected, self.now, |_| 1, received)
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn bring(&mut self, bytes: u64) {
        for session in self.sessions.clone() {
            *self.received.entry(session).or_default() += bytes;
        }
    }

    fn ended(&mut self, session: Session) {
        self.sessions.retain(|other| *other != session);
        self.scheduler.ended(session.0, session.1, Outcome::Gone, self.now);
    }
}

/// Makes a desk with four holders of two sessions each: one blob for each session, and only one holder for each blob.
fn four_holders() -> Desk {
    let mut desk = Desk::new(&[1, 2, 3, 4]);
    for blob in 0..8 {
        desk.want(blob, &[1 + blob / 2]);
        // The sessions get different ages.
        desk.pass(Duration::from_millis(1));
    }
    assert_eq!(desk.sessions.len(), SESSIONS_MAX);
    desk
}

const ENOUGH: u64 = LEAST_RATE * SLOW_AFTER.as_secs();

#[test]
fn holders_that_drip_make_room_for_one_that_waits_one_at_a_time() {
    let mut desk = four_holders();
    desk.pass(SLOW_AFTER);
    assert_eq!(desk.makes_room(), None, "nobody waits");
    desk.connected.push(node(5));
    desk.want(100, &[5]);
    assert_eq!(desk.sessions.len(), SESSIONS_MAX);
    let youngest = desk.sessions[SESSIONS_MAX - 1];
    assert_eq!(desk.makes_room(), Some(youngest));
    assert_eq!(desk.makes_room(), None, "it is leaving");
    desk.ended(youngest);
    assert_eq!(desk.steps(), 1);
    // The newcomer is the youngest session and not slow yet. The next session to leave makes room for the blob that lost
    // its own.
    desk.want(101, &[5]);
    let next = desk.makes_room().expect("a slow one");
    assert_eq!(next, desk.sessions[SESSIONS_MAX - 2]);
}

#[test]
fn bytes_keep_a_session_and_a_burst_does_not_for_long() {
    let mut desk = four_holders();
    desk.connected.push(node(5));
    desk.want(100, &[5]);
    desk.pass(SLOW_AFTER);
    desk.bring(1 << 40);
    assert_eq!(desk.makes_room(), None);
    assert_eq!(
        desk.scheduler.wake(desk.now),
        Some(desk.now + SLOW_AFTER),
        "the next window"
    );
    desk.pass(SLOW_AFTER);
    desk.bring(ENOUGH);
    assert_eq!(desk.makes_room(), None);
    desk.pass(SLOW_AFTER);
    desk.bring(ENOUGH - 1);
    assert_eq!(desk.makes_room(), Some(desk.sessions[SESSIONS_MAX - 1]));
}

#[test]
fn a_session_is_young_until_its_first_window_is_over() {
    let mut desk = Desk::new(&[1, 2, 3, 4, 5]);
    for blob in 0..8 {
        desk.want(blob, &[1 + blob / 2]);
    }
    desk.want(100, &[5]);
    desk.pass(SLOW_AFTER.checked_sub(Duration::from_millis(1)).unwrap());
    assert_eq!(desk.makes_room(), None);
    desk.pass(Duration::from_millis(1));
    assert!(desk.makes_room().is_some());
}

#[test]
fn three_holders_that_drip_one_blob_make_room_for_a_fourth() {
    let mut desk = Desk::new(&[1, 2, 3, 4]);
    desk.want(1, &[1, 2, 3, 4]);
    for _ in 1..SESSIONS_PER_BLOB_MAX {
        desk.pass(SLOW_AFTER);
        assert_eq!(desk.steps(), 1, "company");
    }
    assert_eq!(desk.makes_room(), None, "the last one is young");
    desk.pass(SLOW_AFTER);
    assert_eq!(desk.steps(), 0);
    let youngest = desk.sessions[SESSIONS_PER_BLOB_MAX - 1];
    assert_eq!(desk.makes_room(), Some(youngest));
    desk.ended(youngest);
    // The sessions that are left began long ago, so the next peer is asked at once.
    assert_eq!(desk.steps(), 1);
    assert_eq!(desk.sessions.last().map(|session| session.1), Some(node(4)));
}
