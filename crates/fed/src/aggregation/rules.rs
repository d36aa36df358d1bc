//! Lists of aggregation rules.

use super::rule::{self, Combination, Known, Preparation, refused};
use crate::record::{Membership, RULES_MAX, Rule, Spec, SpecError};

/// A checked list of rules.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregation {
    pub(super) preparations: Vec<Preparation>,
    pub(super) combination: Combination,
}

impl Aggregation {
    /// Reads a spec's rules and checks that the smallest round of the model can be aggregated by them.
    ///
    /// # Errors
    /// The error names the rule, the number at fault and its bound.
    pub fn of(spec: &Spec) -> Result<Self, SpecError> {
        let least = spec.rounds.min_contributions as usize;
        // In an open model late contributions can be by other authors than the fresh ones.
        let most = match spec.membership {
            Membership::List(_) => spec.membership.authors_max(),
            Membership::Open => 2 * spec.membership.authors_max(),
        };
        Self::new(&spec.aggregation, least, most)
    }

    /// Reads rules for rounds of `least` to `most` members.
    ///
    /// # Errors
    /// The error names the rule, the number at fault and its bound.
    pub fn new(rules: &[Rule], least: usize, most: usize) -> Result<Self, SpecError> {
        if rules.len() > RULES_MAX {
            return Err(refused(format!(
                "{} rules given, at most {RULES_MAX} are taken",
                rules.len()
            )));
        }
        let mut aggregation = Self {
            preparations: vec![],
            combination: Combination::Mean,
        };
        let mut there = least;
        for (i, rule) in rules.iter().enumerate() {
            let known = rule::parse(rule)?;
            there = rule::check_bounds(rule, known, there, most)?;
            match known {
                Known::Preparation(preparation) => aggregation.preparations.push(preparation),
                Known::Combination(combination) if i + 1 == rules.len() => aggregation.combination = combination,
                Known::Combination(_) => {
                    let id = &rule.id;
                    return Err(refused(format!("{id} combines the updates: it must be the last rule")));
                }
            }
        }
        Ok(aggregation)
    }

    /// Returns true if the rules are nothing but the mean.
    pub fn is_mean(&self) -> bool {
        self.preparations.is_empty() && self.combination == Combination::Mean
    }

    /// Returns true if the creator's update decides how much the others count.
    pub fn trusts_creator(&self) -> bool {
        self.combination == Combination::FlTrust
    }

    /// Returns true if the rules need the updates' inner products.
    pub(crate) fn needs_products(&self) -> bool {
        use Combination::{Mean, MeanAroundMedian, Median, TrimmedMean};
        let simple = matches!(
            self.combination,
            Mean | Median | TrimmedMean { .. } | MeanAroundMedian { .. }
        );
        let measured = |rule: &Preparation| !matches!(rule, Preparation::Bucketing { .. });
        !simple || self.preparations.iter().any(measured)
    }
}
