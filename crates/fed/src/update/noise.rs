//! The noise of the Gaussian mechanism.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

use super::batch::BATCH_ELEMENTS;
use crate::privacy::Gaussian;

/// Exponent of the grid: the noisy sum is a multiple of the standard deviation times about 2^-20. The last bits of a float would else
/// tell noise and update apart (Mironov 2012, "On significance of the least significant bits for differential privacy").
const GRID_BITS: i32 = 20;
/// What is kept back of the length for the rounding of sums of squares.
const MARGIN: f64 = 1e-6;

/// The key from which one update's noise is drawn: 32 bytes that the operating system's generator made for this update. The key
/// leaves its node never. With the same key the same noise would come again, and could be taken away.
pub struct NoiseKey([u8; 32]);

impl NoiseKey {
    /// Takes the bytes of a key.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// The mechanism for one update: shortens it, and adds the noise.
pub(super) struct Mechanism {
    factor: f64,
    deviation: f64,
    grid: f64,
    key: NoiseKey,
}

impl Mechanism {
    /// Makes the mechanism for an update of this length.
    pub fn new(gaussian: &Gaussian, key: NoiseKey, length: f64) -> Self {
        let deviation = gaussian.deviation();
        let factor = match length <= gaussian.clip * (1.0 - MARGIN) {
            true => 1.0,
            false => gaussian.clip * (1.0 - MARGIN) / length,
        };
        Self {
            factor,
            deviation,
            grid: libm::ldexp(1.0, libm::ilogb(deviation) - GRID_BITS),
            key,
        }
    }

    /// Applies the mechanism to elements of a tensor that begin at the element `start`, a multiple of [`BATCH_ELEMENTS`]. The
    /// same elements get the same noise again: a codec goes through an update twice.
    pub fn apply(&self, tensor: usize, start: u64, elements: &mut [f64]) {
        debug_assert!(start.is_multiple_of(BATCH_ELEMENTS as u64) && elements.len() <= BATCH_ELEMENTS);
        let mut random = ChaCha20Rng::from_seed(self.key.0);
        random.set_stream(((tensor as u64) << 40) | (start / BATCH_ELEMENTS as u64));
        for element in elements {
            let noise: f64 = StandardNormal.sample(&mut random);
            let sum = *element * self.factor + noise * self.deviation;
            *element = (sum / self.grid).round_ties_even() * self.grid;
        }
    }
}
