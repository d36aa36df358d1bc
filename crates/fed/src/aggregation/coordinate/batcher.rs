//! Batcher's odd-even merge sort (Knuth, The Art of Computer Programming, volume 3, algorithm 5.2.2M) as a list of
//! comparisons.

/// The comparisons for n numbers, one after the other: the smaller number goes to the first place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batcher {
    n: usize,
    p: usize,
    q: usize,
    r: usize,
    d: usize,
    i: usize,
}

impl Batcher {
    /// Begins the list for n numbers.
    pub const fn new(n: usize) -> Self {
        let top = n.next_power_of_two() / 2;
        Self {
            n,
            p: top,
            q: top,
            r: 0,
            d: top,
            i: 0,
        }
    }

    /// Returns the next pair of places. No iterator, because the compiler must be able to run it.
    pub const fn next(&mut self) -> Option<(usize, usize)> {
        while self.p > 0 {
            while self.i + self.d < self.n {
                let i = self.i;
                self.i += 1;
                if i & self.p == self.r {
                    return Some((i, i + self.d));
                }
            }
            self.i = 0;
            if self.q == self.p {
                self.p /= 2;
                (self.q, self.r, self.d) = (self.n.next_power_of_two() / 2, 0, self.p);
            } else {
                (self.d, self.q, self.r) = (self.q - self.p, self.q / 2, self.p);
            }
        }
        None
    }
}
