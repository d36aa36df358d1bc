//! Tests of the parts of `tcq/1`: the trellis, the entropy coder and its tables.

use proptest::prelude::*;

use super::ans::{BLOCK, Coding, Decoding, Reader, decode, encode};
use super::classes::Classes;
use super::quantiser::{Positions, Quantiser};
use super::table::{Table, frequencies};
use super::trellis::{LANES, next};

/// Returns the positions of these indices on their ways through the trellis.
fn walk(indices: &[i32]) -> Vec<i32> {
    let mut states = [0; LANES];
    let position = |(i, k): (usize, &i32)| {
        let state = &mut states[i % LANES];
        let position = 2 * k + (*state & 1) as i32;
        *state = next(*state, *k);
        position
    };
    indices.iter().enumerate().map(position).collect()
}

fn coded(positions: &[i32]) -> (Classes, Vec<u8>, Vec<u8>) {
    let (classes, _) = Classes::of(std::iter::once(positions), 1.0);
    let of_blocks: Vec<u8> = positions.chunks(BLOCK).map(|block| classes.of_block(block)).collect();
    let codings: Vec<Coding> = classes.tables.iter().map(Coding::new).collect();
    let (mut words, mut bytes) = (Default::default(), vec![]);
    encode(positions, &of_blocks, &codings, &mut words);
    words.write(&mut bytes);
    (classes, of_blocks, bytes)
}

fn any_indices() -> impl Strategy<Value = Vec<i32>> {
    let block = prop_oneof![
        3 => prop::collection::vec(-3..4, 1..400),
        2 => prop::collection::vec(-300..300, 1..400),
        1 => prop::collection::vec(-(1 << 21)..1 << 21, 1..400),
        1 => (1usize..600).prop_map(|n| vec![0; n]),
    ];
    prop::collection::vec(block, 1..6).prop_map(|blocks| blocks.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_coded_is_decoded(indices in any_indices(), at in any::<prop::sample::Index>(), flip in 1u8..) {
        let positions = walk(&indices);
        let (classes, of_blocks, mut bytes) = coded(&positions);
        let tables: Vec<Decoding> = classes.tables.iter().map(Decoding::new).collect();
        let (mut reader, mut decoded) = (Reader::default(), vec![0; positions.len()]);
        prop_assert!(decode(&bytes, &of_blocks, &tables, &mut reader, &mut decoded));
        prop_assert!(decoded == positions);
        // A cut or altered chunk is refused, or decoded as something else; it never panics.
        prop_assert!(!decode(&bytes[..at.index(bytes.len())], &of_blocks, &tables, &mut reader, &mut decoded));
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let _ = decode(&bytes, &of_blocks, &tables, &mut reader, &mut decoded);
    }

    #[test]
    fn a_table_is_read_as_it_was_written(indices in any_indices()) {
        for table in Classes::of(std::iter::once(walk(&indices).as_slice()), 1.0).0.tables {
            let mut bytes = vec![];
            table.write(&mut bytes);
            bytes.push(7);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(Table::read(&mut rest), Some(table));
            prop_assert_eq!(rest, &[7]);
        }
    }

    #[test]
    fn frequencies_add_up_and_none_is_zero(counts in prop::collection::vec(prop_oneof![Just(0u64), 0u64..1 << 40, 0u64..9], 1..=256)) {
        let list = frequencies(&counts);
        prop_assert_eq!(list.len(), counts.len());
        prop_assert_eq!(list.iter().map(|f| u32::from(*f)).sum::<u32>(), 4096);
        prop_assert!(!list.contains(&0));
    }

    /// The trellis allows every second multiple of a step, so each element alone can be within one step of its position, and
    /// the best sequence is at least as good as those.
    #[test]
    fn positions_are_a_way_through_the_trellis_and_near(x in prop::collection::vec(-50.0f64..50.0, 0..700)) {
        let mut positions = Positions::default();
        Quantiser::new(1.0).quantise(&x, &mut positions);
        let indices: Vec<i32> = positions.get().iter().map(|p| p >> 1).collect();
        prop_assert_eq!(walk(&indices), positions.get());
        let error: f64 = x.iter().zip(positions.get()).map(|(x, p)| (x - f64::from(*p)).powi(2)).sum();
        prop_assert!(error <= x.len() as f64 * 1.0001, "{error} of {} elements", x.len());
    }
}
