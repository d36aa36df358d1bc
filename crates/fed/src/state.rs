//! State embeddings: named tensors, coded for the transfer. The fidelity is measured on the bytes that are really sent.
//!
//! A coded state is `TAG`, then the borsh encoding of the codec's rule and of the tensors' names, dtypes and shapes
//! (ascending by name), then the tensors' data. Floats are coded by the codec as [`crate::codec`] describes, all other
//! elements stand as they are.

use std::io::Write;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::codec::{Codec, block, float};
use crate::record::{Dtype, Rule, TENSOR_NAME_RULE, TensorSpec, is_tensor_name, read_tensors};
use crate::tensor::{self, DIMENSIONS_MAX, Layout, TensorError, tensor_bytes};
use crate::update::Moments;

/// First bytes of a coded state; the number in it is the format's version.
const TAG: &[u8] = b"qres/state-tensors/1\n";
/// Elements that are coded at a time; a multiple of the 256 elements of an `int8/1` block.
const RUN_ELEMENTS: usize = 1 << 14;

/// Codes a safetensors file with a codec and returns the coded bytes and their fidelity, 0 to 1. The result is
/// self-describing: it contains the schema and the codec's rule.
///
/// # Errors
/// Returns an error if the codec is unknown, if the file is no safetensors file, or if a float is not finite.
pub fn encode(safetensors: &[u8], codec: &Rule) -> Result<(Vec<u8>, f64), TensorError> {
    let rule = codec;
    let codec = codec_of(rule)?;
    let schema = tensor::read_schema(&safetensors)?;
    let placement = tensor::check_weights(&schema, &safetensors)?;
    let mut coded = TAG.to_vec();
    rule.serialize(&mut coded)?;
    schema.serialize(&mut coded)?;
    let mut moments = Moments::default();
    for (tensor, offset) in schema.iter().zip(placement.offsets) {
        // `check_weights` has checked that every range lies inside the file.
        let plain = &safetensors[offset as usize..][..tensor_bytes(tensor) as usize];
        if tensor.dtype.is_float() {
            moments.add(encode_floats(codec, tensor.dtype, plain, &mut coded));
        } else {
            coded.extend_from_slice(plain);
        }
    }
    let fidelity = moments.fidelity().ok_or_else(|| {
        TensorError::bad("state: its fidelity is not a number: the tensors are beyond what can be measured")
    })?;
    Ok((coded, fidelity))
}

fn encode_floats(codec: Codec, dtype: Dtype, plain: &[u8], coded: &mut Vec<u8>) -> Moments {
    let mut moments = Moments::default();
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for run in plain.chunks(RUN_ELEMENTS * dtype.bytes()) {
        let elements = run.len() / dtype.bytes();
        x.clear();
        // The start value is -0.0 and not 0.0, because x + -0.0 is x for every x, including a negative zero.
        x.resize(elements, -0.0);
        y.resize(elements, 0.0);
        float::accumulate(dtype, &mut x, run, 1.0);
        let at = coded.len();
        coded.resize(at + codec.run_bytes(dtype, elements), 0);
        block::encode(codec, dtype, &x, &mut coded[at..]);
        block::decode(codec, dtype, &coded[at..], &mut y);
        moments.add(Moments::of(dtype, &x, &y));
    }
    moments
}

/// Decodes the bytes that [`encode`] made into a canonical safetensors file. No length in the bytes is trusted; at most
/// `bytes_max` bytes are allocated for the file.
///
/// # Errors
/// Returns an error if the bytes are not exactly one coded state, if the codec is unknown, if the file would be longer than
/// `bytes_max` bytes, or if a float is not finite.
pub fn decode(coded: &[u8], bytes_max: u64) -> Result<Vec<u8>, TensorError> {
    let malformed = |error: std::io::Error| TensorError::bad(format!("state: malformed ({error})"));
    let mut body = coded
        .strip_prefix(TAG)
        .ok_or_else(|| TensorError::bad("state: no coded state, or of a newer format: the tag differs"))?;
    // borsh reserves a few KiB at first and grows the list only with bytes that are there, so a false length allocates
    // nothing.
    let rule = Rule::deserialize(&mut body).map_err(malformed)?;
    let codec = codec_of(&rule)?;
    let schema = read_tensors(&mut body).map_err(malformed)?;
    let file_bytes = check_schema(&schema)?;
    if codec.coded_bytes(&schema) != body.len() as u64 {
        return Err(TensorError::bad(format!(
            "state: {} bytes of tensors expected for its {} tensors coded with {}, {} found: it is cut off or altered",
            codec.coded_bytes(&schema),
            schema.len(),
            codec.id(),
            body.len()
        )));
    }
    let layout = Layout::of(&schema);
    let file_bytes = file_bytes.saturating_add(layout.header().len() as u64);
    if file_bytes > bytes_max {
        return Err(TensorError::bad(format!(
            "state: {file_bytes} bytes decoded, at most {bytes_max} are taken: publish fewer or smaller tensors"
        )));
    }
    let mut file = Vec::with_capacity(file_bytes as usize);
    file.write_all(layout.header())?;
    for tensor in &schema {
        let (part, rest) = body.split_at(codec.tensor_bytes(tensor) as usize);
        body = rest;
        decode_tensor(codec, tensor, part, &mut file)?;
    }
    Ok(file)
}

