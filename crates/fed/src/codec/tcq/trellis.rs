//! Trellis-coded quantisation: the walk through the trellis and the search for the nearest sequence.
//!
//! The trellis is Ungerboeck's with 8 states ("Channel coding with multilevel/phase signals", 1982, table I, parity check
//! polynomials 13 and 04 octal), used for quantisation as in Marcellin and Fischer 1990 ("Trellis coded quantization of
//! memoryless and Gauss-Markov sources"). Multiples of the step are labelled with the subsets 0, 1, 2, 3, 0, 1 and so on.
//! A state allows two of the four subsets: the even or the odd multiples. Which of the two was taken leads to the next state.

/// Sequences that run side by side: element i belongs to lane `i % 8`. The search then works on 8 elements in one instruction.
pub const LANES: usize = 8;
const STATES: usize = 8;

/// Largest magnitude of a number of steps: 2^23. An f32 holds every integer up to there.
pub const STEPS_MAX: f32 = 8_388_608.0;

/// The number 1.5 × 2^23. Adding it to an f32 below 2^22 in magnitude rounds that number to an integer, ties to even.
const TO_INTEGER: f32 = 12_582_912.0;

/// Returns the state after `state` and the index `k`. A state's lowest bit is 1 if the next multiple of the step is odd: the
/// multiple is then 2 k + 1, else 2 k.
pub const fn next(state: u32, k: i32) -> u32 {
    let (a, b, c) = (state & 1, state >> 1 & 1, state >> 2 & 1);
    (a ^ b) | (c ^ (k as u32 & 1)) << 1 | a << 2
}

/// Squared distances of a number of steps to the nearest element of each of the four subsets, divided by 16.
#[inline(always)]
fn distances(t: &[f32; LANES]) -> [[f32; LANES]; 4] {
    let mut squares = [[0.0; LANES]; 4];
    for l in 0..LANES {
        let quarter = t[l] * 0.25;
        let part = quarter - ((quarter + TO_INTEGER) - TO_INTEGER);
        // Subsets 0 and 2 are half a period apart, and so are 1 and 3.
        let to_0 = part.abs();
        let to_1 = (0.5 - (part + 0.25).abs()).abs();
        let (to_2, to_3) = (0.5 - to_0, 0.5 - to_1);
        squares[0][l] = to_0 * to_0;
        squares[1][l] = to_1 * to_1;
        squares[2][l] = to_2 * to_2;
        squares[3][l] = to_3 * to_3;
    }
    squares
}

/// Returns the least cost of a way to state S, and sets bit S where the better of the two states before it is the second.
#[inline(always)]
fn step<const S: usize>(
    before: &[[f32; LANES]; STATES],
    squares: &[[f32; LANES]; 4],
    bits: &mut [u32; LANES],
) -> [f32; LANES] {
    // The two states before S differ in their third bit.
    let (a, b, c) = (S & 1, S >> 1 & 1, S >> 2 & 1);
    let from = c | (a ^ c) << 1;
    let (first, second) = (&squares[2 * b + c], &squares[2 * (b ^ 1) + c]);
    let (one, other) = (&before[from], &before[from | 4]);
    let mut cost = [0.0; LANES];
    for l in 0..LANES {
        let (x, y) = (one[l] + first[l], other[l] + second[l]);
        let less = y < x;
        cost[l] = if less { y } else { x };
        bits[l] |= if less { 1 << S } else { 0 };
    }
    cost
}

/// Finds for each lane the sequence of multiples of the step that the trellis allows and that is nearest to `steps` (Viterbi's
/// algorithm), and writes it to `positions`. Each of `steps` is at most [`STEPS_MAX`] in magnitude. `choices` is a buffer.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub fn nearest(steps: &[[f32; LANES]], choices: &mut Vec<[u32; LANES]>, positions: &mut [[i32; LANES]]) {
    choices.resize(steps.len(), [0; LANES]);
    // Every lane begins in state 0.
    let mut cost = [[f32::MAX; LANES]; STATES];
    cost[0] = [0.0; LANES];
    for (t, choice) in steps.iter().zip(choices.iter_mut()) {
        let squares = distances(t);
        let (before, mut bits) = (cost, [0u32; LANES]);
        // Every state by name: the compiler then keeps each of them in a register of 8 lanes.
        cost[0] = step::<0>(&before, &squares, &mut bits);
        cost[1] = step::<1>(&before, &squares, &mut bits);
        cost[2] = step::<2>(&before, &squares, &mut bits);
        cost[3] = step::<3>(&before, &squares, &mut bits);
        cost[4] = step::<4>(&before, &squares, &mut bits);
        cost[5] = step::<5>(&before, &squares, &mut bits);
        cost[6] = step::<6>(&before, &squares, &mut bits);
        cost[7] = step::<7>(&before, &squares, &mut bits);
        *choice = bits;
    }
    let mut state = [0u32; LANES];
    for s in 1..STATES {
        for l in 0..LANES {
            if cost[s][l] < cost[state[l] as usize][l] {
                state[l] = s as u32;
            }
        }
    }
    for ((t, choice), position) in steps.iter().zip(choices.iter()).zip(positions.iter_mut()).rev() {
        for l in 0..LANES {
            let s = state[l];
            let before = choice[l] >> s & 1;
            let (a, b, c) = (s & 1, s >> 1 & 1, s >> 2 & 1);
            let subset = (2 * (b ^ before) + c) as i32;
            let quarter = t[l] * 0.25 - subset as f32 * 0.25;
            let rounded = (quarter + TO_INTEGER).to_bits() as i32 - TO_INTEGER.to_bits() as i32;
            position[l] = 4 * rounded + subset;
            state[l] = c | (a ^ c) << 1 | before << 2;
        }
    }
}
