//! Weights of checkpoint 0, made from a seed.

use std::io::{self, Write};

use super::Layout;
use crate::codec::float;
use crate::record::TensorSpec;

/// Elements that are made at a time.
const BLOCK: usize = 1 << 14;

/// Key derivation context that names the generator; another way to make weights would have another context.
const CONTEXT: &str = "qres 2026-11 weights out of a seed";

/// Writes the canonical file of a (checked) schema with first weights made from a seed. The same seed and schema give the
/// same bytes on every machine, so a model that is made again is the same model.
///
/// Float tensors of two or more dimensions are uniform in ±1/√(fan in), where fan in is the product of all dimensions but
/// the first. A linear layer begins like this in PyTorch (Kaiming uniform with a = √5; He et al. 2015, arXiv 1502.01852,
/// bounds the variance). All other tensors (biases, scalars, integers, booleans) are zero. Where zero is wrong, for example
/// for the scale of a norm, the weights must come from a file.
///
/// # Errors
/// Returns the errors of writing to `out`.
pub fn write_seeded(schema: &[TensorSpec], seed: u64, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(Layout::of(schema).header())?;
    let (mut values, mut bytes) = (Vec::with_capacity(BLOCK), Vec::new());
    for tensor in schema {
        let mut left = tensor.elements().unwrap_or(0);
        let mut uniform = Uniform::of(tensor, seed);
        while left > 0 {
            let count = left.min(BLOCK as u64) as usize;
            bytes.clear();
            bytes.resize(count * tensor.dtype.bytes(), 0);
            if let Some(uniform) = &mut uniform {
                values.clear();
                values.extend((0..count).map(|_| uniform.next()));
                float::round(tensor.dtype, &values, &mut bytes);
            }
            out.write_all(&bytes)?;
            left -= count as u64;
        }
    }
    Ok(())
}

/// Generator of numbers in ±`bound`, from BLAKE3's output for the seed and the tensor's name.
struct Uniform {
    bytes: blake3::OutputReader,
    bound: f64,
}

impl Uniform {
    /// Makes the generator of a tensor, or returns `None` for a tensor that begins as zero.
    fn of(tensor: &TensorSpec, seed: u64) -> Option<Self> {
        let fan_in: u64 = tensor.shape.get(1..)?.iter().product();
        if !tensor.dtype.is_float() || tensor.shape.len() < 2 {
            return None;
        }
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(&seed.to_le_bytes()).update(tensor.name.as_bytes());
        Some(Self {
            bytes: hasher.finalize_xof(),
            // The square root and the quotient are exact or rounded once by IEEE 754, so all machines have the same bound.
            bound: 1.0 / (fan_in as f64).sqrt(),
        })
    }

    fn next(&mut self) -> f64 {
        let mut word = [0; 4];
        self.bytes.fill(&mut word);
        // The number is the middle of one of 2^32 equal parts of the range -1 to 1.
        let unit = (f64::from(u32::from_le_bytes(word)) + 0.5) / f64::from(1u32 << 31) - 1.0;
        unit * self.bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Dtype;
    use crate::tensor::{check_weights, read_safetensors, read_schema};

    fn tensor(name: &str, dtype: Dtype, shape: &[u64]) -> TensorSpec {
        TensorSpec {
            name: name.into(),
            dtype,
            shape: shape.to_vec(),
        }
    }

    fn seeded(schema: &[TensorSpec], seed: u64) -> Vec<u8> {
        let mut out = vec![];
        write_seeded(schema, seed, &mut out).unwrap();
        out
    }

    #[test]
    fn the_file_is_the_schemas_canonical_one_whatever_its_tensors() {
        let schema = [
            tensor("a.bf16", Dtype::Bf16, &[3, 5]),
            tensor("b.f16", Dtype::F16, &[20_000, 2]),
            tensor("c.f64", Dtype::F64, &[2, 2, 2]),
            tensor("d.empty", Dtype::F32, &[0, 4]),
            tensor("e.none", Dtype::F32, &[4, 0]),
            tensor("f.count", Dtype::I64, &[2, 2]),
            tensor("g.flag", Dtype::Bool, &[2, 2]),
            tensor("h.scalar", Dtype::F32, &[]),
        ];
        let file = seeded(&schema, 7);
        assert_eq!(file.len() as u64, Layout::of(&schema).file_bytes());
        assert_eq!(read_schema(&&file[..]).unwrap(), schema);
        check_weights(&schema, &&file[..]).unwrap();
    }

    #[test]
    fn weights_are_spread_evenly_within_the_bound_and_all_else_is_zero() {
        let schema = [
            tensor("bias", Dtype::F32, &[100]),
            tensor("weight", Dtype::F32, &[1000, 5, 5]),
        ];
        let tensors = read_safetensors(&seeded(&schema, 1)).unwrap();
        let values = |name: &str| tensors[name].array::<f32>().unwrap().mapv(f64::from);
        assert!(values("bias").iter().all(|x| *x == 0.0));
        let weight = values("weight");
        let n = weight.len() as f64;
        let (mean, square) = (
            weight.iter().sum::<f64>() / n,
            weight.iter().map(|x| x * x).sum::<f64>() / n,
        );
        let largest = weight.iter().fold(0.0f64, |a, x| a.max(x.abs()));
        // Uniform in ±1/5 means a variance of 1/75. The limits are four standard errors of the mean and of the variance
        // (kurtosis 1.8).
        assert!((0.199..=0.2).contains(&largest), "{largest}");
        assert!(mean.abs() < 4.0 * (1.0 / 75.0 / n).sqrt(), "{mean}");
        assert!((square * 75.0 - 1.0).abs() < 4.0 * (0.8 / n).sqrt(), "{square}");
    }

    #[test]
    fn a_seed_gives_one_file_and_another_seed_or_name_another() {
        let one = [tensor("w", Dtype::F32, &[2, 2])];
        let other = [tensor("v", Dtype::F32, &[2, 2])];
        assert_eq!(seeded(&one, 1), seeded(&one, 1));
        let tail = |file: Vec<u8>| file[file.len() - 16..].to_vec();
        let files = [tail(seeded(&one, 1)), tail(seeded(&one, 2)), tail(seeded(&other, 1))];
        assert!(files[0] != files[1] && files[0] != files[2]);
        // The bytes are pinned: a model that is made again after an upgrade must be the same model.
        assert_eq!(hex::encode(&files[0]), GOLDEN);
    }

    /// Data bytes of a 2 x 2 matrix named `w` for seed 1, from an implementation in Python.
    const GOLDEN: &str = "b1fe273f02df6b3eb522e03d961b013e";
}
