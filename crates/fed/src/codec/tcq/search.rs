//! The search for the step: the largest one that keeps the fidelity.

use rayon::prelude::*;

use super::classes::Classes;
use super::encoder::Encoder;
use super::quantiser::{Positions, Products, Quantiser};

/// Steps that are tried at most.
const TRIES_MAX: usize = 12;
/// A step is good enough if its error is at least this share of what is allowed. 0.2 % of the error are 0.0014 bits.
const NEAR: f64 = 0.998;
/// What is kept back of the allowed error for the rounding of sums.
const MARGIN: f64 = 1e-6;
/// Standard deviations of the samples' error that are added to it. One update in a thousand then has a chunk that is not coded.
const DEVIATIONS: f64 = 3.0;
/// The squared error of an element is about this many squared steps (8 states, measured on a Gaussian; a little more than
/// measured, so that the first try mostly is the last).
const ERROR: f64 = 0.2576;

/// A run of elements of the update.
#[derive(Debug)]
pub struct Sample {
    pub x: Vec<f64>,
    /// Elements at both ends that are coded and not measured: there the trellis has less choice, or more, than within a chunk.
    pub edge: usize,
    /// The number of elements for which the run stands, divided by the number of those that are measured.
    pub weight: f64,
}

/// What the search must reach.
#[derive(Debug, Clone, Copy)]
pub struct Goal {
    /// The root mean square of the update's elements.
    pub rms: f64,
    /// The number of elements.
    pub elements: f64,
    /// The error that is allowed, as a share of the update's square: 1 minus the fidelity.
    pub error: f64,
}

/// What the search found.
#[derive(Debug)]
pub struct Found {
    pub encoder: Encoder,
    /// The squared error of each sample times its weight, as a share of the update's square.
    pub errors: Vec<f64>,
    /// Bits that the update's elements and the tables will need.
    pub bits: f64,
}

/// One try.
struct Try {
    step: f64,
    /// Factor of the positions.
    factor: f64,
    /// Products and positions of each sample.
    samples: Vec<(Products, Vec<i32>)>,
    /// The whole error, with what samples may miss, as a share of the update's square.
    error: f64,
}

impl Goal {
    fn try_step(&self, samples: &[Sample], step: f64) -> Try {
        let quantiser = Quantiser::new(step);
        let one = |positions: &mut Positions, sample: &Sample| {
            quantiser.quantise(&sample.x, positions);
            (positions.products(sample.edge), positions.get().to_vec())
        };
        let tried: Vec<_> = samples.par_iter().map_init(Positions::default, one).collect();
        let mut total = Products::default();
        let mut variance = 0.0;
        for (sample, (products, _)) in samples.iter().zip(&tried) {
            total.add(sample.weight, products);
            variance += products.variance(sample.x.len() - 2 * sample.edge, sample.weight);
        }
        let error = total.error(total.factor()) + DEVIATIONS * variance.sqrt();
        Try {
            step,
            factor: total.factor(),
            error: error / self.squares(step),
            samples: tried,
        }
    }

    /// Returns the update's square, in squared steps.
    fn squares(&self, step: f64) -> f64 {
        let rms = self.rms / step;
        self.elements * (rms * rms)
    }

    /// Searches for the step. `None`: there is none, because the elements are too far apart for f32 or too small for f64.
    pub fn search(&self, samples: &[Sample]) -> Option<Found> {
        let most = self.error * (1.0 - MARGIN);
        // Every element is within one step of its position on some way through the trellis, so this step is always fine.
        let surely = self.rms * most.sqrt();
        let (mut step, mut best) = (surely / ERROR.sqrt(), None::<Try>);
        // The least step that is known to be too large.
        let mut too_large = f64::INFINITY;
        for round in 0..TRIES_MAX {
            if best.is_none() && round + 2 >= TRIES_MAX {
                step = surely;
            }
            if !step.is_normal() {
                break;
            }
            let tried = self.try_step(samples, step);
            let scale = (most / tried.error).sqrt();
            if tried.error <= most {
                let near = tried.error >= NEAR * most;
                let found = tried.step;
                best = Some(tried);
                if near {
                    break;
                }
                // The error grows with the square of the step, unless much of the update is zero.
                step = (found * scale.min(4.0) * 0.9999).min((found + too_large) / 2.0);
            } else {
                too_large = too_large.min(step);
                step = (step * scale * 0.9997).max(surely);
            }
            if step >= too_large || best.as_ref().is_some_and(|best| step <= best.step) {
                break;
            }
        }
        best.map(|best| self.finish(samples, &best))
    }

    fn finish(&self, samples: &[Sample], best: &Try) -> Found {
        let sampled: usize = best.samples.iter().map(|(_, positions)| positions.len()).sum();
        let scale = self.elements / sampled.max(1) as f64;
        let positions = best.samples.iter().map(|(_, positions)| positions.as_slice());
        let (classes, bits) = Classes::of(positions, scale);
        let squares = self.squares(best.step);
        let of_sample = samples.iter().zip(&best.samples);
        let errors = of_sample.map(|(sample, (of, _))| sample.weight * of.error(best.factor) / squares);
        Found {
            encoder: Encoder::new(best.step, best.step * best.factor, classes),
            errors: errors.collect(),
            bits,
        }
    }
}
