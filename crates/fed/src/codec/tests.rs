//! Tests of the codecs: rounding tables, error bounds and lengths.

use proptest::prelude::*;

use super::*;

fn bf16(x: f64) -> u16 {
    float::to_bf16(x)
}

#[test]
fn bf16_rounds_once_and_ties_to_even() {
    let one = |sixteenth_bits: f64| 1.0 + sixteenth_bits * 2f64.powi(-8);
    for (x, bits) in [
        (0.0, 0x0000),
        (-0.0, 0x8000),
        (1.0, 0x3f80),
        (-2.0, 0xc000),
        (std::f64::consts::PI, 0x4049),
        (1.0 / 3.0, 0x3eab),
        // Ties are rounded to the even neighbour.
        (one(1.0), 0x3f80),
        (one(3.0), 0x3f82),
        (-one(1.0), 0xbf80),
        // These values are beyond the tie by less than an f32 can show: a rounding by way of f32 would make a tie of them.
        (one(1.0) + 2f64.powi(-40), 0x3f81),
        (one(3.0) - 2f64.powi(-40), 0x3f81),
        // Subnormals: the smallest is 2^-133.
        (2f64.powi(-133), 0x0001),
        (2f64.powi(-134), 0x0000),
        (2f64.powi(-134) * 1.000_000_1, 0x0001),
        (2f64.powi(-1074), 0x0000),
        (-(2f64.powi(-1074)), 0x8000),
        (2f64.powi(-126), 0x0080),
        // Values beyond the range never become infinite.
        (f64::from(f32::MAX), 0x7f7f),
        (-f64::from(f32::MAX), 0xff7f),
        (f64::MAX, 0x7f7f),
        (f64::NEG_INFINITY, 0xff7f),
        (f64::from(half::bf16::MAX), 0x7f7f),
    ] {
        assert_eq!(bf16(x), bits, "{x:e}: {:#06x} expected, {:#06x} found", bits, bf16(x));
    }
}

#[test]
fn f16_rounds_once_and_ties_to_even() {
    for (x, bits) in [
        (1.0, 0x3c00),
        (-0.0, 0x8000),
        (65504.0, 0x7bff),
        (1.0 + 2f64.powi(-11), 0x3c00),
        (1.0 + 3.0 * 2f64.powi(-11), 0x3c02),
        // A double rounding by way of f32 would make ties of these values.
        (1.0 + 2f64.powi(-11) + 2f64.powi(-40), 0x3c01),
        (1.0 + 3.0 * 2f64.powi(-11) - 2f64.powi(-40), 0x3c01),
        (2f64.powi(-24), 0x0001),
        (2f64.powi(-25), 0x0000),
        (2f64.powi(-25) + 2f64.powi(-70), 0x0001),
        // IEEE 754 would round these values to infinity.
        (65520.0, 0x7bff),
        (-1e300, 0xfbff),
        (f64::INFINITY, 0x7bff),
    ] {
        assert_eq!(
            float::to_f16(x),
            bits,
            "{x:e}: {:#06x} expected, {:#06x} found",
            bits,
            float::to_f16(x)
        );
    }
}

#[test]
fn every_16_bit_float_survives_its_own_format() {
    for bits in 0..=u16::MAX {
        if float::first_bad(Dtype::Bf16, &bits.to_le_bytes()).is_none() {
            assert_eq!(float::to_bf16(float::from_bf16(bits)), bits);
            assert_eq!(float::from_bf16(bits), half::bf16::from_bits(bits).to_f64());
        }
        if float::first_bad(Dtype::F16, &bits.to_le_bytes()).is_none() {
            assert_eq!(float::to_f16(float::from_f16(bits)), bits);
        }
    }
}

/// Returns true if `got` is the number of its format that is nearest to x, ties to even. The check compares x with the
/// exact middles between `got` and its neighbours.
fn is_nearest(x: f64, got: u16, from: fn(u16) -> f64, largest: u16) -> bool {
    let magnitude = got & 0x7fff;
    let x = x.abs();
    let value = from(magnitude);
    let even = magnitude & 1 == 0;
    let above = magnitude == largest || {
        let middle = (value + from(magnitude + 1)) / 2.0;
        if even { x <= middle } else { x < middle }
    };
    let below = magnitude == 0 || {
        let middle = (value + from(magnitude - 1)) / 2.0;
        if even { x >= middle } else { x > middle }
    };
    above && below
}

fn any_update() -> impl Strategy<Value = Vec<f64>> {
    let element = prop_oneof![
        4 => -1.0f64..1.0,
        1 => any::<f32>().prop_filter("finite", |x| x.is_finite()).prop_map(f64::from),
        1 => Just(0.0),
    ];
    prop::collection::vec(element, 0..600)
}

