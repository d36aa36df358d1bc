//! Shares: how much of a round each member has.

/// Returns the shares of members with these weights (sample counts), which add up to 1 unless all are 0. No share is above
/// `most`: what a member has above is divided among the others in proportion to their weights. If no other member can take it
/// (all are at the limit, or have no weight), the limit becomes the equal share of those that are there.
///
/// A share that is not limited has the bits of `weight / total`.
pub(crate) fn shares(weights: &[f64], most: Option<f64>) -> Vec<f64> {
    let total: f64 = weights.iter().fold(0.0, |sum, weight| sum + weight);
    if total <= 0.0 {
        return vec![0.0; weights.len()];
    }
    let plain = || weights.iter().map(|weight| weight / total).collect();
    let Some(most) = most else {
        return plain();
    };
    let mut order: Vec<usize> = (0..weights.len()).filter(|i| weights[*i] > 0.0).collect();
    order.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]).then(a.cmp(b)));
    let most = most.max(1.0 / order.len() as f64);
    // The first member in the order that is below the limit: those before have the limit, the others share the rest.
    let mut rest = total;
    for (limited, i) in order.iter().enumerate() {
        let left = 1.0 - most * limited as f64;
        if weights[*i] / rest * left <= most {
            if limited == 0 {
                return plain();
            }
            let mut shares: Vec<f64> = weights.iter().map(|weight| weight / rest * left).collect();
            order[..limited].iter().for_each(|i| shares[*i] = most);
            return shares;
        }
        // Summed anew: a difference to a total of very different counts would lose the small ones.
        rest = order[limited + 1..].iter().fold(0.0, |sum, i| sum + weights[*i]);
    }
    let equal = 1.0 / order.len() as f64;
    weights
        .iter()
        .map(|weight| if *weight > 0.0 { equal } else { 0.0 })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_with_most_samples_has_the_limit_and_no_more() {
        assert_eq!(shares(&[1.0, 3.0], None), [0.25, 0.75]);
        assert_eq!(shares(&[2f64.powi(40), 1.0, 3.0], Some(0.5)), [0.5, 0.125, 0.375]);
        // Two at the limit: the third has what is left, though it has one sample.
        let two = shares(&[1e6, 1e9, 1.0], Some(0.4));
        assert!(
            (two[0] - 0.4).abs() < 1e-15 && two[1] == 0.4 && (two[2] - 0.2).abs() < 1e-15,
            "{two:?}"
        );
        assert_eq!(shares(&[5.0, 1.0, 2.0, 2.0], Some(0.5)), [0.5, 0.1, 0.2, 0.2]);
    }

    #[test]
    fn a_limit_that_nobody_can_keep_becomes_the_equal_share() {
        assert_eq!(shares(&[9.0], Some(0.1)), [1.0]);
        assert_eq!(shares(&[9.0, 1.0], Some(0.5)), [0.5, 0.5]);
        assert_eq!(shares(&[9.0, 0.0, 0.0], Some(0.5)), [1.0, 0.0, 0.0]);
        assert_eq!(shares(&[0.0, 0.0], Some(0.5)), [0.0, 0.0]);
        assert_eq!(shares(&[], Some(0.5)), [0.0; 0]);
    }

    proptest::proptest! {
        #[test]
        fn shares_add_up_and_keep_order_and_limit(
            weights in proptest::collection::vec(0u64..1 << 40, 1..40),
            most in 0.01f64..1.0,
        ) {
            let weights: Vec<f64> = weights.into_iter().map(|x| x as f64).collect();
            let there = weights.iter().filter(|x| **x > 0.0).count();
            proptest::prop_assume!(there > 0);
            let shares = shares(&weights, Some(most));
            let limit = most.max(1.0 / there as f64);
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{shares:?}");
            for (i, share) in shares.iter().enumerate() {
                assert!(*share <= limit * (1.0 + 1e-12), "{share} above {limit}");
                assert_eq!(*share > 0.0, weights[i] > 0.0);
                for (j, other) in shares.iter().enumerate() {
                    assert!(weights[i] < weights[j] || share >= other, "{i} {j}: {shares:?}");
                }
            }
        }
    }
}
