//! Loads the UCI handwritten digits (see `data/LICENSE.md`).

use std::io::Read;

use anyhow::{Context, bail};
use qres_fed::learner::{Examples, Random};
use qres_fed::ndarray::Array2;

/// Number of pixels of an image: 8 × 8.
pub const PIXELS: usize = 64;
/// Number of classes: the digits 0 to 9.
pub const CLASSES: usize = 10;
/// Number of held-out rows of each digit: together a fifth of all rows.
const HELD_OUT_PER_DIGIT: usize = 36;
/// The greatest value of a pixel: the number of black pixels in a block of 4 × 4.
const PIXEL_MAX: f32 = 16.0;

static FILE: &[u8] = include_bytes!("../data/digits.csv.gz");

/// The rows to train on, and the held-out rows, which no trainer gets.
pub struct Digits {
    /// The 1,437 rows to train on.
    pub train: Examples,
    /// The 360 held-out rows, 36 of each digit.
    pub held_out: Examples,
}

/// Reads the [`Digits`] and draws the held-out rows by the seed.
pub fn load(seed: u64) -> anyhow::Result<Digits> {
    let all = read(FILE)?;
    let mut order: Vec<usize> = (0..all.len()).collect();
    Random::new(seed).shuffle(&mut order);
    let mut taken = [0; CLASSES];
    let (held_out, train): (Vec<usize>, Vec<usize>) = order.into_iter().partition(|&row| {
        let count = &mut taken[all.labels()[row] as usize];
        *count += 1;
        *count <= HELD_OUT_PER_DIGIT
    });
    Ok(Digits {
        train: all.select(&train),
        held_out: all.select(&held_out),
    })
}

fn read(file: &[u8]) -> anyhow::Result<Examples> {
    let mut text = String::new();
    let reading = flate2::read::GzDecoder::new(file).read_to_string(&mut text);
    reading.context("digits.csv.gz is no gzip of text")?;
    let mut features = Vec::new();
    let mut labels = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let row: Result<Vec<u32>, _> = line.split(',').map(str::parse).collect();
        let row = row.with_context(|| format!("digits.csv, line {}", number + 1))?;
        let [pixels @ .., label] = &row[..] else {
            bail!("digits.csv, line {}: empty", number + 1)
        };
        features.extend(pixels.iter().map(|&pixel| pixel as f32 / PIXEL_MAX));
        labels.push(*label);
    }
    let features =
        Array2::from_shape_vec((labels.len(), PIXELS), features).context("digits.csv: a row of another length")?;
    Ok(Examples::new(features, labels)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rows_are_there_once_and_the_held_out_ones_are_even() {
        let digits = load(1).unwrap();
        assert_eq!((digits.train.len(), digits.held_out.len()), (1437, 360));
        for digit in 0..10 {
            let held_out = digits.held_out.labels().iter().filter(|l| **l == digit).count();
            assert_eq!(held_out, 36);
        }
        // The number of rows of each digit, as UCI's own description gives it for this file.
        let count = |digit: u32| digits.train.labels().iter().filter(|l| **l == digit).count() + 36;
        let counts: Vec<usize> = (0..10).map(count).collect();
        assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    }

    #[test]
    fn the_seed_draws_the_held_out_rows() {
        let held_out = |seed| load(seed).unwrap().held_out;
        assert_eq!(held_out(1), held_out(1));
        assert_ne!(held_out(1), held_out(2));
    }
}