fn coded(codec: Codec, dtype: Dtype, x: &[f64]) -> (Vec<u8>, Vec<f64>) {
    let mut bytes = vec![0xee; codec.run_bytes(dtype, x.len())];
    block::encode(codec, dtype, x, &mut bytes);
    let mut decoded = vec![0.0; x.len()];
    block::decode(codec, dtype, &bytes, &mut decoded);
    (bytes, decoded)
}

proptest! {
    #[test]
    fn sixteen_bit_formats_round_to_the_nearest(x in any::<f64>().prop_filter("a number", |x| !x.is_nan()), y in -4.0f64..4.0) {
        for x in [x, y] {
            prop_assert!(is_nearest(x, float::to_bf16(x), float::from_bf16, 0x7f7f), "bf16 {x:e}");
            prop_assert!(is_nearest(x, float::to_f16(x), float::from_f16, 0x7bff), "f16 {x:e}");
            prop_assert_eq!(float::to_bf16(x) >> 15, u16::from(x.is_sign_negative()));
        }
    }

    #[test]
    fn bf16_agrees_with_an_independent_implementation(x in any::<f32>().prop_filter("finite", |x| x.is_finite())) {
        let expected = half::bf16::from_f32(x);
        if expected.is_finite() {
            prop_assert_eq!(float::to_bf16(f64::from(x)), expected.to_bits());
        }
        let expected = half::f16::from_f32_const(x);
        if expected.is_finite() {
            prop_assert_eq!(float::to_f16(f64::from(x)), expected.to_bits());
        }
    }

    #[test]
    fn codecs_keep_their_error_bounds(x in any_update()) {
        let (bytes, decoded) = coded(Codec::None, Dtype::F32, &x);
        prop_assert!(block::first_bad(Codec::None, Dtype::F32, &bytes).is_none());
        for (x, y) in x.iter().zip(&decoded) {
            prop_assert_eq!(*y, f64::from(*x as f32));
        }

        let (bytes, decoded) = coded(Codec::Bf16, Dtype::F32, &x);
        prop_assert!(block::first_bad(Codec::Bf16, Dtype::F32, &bytes).is_none());
        for (x, y) in x.iter().zip(&decoded) {
            let bound = (x.abs() * 2f64.powi(-8)).max(2f64.powi(-134));
            prop_assert!((x - y).abs() <= bound, "{x:e} became {y:e}");
        }

        let (bytes, decoded) = coded(Codec::F16, Dtype::F32, &x);
        prop_assert!(block::first_bad(Codec::F16, Dtype::F32, &bytes).is_none());
        for (x, y) in x.iter().zip(&decoded) {
            let x = x.clamp(-65_504.0, 65_504.0);
            let bound = (x.abs() * 2f64.powi(-11)).max(2f64.powi(-25));
            prop_assert!((x - y).abs() <= bound, "{x:e} became {y:e}");
        }

        let (bytes, decoded) = coded(Codec::Int8, Dtype::F32, &x);
        prop_assert!(block::first_bad(Codec::Int8, Dtype::F32, &bytes).is_none());
        for (i, (x, y)) in x.iter().zip(&decoded).enumerate() {
            let block = i / INT8_BLOCK * (INT8_BLOCK + 4);
            let scale = f64::from(f32::from_le_bytes(bytes[block..][..4].try_into().unwrap()));
            prop_assert!((x - y).abs() <= scale / 2.0 * (1.0 + 1e-12), "{x:e} became {y:e}, scale {scale:e}");
        }
    }

    #[test]
    fn lengths_are_those_of_the_table(elements in 0usize..2000, cut in 0usize..8) {
        let schema = |dtype| [TensorSpec { name: "t".into(), dtype, shape: vec![elements as u64] }];
        let n = elements as u64;
        prop_assert_eq!(Codec::Int8.coded_bytes(&schema(Dtype::F64)), n + 4 * n.div_ceil(256));
        prop_assert_eq!(Codec::Bf16.coded_bytes(&schema(Dtype::F32)), 2 * n);
        prop_assert_eq!(Codec::F16.coded_bytes(&schema(Dtype::F64)), 2 * n);
        prop_assert_eq!(Codec::None.coded_bytes(&schema(Dtype::F64)), 8 * n);
        prop_assert_eq!(Codec::Int8.coded_bytes(&schema(Dtype::I64)), 8 * n);
        for codec in [Codec::None, Codec::Bf16, Codec::F16, Codec::Int8] {
            for dtype in [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::Bf16] {
                let bytes = codec.run_bytes(dtype, elements);
                prop_assert_eq!(bytes as u64, codec.coded_bytes(&schema(dtype)));
                prop_assert_eq!(codec.run_elements(dtype, bytes), elements);
                // The two parts of a tensor that is cut at a multiple of the block are together as long as the whole.
                let head = (cut * INT8_BLOCK).min(elements / INT8_BLOCK * INT8_BLOCK);
                let parts = codec.run_bytes(dtype, head) + codec.run_bytes(dtype, elements - head);
                prop_assert_eq!(parts, bytes);
            }
        }
    }
}

