//! A budget of gossip: so many messages, bytes and heartbeats at once, and so many a second after.

use std::time::Instant;

/// A token bucket.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    tokens: f64,
    rate: Rate,
    at: Instant,
}

/// So much at once, and so much a second after.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// At once.
    pub burst: f64,
    /// A second.
    pub a_second: f64,
}

/// The same, for a constant.
pub const fn rate(burst: f64, a_second: f64) -> Rate {
    Rate { burst, a_second }
}

impl Allowance {
    /// A full one.
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self {
            tokens: rate.burst,
            rate,
            at: now,
        }
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate.a_second).min(self.rate.burst);
        self.at = self.at.max(now);
    }

    fn has(&mut self, cost: f64, now: Instant) -> bool {
        self.refill(now);
        self.tokens >= cost
    }

    /// Takes `cost` if there is that much.
    pub fn take(&mut self, cost: f64, now: Instant) -> bool {
        let enough = self.has(cost, now);
        if enough {
            self.tokens -= cost;
        }
        enough
    }
}

/// What is taken out of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// A message for the engine, of that many bytes.
    Message(usize),
    /// A heartbeat.
    Heartbeat,
}

/// A budget's size.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    /// Messages for the engine.
    pub messages: Rate,
    /// Their bytes.
    pub bytes: Rate,
    /// Heartbeats.
    pub heartbeats: Rate,
}

/// A budget.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    messages: Allowance,
    bytes: Allowance,
    heartbeats: Allowance,
}

impl Budget {
    /// A full one.
    pub fn new(rates: &Rates, now: Instant) -> Self {
        Self {
            messages: Allowance::new(rates.messages, now),
            bytes: Allowance::new(rates.bytes, now),
            heartbeats: Allowance::new(rates.heartbeats, now),
        }
    }

    /// Takes one message or heartbeat if there is room for it.
    pub fn take(&mut self, load: Load, now: Instant) -> bool {
        match load {
            Load::Heartbeat => self.heartbeats.take(1.0, now),
            Load::Message(bytes) => {
                #[allow(clippy::cast_precision_loss)] // at most 64 KiB
                let bytes = bytes as f64;
                // Of both or of none.
                self.messages.has(1.0, now) && self.bytes.take(bytes, now) && self.messages.take(1.0, now)
            }
        }
    }
}
