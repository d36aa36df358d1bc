//! How a vector is made of the members' updates.

use crate::aggregation::{RUN, Row, Vector};
use crate::codec::Element;

/// Coordinates that are summed at once; their sums stay in registers.
const LANES: usize = 32;

pub(super) enum Making {
    /// It is the update of this member.
    Member(usize),
    /// It is the sum of these members' updates with these coefficients.
    Sum(Vec<(usize, f64)>),
}

impl Making {
    pub fn of(vector: &Vector) -> Self {
        let terms = vector.coefficients.iter().copied().enumerate();
        let terms: Vec<_> = terms.filter(|(_, coefficient)| *coefficient != 0.0).collect();
        match terms[..] {
            [(member, 1.0)] => Self::Member(member),
            _ => Self::Sum(terms),
        }
    }

    /// Writes a run of the vector to `out`; `rows` are the members' updates.
    pub fn make<E: Element>(&self, rows: &[Row<E>], out: &mut Row<E>) {
        match self {
            Self::Member(member) => *out = rows[*member],
            Self::Sum(terms) => {
                if !sum(rows, terms, out) {
                    limited_sum(rows, terms, out);
                }
            }
        }
    }
}

/// Adds the terms, one after the other. Returns false if a sum has left the finite numbers on the way: it then is infinite or
/// no number at the end, too.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn sum<E: Element>(rows: &[Row<E>], terms: &[(usize, f64)], out: &mut Row<E>) -> bool {
    let mut finite = true;
    for group in 0..RUN / LANES {
        let mut sums = [E::ZERO; LANES];
        for (member, coefficient) in terms {
            let weight = E::of_weight(*coefficient);
            let numbers = &rows[*member].as_chunks::<LANES>().0[group];
            for l in 0..LANES {
                sums[l] = sums[l] + weight * numbers[l];
            }
        }
        // An infinity times zero is no number.
        finite &= sums
            .iter()
            .fold(true, |finite, sum| finite & (*sum * E::ZERO == E::ZERO));
        out.as_chunks_mut::<LANES>().0[group] = sums;
    }
    finite
}

/// Adds the terms, one after the other; a sum beyond the largest finite number becomes that one.
fn limited_sum<E: Element>(rows: &[Row<E>], terms: &[(usize, f64)], out: &mut Row<E>) {
    out.fill(E::ZERO);
    for (member, coefficient) in terms {
        let weight = E::of_weight(*coefficient);
        for (sum, x) in out.iter_mut().zip(&rows[*member]) {
            *sum = (*sum + weight * *x).limited();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_beyond_the_largest_number_is_limited_at_every_step() {
        let mut rows = vec![[1.0f32; _]; 3];
        (rows[0][5], rows[1][5], rows[2][5]) = (f32::MAX, f32::MAX, -f32::MAX);
        let mut out: Row<f32> = [9.0; _];
        Making::Sum(vec![(0, 0.75), (1, 0.75), (2, 0.5)]).make(&rows, &mut out);
        assert_eq!([out[4], out[5]], [2.0, f32::MAX * 0.5]);
        Making::Member(1).make(&rows, &mut out);
        assert_eq!(out, rows[1]);
    }
}
