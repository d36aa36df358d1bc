//! What a new list model gets when its creator names no rules.

use crate::record::Rule;

/// Smallest list that gets rules against liars: with fewer than five members a majority cannot do without one of four.
const ROBUST_MEMBERS_MIN: usize = 5;
/// Smallest list with a limit on shares: of two members none can be limited below the other.
const LIMITED_MEMBERS_MIN: usize = 3;

/// Returns the largest share of a round for a member of a list of `n`: twice the equal share. `None` means no limit.
pub fn max_share(n: usize) -> Option<f64> {
    (n >= LIMITED_MEMBERS_MIN).then(|| 2.0 / n as f64)
}

/// Returns the number of liars that the default rules take in a list of `n` members with rounds of at least `k`: a quarter of the
/// members, or less than half of the smallest round.
pub fn liars(n: usize, k: usize) -> usize {
    match n < ROBUST_MEMBERS_MIN {
        true => 0,
        false => (n / 4).min(k.saturating_sub(1) / 2),
    }
}

/// Returns the rules for a list of `n` members with rounds of at least `k`: the trimmed mean, for a quarter of the members as
/// liars, or for fewer if k is small. `docs/strategies.md` shows the measurements behind this.
pub fn rules(n: usize, k: usize) -> Vec<Rule> {
    let f = liars(n, k);
    if f == 0 {
        return vec![];
    }
    vec![Rule {
        id: "trimmed-mean/1".into(),
        params: [("f".to_owned(), f as f64)].into(),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregation::Aggregation;

    #[test]
    fn the_defaults_of_every_list_keep_the_bounds() {
        for n in 1..=512 {
            for k in [1, 2, n / 2 + 1, n] {
                let k = k.min(n);
                let rules = rules(n, k);
                assert!(Aggregation::new(&rules, k, n).is_ok(), "n {n}, k {k}: {rules:?}");
            }
            let share = max_share(n).unwrap_or(1.0);
            assert!(share * n as f64 >= 1.0 && share <= 1.0);
        }
        assert_eq!(rules(4, 3), []);
        assert_eq!(rules(5, 3)[0].params["f"], 1.0);
        assert_eq!(rules(8, 5)[0].params["f"], 2.0);
        assert_eq!(rules(8, 2), []);
    }
}