fn decode_tensor(codec: Codec, tensor: &TensorSpec, coded: &[u8], file: &mut Vec<u8>) -> Result<(), TensorError> {
    let dtype = tensor.dtype;
    let bad = |index: usize, problem: String| {
        TensorError::bad(format!("state: tensor {:?}: element {index} is {problem}", tensor.name))
    };
    if !dtype.is_float() {
        if let Some(at) = float::first_bad(dtype, coded) {
            return Err(bad(at, float::describe_bad(dtype, &coded[at..])));
        }
        file.extend_from_slice(coded);
        return Ok(());
    }
    if let Some((at, problem)) = block::first_bad(codec, dtype, coded) {
        return Err(bad(at, problem));
    }
    let mut values = Vec::new();
    for run in coded.chunks(codec.run_bytes(dtype, RUN_ELEMENTS)) {
        let at = file.len();
        let elements = codec.run_elements(dtype, run.len());
        values.resize(elements, 0.0);
        block::decode(codec, dtype, run, &mut values);
        file.resize(at + elements * dtype.bytes(), 0);
        float::round(dtype, &values, &mut file[at..]);
    }
    Ok(())
}

/// Checks that the tensors can stand in one file (names, order, sizes) and returns the bytes of their data.
fn check_schema(schema: &[TensorSpec]) -> Result<u64, TensorError> {
    let mut total = 0u64;
    for (i, tensor) in schema.iter().enumerate() {
        let name = &tensor.name;
        if !is_tensor_name(name) || (i > 0 && schema[i - 1].name >= *name) {
            return Err(TensorError::bad(format!(
                "state: tensor name {name:?}: {TENSOR_NAME_RULE}; names ascend, each once"
            )));
        }
        let sum = tensor
            .elements()
            .and_then(|n| n.checked_mul(tensor.dtype.bytes() as u64))
            .and_then(|bytes| total.checked_add(bytes));
        match sum {
            Some(sum) if tensor.shape.len() <= DIMENSIONS_MAX => total = sum,
            _ => {
                return Err(TensorError::bad(format!(
                    "state: tensor {name:?}: shape {:?} overflows or has more than {DIMENSIONS_MAX} dimensions",
                    tensor.shape
                )));
            }
        }
    }
    Ok(total)
}

