//! The members of a round: one update a member, however many contributions it has.

use super::outcome::Outcome;
use super::part::Part;
use crate::aggregation::{Planned, Verdict, shares};
use crate::codec::float::to_f32;
use crate::id::NodeId;
use crate::tensor::TensorError;

/// A contribution's part in its member's update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct MemberPart {
    /// The contribution's place among the round's.
    pub index: usize,
    /// Its share of the member's samples.
    pub share: f64,
    /// The factor by which its update is scaled before all else: 1, or the round's steps by its own (FedNova).
    pub factor: f64,
}

impl MemberPart {
    /// Returns the weight of the contribution in the member's update.
    pub fn weight(&self) -> f64 {
        self.share * self.factor
    }
}

/// A member and its contributions: a fresh one, a late one, or both.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub author: NodeId,
    pub parts: Vec<MemberPart>,
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
        for (index, part) in order.into_iter().map(|i| (i, &parts[i])) {
            let new = MemberPart {
                index,
                share: part.count,
                factor: 1.0,
            };
            match members.iter().position(|member| member.author == part.author) {
                Some(at) => {
                    members[at].parts.push(new);
                    counts[at] += part.count;
                }
                None => {
                    members.push(Member {
                        author: part.author,
                        parts: vec![new],
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
            for part in &mut member.parts {
                part.share = if alone || count == 0.0 { 1.0 } else { part.share / count };
            }
        }
        Self(members)
    }

    /// Scales each update by the round's steps over its own ([`round_steps`]), as FedNova does (Wang et al. 2020, equation 8):
    /// members with more steps pull no harder.
    ///
    /// # Errors
    /// Returns an error if a contribution does not say its steps.
    pub fn normalise(&mut self, parts: &[Part<'_>], robust: bool) -> Result<(), TensorError> {
        let steps: Option<Vec<f64>> = parts.iter().map(|part| part.figures.steps).collect();
        let Some(steps) = steps else {
            return Err(TensorError::bad("a contribution does not say its local steps"));
        };
        let of_member = |member: &Member| {
            member
                .parts
                .iter()
                .fold(0.0, |sum, part| sum + part.share * steps[part.index])
        };
        let all: Vec<_> = self.iter().map(|member| (of_member(member), member.share)).collect();
        let round = round_steps(all, robust);
        for part in self.0.iter_mut().flat_map(|member| &mut member.parts) {
            part.factor = round / steps[part.index];
        }
        Ok(())
    }

    /// Returns the members' losses, each the mean over its contributions; `None` if a contribution does not say its loss.
    pub fn losses(&self, parts: &[Part<'_>]) -> Option<Vec<f64>> {
        let of_member = |member: &Member| {
            let losses = member
                .parts
                .iter()
                .map(|part| Some((part.share, parts[part.index].figures.loss?)));
            let losses = losses.collect::<Option<Vec<_>>>()?;
            Some(losses.iter().fold(0.0, |sum, (share, loss)| sum + share * loss))
        };
        self.iter().map(of_member).collect()
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
            for part in &member.parts {
                weights[part.index] = coefficient * part.weight();
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
            for part in &member.parts {
                verdicts[part.index] = Some(Verdict {
                    claimed: finite(parts[part.index].count / total),
                    weight: finite(weights[at] * part.share),
                    clipped: finite(planned.clipped[at] * part.factor),
                    distance: distances2.map(|squares| finite(squares[at].sqrt())),
                    rejected: planned.rejection(at, weights[at]),
                });
            }
        }
        verdicts.into_iter().flatten().collect()
    }
}

/// Returns the local steps that a round counts as, from the steps of its members and their shares: their mean, or with a robust
/// rule their middle by shares. The mean is the paper's, but one member that claims 2^40 steps would own the round with it.
fn round_steps(mut members: Vec<(f64, f64)>, robust: bool) -> f64 {
    members.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (least, most) = match members[..] {
        [] => return 1.0,
        [first, .., last] => (first.0, last.0),
        [only] => (only.0, only.0),
    };
    if !robust {
        let mean = members.iter().fold(0.0, |sum, (steps, share)| sum + steps * share);
        return mean.clamp(least, most);
    }
    let mut below = 0.0;
    for (steps, share) in &members {
        below += share;
        if below >= 0.5 {
            return *steps;
        }
    }
    most
}

/// Rounds to f32. What is beyond becomes the largest f32, and what is no number 0, because a record holds neither.
fn finite(x: f64) -> f32 {
    if x.is_nan() { 0.0 } else { to_f32(x) }
}
