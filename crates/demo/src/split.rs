//! A non-IID split of the rows: each trainer has only some of the digits.

use std::collections::BTreeSet;

use qres_fed::learner::{Examples, Random};

use crate::digits::CLASSES;

/// Least number of digits of a trainer, for any number of trainers.
const DIGITS_PER_TRAINER_MIN: usize = 2;

/// The data of one trainer.
pub struct Part {
    /// The digits that the trainer has.
    pub digits: BTreeSet<u32>,
    /// The rows that the trainer has.
    pub rows: Examples,
}

/// Deals the digits to the trainers, in an order drawn by the seed, and each digit's rows evenly to its trainers. Returns
/// the [`Part`] of each trainer.
///
/// Up to five trainers have disjoint digits (three have 4, 3 and 3 of the ten). With more trainers several share a digit, so
/// that each has at least two. No trainer alone can know the others' digits. Panics if `trainers` is 0.
pub fn deal(data: &Examples, trainers: usize, seed: u64) -> Vec<Part> {
    let mut deck: Vec<u32> = (0..CLASSES as u32).collect();
    Random::new(seed).shuffle(&mut deck);
    // The number of times that the deck is dealt: up to ten consecutive cards of a repeated deck are all different.
    let times = (DIGITS_PER_TRAINER_MIN * trainers).div_ceil(CLASSES).max(1);
    let cards = times * CLASSES;
    let card = |at: usize| deck[at % CLASSES];
    let bounds = |trainer: usize| (trainer * cards).div_ceil(trainers);
    let hands: Vec<BTreeSet<u32>> = (0..trainers)
        .map(|trainer| (bounds(trainer)..bounds(trainer + 1)).map(card).collect())
        .collect();
    let mut rows = vec![Vec::new(); trainers];
    let mut dealt = [0; CLASSES];
    for (row, &label) in data.labels().iter().enumerate() {
        let holders: Vec<usize> = (0..trainers).filter(|&t| hands[t].contains(&label)).collect();
        let turn = &mut dealt[label as usize];
        rows[holders[*turn % holders.len()]].push(row);
        *turn += 1;
    }
    let parts = hands.into_iter().zip(rows);
    parts
        .map(|(digits, rows)| Part {
            digits,
            rows: data.select(&rows),
        })
        .collect()
}

/// Splits the rows among members by labels: for each label every member draws a share, and the shares are those of a Dirichlet
/// distribution with α = 1 (Hsu et al. 2019, "Measuring the effects of non-identical data distribution"). So most members have
/// many rows of some digits and few of others. Panics if `members` is 0.
pub fn by_labels(data: &Examples, members: usize, seed: u64) -> Vec<Examples> {
    let mut random = Random::new(seed);
    let mut rows = vec![Vec::new(); members];
    for digit in 0..CLASSES as u32 {
        // Exponential numbers, divided by their sum, are Dirichlet's with α = 1. A unit is a multiple of 2^-24 and may be 0.
        let draw = |random: &mut Random| -f64::from(1.0 - random.unit()).ln();
        let shares: Vec<f64> = (0..members).map(|_| draw(&mut random)).collect();
        let total: f64 = shares.iter().sum();
        let held: Vec<usize> = (0..data.len()).filter(|row| data.labels()[*row] == digit).collect();
        let (mut from, mut sum) = (0, 0.0);
        for (share, rows) in shares.iter().zip(&mut rows) {
            sum += share;
            let to = (held.len() as f64 * sum / total).round() as usize;
            rows.extend(&held[from..to.min(held.len())]);
            from = to.min(held.len());
        }
    }
    rows.iter().map(|rows| data.select(rows)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digits;

    #[test]
    fn a_split_by_labels_has_all_rows_and_is_uneven() {
        let data = digits::load(1).unwrap().train;
        let parts = by_labels(&data, 8, 1);
        assert_eq!(parts.iter().map(Examples::len).sum::<usize>(), data.len());
        let count = |part: &Examples, digit| part.labels().iter().filter(|label| **label == digit).count();
        for digit in 0..10 {
            let counts: Vec<usize> = parts.iter().map(|part| count(part, digit)).collect();
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(most > &(3 * least), "{digit}: {counts:?}");
        }
    }

    #[test]
    fn three_trainers_have_all_rows_and_no_digit_in_common() {
        let data = digits::load(1).unwrap().train;
        let parts = deal(&data, 3, 1);
        let sizes: Vec<usize> = parts.iter().map(|p| p.digits.len()).collect();
        assert_eq!(sizes, [4, 3, 3]);
        assert_eq!(parts.iter().map(|p| p.rows.len()).sum::<usize>(), data.len());
        assert_eq!(parts.iter().flat_map(|p| &p.digits).collect::<BTreeSet<_>>().len(), 10);
        for part in &parts {
            let seen: BTreeSet<u32> = part.rows.labels().iter().copied().collect();
            assert_eq!(seen, part.digits);
        }
    }

    #[test]
    fn any_number_of_trainers_gets_rows_and_at_least_two_digits() {
        let data = digits::load(1).unwrap().train;
        for trainers in 1..=16 {
            let parts = deal(&data, trainers, 7);
            assert_eq!(
                parts.iter().map(|p| p.rows.len()).sum::<usize>(),
                data.len(),
                "{trainers}"
            );
            for part in parts {
                assert!(part.digits.len() >= 2, "{trainers}: {:?}", part.digits);
                let seen: BTreeSet<u32> = part.rows.labels().iter().copied().collect();
                assert_eq!(seen, part.digits, "{trainers}");
            }
        }
    }

    #[test]
    fn the_seed_deals() {
        let data = digits::load(1).unwrap().train;
        let digits = |seed| deal(&data, 3, seed).into_iter().map(|p| p.digits).collect::<Vec<_>>();
        assert_eq!(digits(1), digits(1));
        assert_ne!(digits(1), digits(2));
    }
}