fn codec_of(rule: &Rule) -> Result<Codec, TensorError> {
    match Codec::of(rule).map_err(|error| TensorError::bad(error.to_string()))? {
        Codec::Tcq => Err(TensorError::bad(
            "codec: tcq/1 codes updates only: publish the state with none/1, bf16/1, f16/1 or int8/1",
        )),
        codec => Ok(codec),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{ArrayD, array};

    use crate::tensor::{read_safetensors, to_safetensors};

    const ROOM: u64 = 1 << 20;

    fn words() -> Vec<u8> {
        let wave = |n: usize| {
            (0..n)
                .map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.37)
                .collect::<Vec<_>>()
        };
        let of = |shape: &[usize], values| ArrayD::from_shape_vec(shape, values).unwrap();
        to_safetensors([
            ("audio", of(&[3, 300], wave(900)).view()),
            ("empty", of(&[0, 4], vec![]).view()),
            ("negative zero", of(&[2], vec![-0.0, 0.0]).view()),
            ("text", of(&[], wave(1)).view()),
        ])
    }

    /// Makes one tensor of every dtype with two elements each. `none/1` must keep all their bits.
    fn every_dtype() -> Vec<u8> {
        use Dtype::*;
        let dtypes = [F64, F32, F16, Bf16, I64, I32, I16, I8, U64, U32, U16, U8, Bool];
        let schema: Vec<_> = dtypes
            .iter()
            .map(|dtype| TensorSpec {
                name: format!("{}-{}", dtype.name(), dtype.bytes()),
                dtype: *dtype,
                shape: vec![2],
            })
            .collect();
        let mut schema = schema;
        schema.sort_by(|a, b| a.name.cmp(&b.name));
        let mut file = Layout::of(&schema).header().to_vec();
        for tensor in &schema {
            file.resize(file.len() + 2 * tensor.dtype.bytes() - 1, 0x01);
            file.push(if tensor.dtype == Bool { 0 } else { 0x3c });
        }
        file
    }

    #[test]
    fn none_keeps_every_bit_of_every_dtype() {
        for file in [words(), every_dtype()] {
            let (coded, fidelity) = encode(&file, &Rule::new("none/1")).unwrap();
            assert_eq!(fidelity, 1.0);
            assert_eq!(decode(&coded, ROOM).unwrap(), file);
        }
    }

    #[test]
    fn coded_states_decode_to_what_the_fidelity_was_measured_on() {
        for (codec, least) in [("bf16/1", 0.99999), ("f16/1", 0.999999), ("int8/1", 0.9999)] {
            let (coded, fidelity) = encode(&words(), &Rule::new(codec)).unwrap();
            assert!(fidelity > least && fidelity < 1.0, "{codec}: {fidelity}");
            let decoded = decode(&coded, ROOM).unwrap();
            let values = |file: &[u8]| -> Vec<f32> {
                let tensors = read_safetensors(file).unwrap();
                tensors
                    .values()
                    .flat_map(|tensor| tensor.array().unwrap().into_iter().copied().collect::<Vec<_>>())
                    .collect()
            };
            let (sent, got) = (values(&words()), values(&decoded));
            let pairs: Vec<_> = sent.iter().zip(&got).collect();
            let dot = |f: fn(f64, f64) -> f64| {
                pairs
                    .iter()
                    .map(|(x, y)| f(f64::from(**x), f64::from(**y)))
                    .sum::<f64>()
            };
            let kept = 1.0 - dot(|x, y| (x - y).powi(2)) / dot(|x, _| x * x);
            assert!(
                (kept - fidelity).abs() < 1e-9,
                "{codec}: {kept} measured, {fidelity} claimed"
            );
        }
    }

    #[test]
    fn bytes_that_lie_are_refused() {
        let (coded, _) = encode(&words(), &Rule::new("int8/1")).unwrap();
        for cut in 0..coded.len() {
            assert!(decode(&coded[..cut], ROOM).is_err(), "cut at {cut}");
        }
        assert!(decode(&[&coded[..], &[0]].concat(), ROOM).is_err());
        let file_bytes = words().len() as u64;
        assert!(decode(&coded, file_bytes).is_ok());
        let error = decode(&coded, file_bytes - 1).unwrap_err().to_string();
        assert!(error.contains(&format!("at most {}", file_bytes - 1)), "{error}");
        // Flipping any one bit of the coded state never causes a panic.
        for at in 0..coded.len() {
            for bit in 0..8 {
                let mut altered = coded.clone();
                altered[at] ^= 1 << bit;
                let _ = decode(&altered, ROOM);
            }
        }
    }

    #[test]
    fn schemas_that_lie_are_refused_without_allocating() {
        let state = |schema: &[(&str, Dtype, &[u64])], body: &[u8]| {
            let schema: Vec<_> = schema
                .iter()
                .map(|(name, dtype, shape)| TensorSpec {
                    name: name.to_string(),
                    dtype: *dtype,
                    shape: shape.to_vec(),
                })
                .collect();
            [TAG, &borsh::to_vec(&(Rule::new("none/1"), schema)).unwrap(), body].concat()
        };
        assert!(decode(&state(&[("a", Dtype::Bool, &[2])], &[0, 1]), ROOM).is_ok());
        for (bad, names) in [
            (state(&[("a", Dtype::F64, &[1 << 60])], &[]), "expected"),
            (state(&[("a", Dtype::F64, &[1 << 62])], &[]), "overflows"),
            (
                state(&[("a", Dtype::U8, &[u64::MAX]), ("b", Dtype::U8, &[2])], &[]),
                "overflows",
            ),
            (state(&[("b", Dtype::U8, &[0]), ("a", Dtype::U8, &[0])], &[]), "ascend"),
            (state(&[("a", Dtype::U8, &[0]), ("a", Dtype::U8, &[0])], &[]), "ascend"),
            (state(&[("", Dtype::U8, &[0])], &[]), "1 to 512"),
            (state(&[("a", Dtype::U8, &[1; 17])], &[0]), "16 dimensions"),
            (state(&[("a", Dtype::Bool, &[2])], &[0, 2]), "element 1 is 2"),
            (
                state(&[("a", Dtype::F32, &[1])], &f32::NAN.to_le_bytes()),
                "element 0 is NaN",
            ),
        ] {
            let error = decode(&bad, ROOM).unwrap_err().to_string();
            assert!(error.contains(names), "{names} is not in: {error}");
        }
        let error = encode(&words(), &Rule::new("zip/1")).unwrap_err().to_string();
        assert!(error.contains("\"zip/1\"") && error.contains("int8/1"), "{error}");
    }

    #[test]
    fn a_state_that_a_codec_wipes_out_has_fidelity_zero_and_a_zero_one_has_one() {
        // The value is below half of bfloat16's smallest number, so it is coded as 0.
        let tiny = to_safetensors([("a", array![f32::from_bits(1)].view())]);
        assert_eq!(encode(&tiny, &Rule::new("bf16/1")).unwrap().1, 0.0);
        let zero = to_safetensors([("a", array![0.0f32, -0.0].view())]);
        for codec in ["none/1", "bf16/1", "f16/1", "int8/1"] {
            assert_eq!(encode(&zero, &Rule::new(codec)).unwrap().1, 1.0);
        }
    }
}
