//! First weights out of a seed.

use std::io::{self, Write};

use super::Layout;
use crate::codec::float;
use crate::record::TensorSpec;

/// Elements made at a time.
const BLOCK: usize = 1 << 14;

/// Names the generator: another way to make weights would have another.
const CONTEXT: &str = "qres 2026-11 weights out of a seed";

/// Writes the canonical file of a (checked) schema with first weights out of a seed: the same seed and schema give the same bytes
/// on every machine, so a model that is made again is the same model.
///
/// Float tensors of two or more dimensions: uniform in ±1/√(fan in), fan in being the product of all dimensions but the first, as
/// a linear layer begins in PyTorch (Kaiming uniform with a = √5; He et al. 2015, arXiv 1502.01852, bounds the variance). All
/// others (biases, scalars, integers, booleans): zero. Where that is wrong, a norm's scale say, the weights must come from a file.
///
/// # Errors
/// Those of `out`.
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

/// Numbers within a bound, from BLAKE3's output of seed and tensor name.
struct Uniform {
    bytes: blake3::OutputReader,
    bound: f64,
}

impl Uniform {
    /// `None` for a tensor that begins as zero.
    fn of(tensor: &TensorSpec, seed: u64) -> Option<Self> {
        let fan_in: u64 = tensor.shape.get(1..)?.iter().product();
        if !tensor.dtype.is_float() || tensor.shape.len() < 2 {
            return None;
        }
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(&seed.to_le_bytes()).update(tensor.name.as_bytes());
        Some(Self {
            bytes: hasher.finalize_xof(),
            // Both are exact or rounded once by IEEE 754: no machine differs.
            bound: 1.0 / (fan_in as f64).sqrt(),
        })
    }

    fn next(&mut self) -> f64 {
        let mut word = [0; 4];
        self.bytes.fill(&mut word);
        // The middle of one of 2^32 equal parts of -1 to 1.
        let unit = (f64::from(u32::from_le_bytes(word)) + 0.5) / f64::from(1u32 << 31) - 1.0;
        unit * self.bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Dtype;
    use crate::tensor::{check_weights, f32_from_safetensors, read_schema};

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
        let tensors = f32_from_safetensors(&seeded(&schema, 1)).unwrap();
        let values = |i: usize| tensors[i].2.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
        assert!(values(0).iter().all(|x| *x == 0.0));
        let weight = values(1);
        let n = weight.len() as f64;
        let (mean, square) = (
            weight.iter().sum::<f64>() / n,
            weight.iter().map(|x| x * x).sum::<f64>() / n,
        );
        let largest = weight.iter().fold(0.0f64, |a, x| a.max(x.abs()));
        // Uniform in ±1/5: variance 1/75; four standard errors of mean and of variance (kurtosis 1.8).
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
        // Written down: a model that is made again must be the same one after an upgrade.
        assert_eq!(hex::encode(&files[0]), GOLDEN);
    }

    /// Seed 1, a 2 x 2 matrix named `w`, from an implementation in Python.
    const GOLDEN: &str = "b1fe273f02df6b3eb522e03d961b013e";
}
