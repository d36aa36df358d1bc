//! Classes of blocks: blocks of like size share a table.

use super::ans::BLOCK;
use super::header::TABLES_MAX;
use super::histogram::Histogram;
use super::table::Table;

/// Number of sizes that are told apart.
const SIZES: usize = 128;

/// The tables of an update, and which of them codes a block.
#[derive(Debug, Clone)]
pub struct Classes {
    pub tables: Vec<Table>,
    class_of: [u8; SIZES],
}

impl Classes {
    /// Makes the tables for samples of an update's positions. `scale` is the number of the update's elements divided by that of
    /// the samples'. Also returns the bits that the whole update will need.
    ///
    /// First each size has a table of its own. Then the two neighbours that lose least are merged, one pair after the other;
    /// what needs the fewest bits is taken.
    pub fn of<'a>(samples: impl Iterator<Item = &'a [i32]>, scale: f64) -> (Self, f64) {
        let (mut groups, blocks) = groups_of(samples, scale);
        let total = |groups: &[Group]| {
            let width = f64::from(class_bits(groups.len()));
            groups.iter().map(|group| group.bits).sum::<f64>() + scale * blocks as f64 * width
        };
        // What two neighbours are together.
        let pair = |groups: &[Group], i: usize| {
            Group::new(
                groups[i + 1].last,
                groups[i].histogram.with(&groups[i + 1].histogram),
                scale,
            )
        };
        let mut pairs: Vec<Group> = (1..groups.len()).map(|i| pair(&groups, i - 1)).collect();
        let mut best: Option<(f64, Vec<Group>)> = None;
        loop {
            let bits = total(&groups);
            if groups.len() <= TABLES_MAX && best.as_ref().is_none_or(|(least, _)| bits < *least) {
                best = Some((bits, groups.clone()));
            }
            let loss = |i: &usize| pairs[*i].bits - groups[*i].bits - groups[*i + 1].bits;
            let Some(i) = (0..pairs.len()).min_by(|i, j| loss(i).total_cmp(&loss(j))) else {
                break;
            };
            groups[i] = pairs.remove(i);
            groups.remove(i + 1);
            if i > 0 {
                pairs[i - 1] = pair(&groups, i - 1);
            }
            if i < pairs.len() {
                pairs[i] = pair(&groups, i);
            }
        }
        let (bits, groups) = best.unwrap_or_default();
        let mut class_of = [groups.len().saturating_sub(1) as u8; SIZES];
        for (class, group) in groups.iter().enumerate().rev() {
            class_of[..=group.last].fill(class as u8);
        }
        let tables = groups.iter().map(|group| group.histogram.table()).collect();
        (Self { tables, class_of }, bits)
    }

    /// Returns the class of a block.
    pub fn of_block(&self, positions: &[i32]) -> u8 {
        match self.tables.len() {
            1 => 0,
            _ => self.class_of[size_of(positions)],
        }
    }
}

/// Sizes that share a table.
#[derive(Debug, Clone)]
struct Group {
    /// The largest of them.
    last: usize,
    histogram: Histogram,
    /// The bits that it needs.
    bits: f64,
}

impl Group {
    fn new(last: usize, histogram: Histogram, scale: f64) -> Self {
        Self {
            last,
            bits: histogram.bits(scale),
            histogram,
        }
    }
}

fn groups_of<'a>(samples: impl Iterator<Item = &'a [i32]>, scale: f64) -> (Vec<Group>, u64) {
    let (mut sizes, mut blocks) = (vec![None; SIZES], 0);
    for block in samples.flat_map(|positions| positions.chunks(BLOCK)) {
        let size = size_of(block);
        let new = || Histogram::new(2f64.powi(size as i32 / 2 + 1) / BLOCK as f64);
        sizes[size].get_or_insert_with(new).add(block);
        blocks += 1;
    }
    let sizes = sizes.into_iter().enumerate();
    let groups = sizes.filter_map(|(last, histogram)| histogram.map(|histogram| Group::new(last, histogram, scale)));
    (groups.collect(), blocks)
}

/// Returns the size of a block: twice the logarithm to base 2 of the sum of its squares, rounded down. The root mean squares
/// of two neighbouring sizes differ by a factor of about 2^(1/4).
fn size_of(positions: &[i32]) -> usize {
    let squares = squares(positions).min(9e15) as u64;
    let sum = (squares.saturating_mul(BLOCK as u64) / positions.len().max(1) as u64).max(2);
    let exponent = sum.ilog2();
    (2 * exponent + (sum >> (exponent - 1) & 1) as u32) as usize
}

/// Returns the sum of squares, in 8 lanes.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn squares(positions: &[i32]) -> f64 {
    let mut lanes = [0.0f64; 8];
    let (rows, rest) = positions.as_chunks::<8>();
    for row in rows {
        for l in 0..8 {
            lanes[l] += f64::from(row[l]) * f64::from(row[l]);
        }
    }
    for (lane, position) in lanes.iter_mut().zip(rest) {
        *lane += f64::from(*position) * f64::from(*position);
    }
    lanes.iter().sum()
}

/// Returns the bits of a class among this many.
pub fn class_bits(classes: usize) -> u32 {
    classes.next_power_of_two().trailing_zeros()
}
