//! The members of a round: one update a member, however many contributions it has.

use super::outcome::Outcome;
use super::part::Part;
use crate::aggregation::{Planned, Verdict, shares};
use crate::codec::float::to_f32;
use crate::id::NodeId;

/// A member and its contributions: a fresh one, a late one, or both.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub author: NodeId,
    /// The indices of its contributions among the round's, and the weight of each in the member's update.
    pub parts: Vec<(usize, f64)>,
    /// Its share of the round, after the limit.
    pub share: f64,
}

/// The members, ascending by author: no member can choose its place.
#[derive(Debug, Clone)]
pub(super) struct Members(Vec<Member>);

impl Members {
    /// Groups contributions by their authors and shares the round out.
    pub fn of(parts: &[Part<'_>], max_share: Option<f64>) -> Self {
        let mut members: Vec<Member> = vec![];
        let mut counts: Vec<f64> = vec![];
        let mut order: Vec<usize> = (0..parts.len()).collect();
        order.sort_by_key(|i| (parts[*i].author, *i));
        for (i, part) in order.into_iter().map(|i| (i, &parts[i])) {
            match members.iter().position(|member| member.author == part.author) {
                Some(at) => {
                    members[at].parts.push((i, part.count));
                    counts[at] += part.count;
                }
                None => {
                    members.push(Member {
                        author: part.author,
                        parts: vec![(i, part.count)],
                        share: 0.0,
                    });
                    counts.push(part.count);
                }
            }
        }
        let shares = shares(&counts, max_share);
        for ((member, count), share) in members.iter_mut().zip(counts).zip(shares) {
            member.share = share;
            let alone = member.parts.len() == 1;
            for (_, weight) in &mut member.parts {
                *weight = if alone || count == 0.0 { 1.0 } else { *weight / count };
            }
        }
        Self(members)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn shares(&self) -> Vec<f64> {
        self.iter().map(|member| member.share).collect()
    }

    /// Returns the place of a node among the members, if it contributed.
    pub fn index_of(&self, node: NodeId) -> Option<usize> {
        self.iter().position(|member| member.author == node)
    }

    /// Returns the weight of each contribution in the sum of the members' updates with these coefficients.
    pub fn weights_of_parts(&self, coefficients: &[f64], parts: usize) -> Vec<f64> {
        let mut weights = vec![0.0; parts];
        for (member, coefficient) in self.iter().zip(coefficients) {
            for (i, weight) in &member.parts {
                weights[*i] = coefficient * weight;
            }
        }
        weights
    }

    /// Returns a verdict for each contribution.
    pub fn verdicts(&self, parts: &[Part<'_>], planned: &Planned, outcome: Option<&Outcome>) -> Vec<Verdict> {
        let total: f64 = parts.iter().fold(0.0, |sum, part| sum + part.count);
        let weights = match outcome {
            Some(outcome) => outcome.weights.clone(),
            None => planned.weights(self.len()),
        };
        let distances2 = outcome
            .map(|outcome| &outcome.distances2)
            .or(planned.distances2.as_ref());
        let mut verdicts = vec![None; parts.len()];
        for (at, member) in self.iter().enumerate() {
            for (i, part) in &member.parts {
                verdicts[*i] = Some(Verdict {
                    claimed: finite(parts[*i].count / total),
                    weight: finite(weights[at] * part),
                    clipped: finite(planned.clipped[at]),
                    distance: distances2.map(|squares| finite(squares[at].sqrt())),
                    rejected: planned.rejection(at, weights[at]),
                });
            }
        }
        verdicts.into_iter().flatten().collect()
    }
}

/// Rounds to f32. What is beyond becomes the largest f32, and what is no number 0, because a record holds neither.
fn finite(x: f64) -> f32 {
    if x.is_nan() { 0.0 } else { to_f32(x) }
}