#[test]
fn int8_is_the_layout_that_the_table_states() {
    let mut x = vec![0.0; 258];
    x[0] = -127.0;
    x[1] = 63.5;
    x[2] = 64.5;
    x[3] = 0.4;
    x[257] = 127.0 / 128.0;
    let (bytes, _) = coded(Codec::Int8, Dtype::F32, &x);
    assert_eq!(bytes.len(), 258 + 8);
    assert_eq!(bytes[..8], [&1f32.to_le_bytes()[..], &[0x81, 64, 64, 0]].concat());
    assert_eq!(bytes[260..264], 2f32.powi(-7).to_le_bytes());
    assert_eq!(bytes[264..], [0, 127]);
}

#[test]
fn int8_holds_at_the_ends_of_the_range() {
    // Subnormal scales have few bits. The bound holds for them too, because the scale is rounded up.
    for largest in [f64::from(f32::MAX), 1e-38, 1e-42, 1e-44, 3e-45, 1.4e-45, 1e-300] {
        let x = [largest, -largest, largest / 3.0, 0.0];
        let (bytes, decoded) = coded(Codec::Int8, Dtype::F32, &x);
        assert!(block::first_bad(Codec::Int8, Dtype::F32, &bytes).is_none());
        let scale = f64::from(f32::from_le_bytes(bytes[..4].try_into().unwrap()));
        for (x, y) in x.iter().zip(decoded) {
            assert!((x - y).abs() <= scale / 2.0 * (1.0 + 1e-12), "{x:e} became {y:e}");
        }
    }
    // An f64 beyond the format's range becomes the format's largest value.
    let (bytes, decoded) = coded(Codec::Int8, Dtype::F64, &[f64::MAX, -1.0]);
    assert!(block::first_bad(Codec::Int8, Dtype::F64, &bytes).is_none());
    assert_eq!(decoded, [f64::from(f32::MAX) * 127.0, 0.0]);
}

#[test]
fn coded_floats_that_no_sender_makes_are_found() {
    let f32s = [1.0f32, f32::NAN].map(f32::to_le_bytes).concat();
    let (at, problem) = block::first_bad(Codec::None, Dtype::F32, &f32s).unwrap();
    assert!(at == 1 && problem.contains("NaN"), "{problem}");
    let (at, problem) = block::first_bad(Codec::Bf16, Dtype::F32, &[0x80, 0x3f, 0x80, 0xff]).unwrap();
    assert!(at == 1 && problem.contains("infinite"), "{problem}");
    assert!(block::first_bad(Codec::Bf16, Dtype::F32, &[0x01, 0x7f]).is_none());

    let block_of = |scale: f32, codes: &[u8]| [&scale.to_le_bytes()[..], codes].concat();
    assert!(block::first_bad(Codec::Int8, Dtype::F32, &block_of(f32::MAX, &[0x81, 0x7f])).is_none());
    for scale in [f32::NAN, f32::INFINITY, -1.0, -0.0] {
        let (_, problem) = block::first_bad(Codec::Int8, Dtype::F32, &block_of(scale, &[0])).unwrap();
        assert!(problem.contains("scale"), "{problem}");
    }
    let mut second = block_of(1.0, &[1; 256]);
    second.extend(block_of(1.0, &[5, 0x80]));
    let (at, problem) = block::first_bad(Codec::Int8, Dtype::F32, &second).unwrap();
    assert!(at == 257 && problem.contains("-128"), "{problem}");
}

#[test]
fn codecs_are_known_by_name_and_version() {
    for codec in [Codec::None, Codec::Bf16, Codec::F16, Codec::Int8, Codec::Tcq] {
        assert_eq!(Codec::of(&Rule::new(codec.id())), Ok(codec));
    }
    for unknown in ["", "none", "bf16/2", "int4/1"] {
        let error = Codec::of(&Rule::new(unknown)).unwrap_err();
        assert_eq!(error.field, "codec");
        for name in [&format!("{unknown:?}"), "none/1", "bf16/1", "f16/1", "int8/1", "tcq/1"] {
            assert!(error.problem.contains(name), "{error}");
        }
    }
    let mut rule = Rule::new("int8/1");
    rule.params.insert("block".into(), 64.0);
    assert!(Codec::of(&rule).unwrap_err().problem.contains("\"block\""));
}
