//! The application score of a peer: 0 is clean, faults lower it, and time brings it back towards 0.
//!
//! | fault | costs | to disconnect | to ban |
//! | --- | --- | --- | --- |
//! | `Withheld` | 2 | 20 | 40 |
//! | `Protocol` | 10 | 4 | 8 |
//! | `Forged` | 45 | 1 | 2 |
//!
//! The score halves every ten minutes, so an honest peer's bad luck is forgotten (Lighthouse uses the same half-life). A peer
//! at or below [`DISCONNECT`] is told the reason and disconnected; it may come back once its score is above. At or below
//! [`BAN`] it is banned for an hour ([`BAN_FOR`]).

use std::time::{Duration, Instant};

use super::event::Fault;

/// A peer with this score or a lower one is disconnected.
pub const DISCONNECT: f64 = -40.0;

/// A peer with this score or a lower one is banned.
pub const BAN: f64 = -80.0;

/// The lowest score that a peer can have.
const FLOOR: f64 = -100.0;

/// Duration of a ban that a low score caused.
pub const BAN_FOR: Duration = Duration::from_hours(1);

/// Time in which a score halves.
const HALF_LIFE: Duration = Duration::from_mins(10);

impl Fault {
    /// Returns the points that the fault takes from the score.
    pub fn cost(self) -> f64 {
        match self {
            Fault::Withheld => 2.0,
            Fault::Protocol => 10.0,
            Fault::Forged => 45.0,
        }
    }
}

/// A score, and the time at which it had that value.
#[derive(Debug, Clone, Copy)]
pub struct Score {
    value: f64,
    at: Instant,
}

impl Score {
    /// Makes a clean [`Score`] of 0.
    pub fn new(now: Instant) -> Self {
        Self { value: 0.0, at: now }
    }

    /// Returns the score at the time `now`, after the decay since the last fault.
    pub fn now(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        let value = self.value * 0.5_f64.powf(passed / HALF_LIFE.as_secs_f64());
        // A score above -0.02, a hundredth of the cheapest fault's cost, counts as clean.
        if value > -0.02 { 0.0 } else { value }
    }

    /// Lowers the score by the [`Fault::cost`] of one more fault, and returns the new score.
    pub fn hit(&mut self, fault: Fault, now: Instant) -> f64 {
        self.value = (self.now(now) - fault.cost()).max(FLOOR);
        self.at = now;
        self.value
    }

    /// Sets the score to 0, as after an operator's unban.
    pub fn clear(&mut self, now: Instant) {
        *self = Self::new(now);
    }
}

#[cfg(test)]
mod tests {
    use qres_wire::clock;

    use super::*;

    #[test]
    fn the_documented_counts_hold() {
        let now = clock::now();
        for (fault, disconnect, ban) in [
            (Fault::Withheld, 20, 40),
            (Fault::Protocol, 4, 8),
            (Fault::Forged, 1, 2),
        ] {
            let mut score = Score::new(now);
            let values: Vec<f64> = (0..ban).map(|_| score.hit(fault, now)).collect();
            let first = |limit: f64| values.iter().position(|v| *v <= limit).map(|p| p + 1);
            assert_eq!(
                (first(DISCONNECT), first(BAN)),
                (Some(disconnect), Some(ban)),
                "{fault:?}"
            );
        }
    }

    #[test]
    fn time_heals() {
        let now = clock::now();
        let mut score = Score::new(now);
        score.hit(Fault::Forged, now);
        let healed = score.now(now + HALF_LIFE);
        assert!((healed + 22.5).abs() < 1e-9, "{healed}");
        assert!(healed > DISCONNECT);
        assert!(score.now(now + HALF_LIFE * 20).abs() < 1e-9);
        for _ in 0..10 {
            score.hit(Fault::Forged, now);
        }
        assert!(score.now(now) >= FLOOR);
    }
}
