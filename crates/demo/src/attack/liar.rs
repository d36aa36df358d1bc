//! What liars send. They know the honest members' updates of the round, which is more than a real attacker knows.

use qres_fed::learner::Examples;

/// A way to attack a federation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// All members are honest.
    None,
    /// The liars send the honest members' mean with the opposite sign.
    SignFlip,
    /// Inner-product manipulation (Xie et al. 2020, "Fall of empires"): −10 times the honest mean.
    InnerProduct,
    /// "A little is enough" (Baruch et al. 2019): the honest mean minus 1.5 standard deviations in each coordinate.
    Little,
    /// The liars train on wrong labels: 9 − y.
    LabelFlip,
    /// One member with 0.6 % of the samples sends its update times −1,000.
    Scale,
    /// The liars claim 2^40 samples for the honest mean with the opposite sign.
    Claim,
}

/// Samples of the small member in [`Attack::Scale`]: 0.6 % of 1,437.
const SMALL_SAMPLES: u64 = 9;
/// The largest sample count that a contribution can claim.
const CLAIMED_SAMPLES: u64 = 1 << 40;

impl Attack {
    /// All attacks, no attack first.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::SignFlip,
        Self::InnerProduct,
        Self::Little,
        Self::LabelFlip,
        Self::Scale,
        Self::Claim,
    ];

    /// Returns a name for tables and model names.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::SignFlip => "sign-flip",
            Self::InnerProduct => "inner-product",
            Self::Little => "a-little",
            Self::LabelFlip => "label-flip",
            Self::Scale => "scale-1000",
            Self::Claim => "claim-2-40",
        }
    }

    /// Returns how many of the members lie.
    pub fn liars(self) -> usize {
        match self {
            Self::None => 0,
            Self::Scale => 1,
            _ => 2,
        }
    }

    /// Returns the rows on which a liar trains.
    pub fn rows(self, rows: &Examples) -> Examples {
        match self {
            Self::LabelFlip => rows.clone().relabelled(|label| 9 - label),
            _ => rows.clone(),
        }
    }

    /// Returns the samples that a liar claims, who has this many.
    pub fn samples(self, samples: u64) -> u64 {
        match self {
            Self::Scale => SMALL_SAMPLES,
            Self::Claim => CLAIMED_SAMPLES,
            _ => samples,
        }
    }

    /// Returns the update that a liar sends instead of its own one.
    pub fn update(self, own: &[f32], honest: &[Vec<f32>]) -> Vec<f32> {
        let times = |factor: f32| mean(honest).into_iter().map(|x| factor * x).collect();
        match self {
            Self::None | Self::LabelFlip => own.to_vec(),
            Self::SignFlip | Self::Claim => times(-1.0),
            Self::InnerProduct => times(-10.0),
            Self::Scale => own.iter().map(|x| -1000.0 * x).collect(),
            Self::Little => {
                let mean = mean(honest);
                let deviation = |j: usize| {
                    let squares = honest.iter().map(|update| (update[j] - mean[j]).powi(2)).sum::<f32>();
                    (squares / honest.len() as f32).sqrt()
                };
                (0..mean.len()).map(|j| mean[j] - 1.5 * deviation(j)).collect()
            }
        }
    }
}

/// Returns the mean of the updates, each counted once.
fn mean(updates: &[Vec<f32>]) -> Vec<f32> {
    let mut mean = vec![0.0; updates.first().map_or(0, Vec::len)];
    for update in updates {
        for (sum, x) in mean.iter_mut().zip(update) {
            *sum += x / updates.len() as f32;
        }
    }
    mean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn liars_send_what_the_papers_say() {
        let honest = [vec![1.0, 4.0], vec![3.0, 4.0]];
        let sent = |attack: Attack| attack.update(&[0.5, 0.5], &honest);
        assert_eq!(sent(Attack::None), [0.5, 0.5]);
        assert_eq!(sent(Attack::SignFlip), [-2.0, -4.0]);
        assert_eq!(sent(Attack::InnerProduct), [-20.0, -40.0]);
        assert_eq!(sent(Attack::Little), [0.5, 4.0]);
        assert_eq!(sent(Attack::Scale), [-500.0, -500.0]);
        assert_eq!((Attack::Scale.samples(180), Attack::Claim.samples(180)), (9, 1 << 40));
    }
}
