//! A budget of gossip: a burst of messages, bytes and heartbeats at once, and a rate per second afterwards.

use std::time::Instant;

/// A token bucket for one kind of load.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    tokens: f64,
    rate: Rate,
    at: Instant,
}

/// The size of an [`Allowance`]: a burst, and a rate per second afterwards.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// The tokens of a full allowance, all available at once.
    pub burst: f64,
    /// The tokens that are added per second.
    pub a_second: f64,
}

/// Makes a [`Rate`]; a `const` function, so that constants can use it.
pub const fn rate(burst: f64, a_second: f64) -> Rate {
    Rate { burst, a_second }
}

impl Allowance {
    /// Makes a full allowance.
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

    /// Takes `cost` tokens. Returns false, and takes none, if fewer are left.
    pub fn take(&mut self, cost: f64, now: Instant) -> bool {
        let enough = self.has(cost, now);
        if enough {
            self.tokens -= cost;
        }
        enough
    }
}

/// The load that one message puts on a [`Budget`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// A message for the layer above, with its size in bytes.
    Message(usize),
    /// A heartbeat, of any size.
    Heartbeat,
}

/// The size of a [`Budget`], one [`Rate`] per kind of load.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    /// Messages for the layer above.
    pub messages: Rate,
    /// Bytes of the messages for the layer above.
    pub bytes: Rate,
    /// Heartbeats, whose bytes are not counted.
    pub heartbeats: Rate,
}

/// A budget: one [`Allowance`] each for messages, bytes and heartbeats.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    messages: Allowance,
    bytes: Allowance,
    heartbeats: Allowance,
}

impl Budget {
    /// Makes a full budget.
    pub fn new(rates: &Rates, now: Instant) -> Self {
        Self {
            messages: Allowance::new(rates.messages, now),
            bytes: Allowance::new(rates.bytes, now),
            heartbeats: Allowance::new(rates.heartbeats, now),
        }
    }

    /// Takes one message or heartbeat. Returns false, and takes nothing, if there is no room for it.
    pub fn take(&mut self, load: Load, now: Instant) -> bool {
        match load {
            Load::Heartbeat => self.heartbeats.take(1.0, now),
            Load::Message(bytes) => {
                #[allow(clippy::cast_precision_loss)] // at most 64 KiB
                let bytes = bytes as f64;
                // Takes from both allowances or from none of them.
                self.messages.has(1.0, now) && self.bytes.take(bytes, now) && self.messages.take(1.0, now)
            }
        }
    }
}
