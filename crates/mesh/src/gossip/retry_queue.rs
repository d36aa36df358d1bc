//! Messages that no peer could take when they were published.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use libp2p::gossipsub::TopicHash;

/// Limits on the kept messages: their number, and their bytes (64 of the largest envelopes). The oldest ones are dropped
/// first.
const MESSAGES_MAX: usize = 256;
const BYTES_MAX: usize = 4 * 1024 * 1024;

struct Message {
    topic: TopicHash,
    data: Vec<u8>,
    since: Instant,
}

/// A bounded queue of messages with an age limit.
pub struct RetryQueue {
    messages: VecDeque<Message>,
    bytes: usize,
    ttl: Duration,
}

impl RetryQueue {
    /// Makes an empty queue that keeps each message for `ttl`.
    pub fn new(ttl: Duration) -> Self {
        Self {
            messages: VecDeque::new(),
            bytes: 0,
            ttl,
        }
    }

    /// Keeps a message. Returns the number of older messages that were dropped.
    pub fn push(&mut self, topic: TopicHash, data: Vec<u8>, now: Instant) -> usize {
        let mut lost = self.expire(now);
        self.bytes += data.len();
        self.messages.push_back(Message {
            topic,
            data,
            since: now,
        });
        while self.messages.len() > MESSAGES_MAX || self.bytes > BYTES_MAX {
            self.drop_front();
            lost += 1;
        }
        lost
    }

    /// Drops the messages that are too old. Returns their number.
    pub fn expire(&mut self, now: Instant) -> usize {
        let before = self.messages.len();
        while self
            .messages
            .front()
            .is_some_and(|m| now.saturating_duration_since(m.since) >= self.ttl)
        {
            self.drop_front();
        }
        before - self.messages.len()
    }

    /// Returns the oldest message of a topic.
    pub fn first(&self, topic: &TopicHash) -> Option<&[u8]> {
        let message = self.messages.iter().find(|m| m.topic == *topic)?;
        Some(&message.data)
    }

    /// Removes the oldest message of a topic.
    pub fn pop(&mut self, topic: &TopicHash) {
        if let Some(at) = self.messages.iter().position(|m| m.topic == *topic)
            && let Some(message) = self.messages.remove(at)
        {
            self.bytes -= message.data.len();
        }
    }

    /// Returns true if no message is kept.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    fn drop_front(&mut self) {
        if let Some(message) = self.messages.pop_front() {
            self.bytes -= message.data.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use qres_wire::clock;

    use super::*;

    #[test]
    fn messages_wait_in_order_age_and_never_pile_up() {
        let now = clock::now();
        let (a, b) = (TopicHash::from_raw("a"), TopicHash::from_raw("b"));
        let mut retry_queue = RetryQueue::new(Duration::from_mins(1));
        assert_eq!(retry_queue.push(a.clone(), vec![1], now), 0);
        assert_eq!(retry_queue.push(b.clone(), vec![2], now), 0);
        assert_eq!(retry_queue.push(a.clone(), vec![3], now + Duration::from_secs(30)), 0);
        assert_eq!(retry_queue.first(&a), Some(&[1][..]));
        retry_queue.pop(&a);
        assert_eq!(retry_queue.first(&a), Some(&[3][..]));
        assert_eq!(retry_queue.expire(now + Duration::from_mins(1)), 1, "b's is too old");
        assert_eq!((retry_queue.first(&b), retry_queue.first(&a)), (None, Some(&[3][..])));

        for n in 0..MESSAGES_MAX {
            retry_queue.push(b.clone(), vec![0; 1000], now + Duration::from_secs(31 + n as u64 / 100));
        }
        assert_eq!(
            (retry_queue.messages.len(), retry_queue.first(&a)),
            (MESSAGES_MAX, None)
        );
        let lost = retry_queue.push(b.clone(), vec![0; BYTES_MAX], now + Duration::from_secs(40));
        assert_eq!(
            (lost, retry_queue.messages.len(), retry_queue.bytes),
            (MESSAGES_MAX, 1, BYTES_MAX)
        );
        retry_queue.pop(&b);
        assert!(retry_queue.is_empty() && retry_queue.bytes == 0);
    }
}
