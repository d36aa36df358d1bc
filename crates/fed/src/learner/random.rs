//! Pseudo-random numbers from a seed.

/// The generator SplitMix64 (Steele, Lea & Flood 2014): a counter whose bits are mixed. It is small, takes any seed and
/// gives the same numbers on every machine. Use it only for initial weights and shuffling: it is not suitable for secrets.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Makes a generator; each seed gives its own stream of numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns 64 evenly distributed bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number uniform in [0, 1), a multiple of 2⁻²⁴ (every such number is an f32).
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Returns a number uniform below `bound` (which must not be 0) by multiplication (Lemire 2019, without the rejection
    /// step: the bias is below `bound` / 2⁶⁴).
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// Shuffles the items in place (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_splitmix64() {
        // These are the first outputs for seed 1234567 of the reference C program (prng.di.unimi.it/splitmix64.c).
        let mut random = Random::new(1_234_567);
        let first: Vec<u64> = (0..5).map(|_| random.bits()).collect();
        assert_eq!(
            first,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821,
            ]
        );
    }

    #[test]
    fn numbers_stay_in_their_range_and_fill_it() {
        let mut random = Random::new(7);
        let mut seen = [0u32; 6];
        for _ in 0..6000 {
            seen[random.below(6)] += 1;
            assert!((0.0..1.0).contains(&random.unit()));
        }
        // Each count has an expected value of 1000 and a standard deviation of 29; 200 is seven of them.
        assert!(seen.iter().all(|&n| n.abs_diff(1000) < 200), "{seen:?}");
    }
}
