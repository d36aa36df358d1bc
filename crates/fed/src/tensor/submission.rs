//! The file of a submission: all shared tensors of a model, and perhaps frozen and personal ones.

use std::io;

use super::header::{Bound, Entry, entries, place_in};
use super::{Placement, Source, TensorError, tensor_bytes};
use crate::record::{Schema, TensorKind, TensorSpec};

/// Bytes that are compared at a time.
const COMPARED_BYTES: usize = 1 << 18;

/// Places of a model's tensors in the file of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmissionPlacement {
    /// The shared tensors: a submission has all of them.
    pub shared: Placement,
    /// The personal tensors; `None` if the file has none of them.
    pub personal: Option<Placement>,
    /// The frozen tensors that the file has, each with its offset in the file.
    pub frozen: Vec<(TensorSpec, u64)>,
}

/// Checks the header of a submission's file and returns the tensors' places. A submission has all shared tensors, any of the
/// frozen ones, and either all personal ones or none.
///
/// # Errors
/// Returns an error that names the tensor that is missing, unknown, or of another dtype or shape.
pub fn place_submission(schema: &Schema, file: &dyn Source) -> Result<SubmissionPlacement, TensorError> {
    let whole: Vec<TensorSpec> = schema.all().map(|(tensor, _)| tensor.clone()).collect();
    let found = entries(file, Bound::of(&whole))?;
    let has = |tensor: &TensorSpec| {
        let name = |entry: &Entry| entry.spec.name.as_str().cmp(&tensor.name);
        found.binary_search_by(name).is_ok()
    };
    let personal = schema
        .all()
        .any(|(tensor, kind)| kind == TensorKind::Personal && has(tensor));
    let wanted = |tensor: &TensorSpec, kind| match kind {
        TensorKind::Shared => true,
        TensorKind::Frozen => has(tensor),
        TensorKind::Personal => personal,
    };
    let expected = schema.all().filter(|(tensor, kind)| wanted(tensor, *kind));
    let (tensors, kinds): (Vec<_>, Vec<_>) = expected.map(|(tensor, kind)| (tensor.clone(), kind)).unzip();
    let placement = place_in(&tensors, &found)?;
    let (mut shared, mut own, mut frozen) = (vec![], vec![], vec![]);
    for ((tensor, kind), offset) in tensors.into_iter().zip(kinds).zip(placement.offsets) {
        match kind {
            TensorKind::Shared => shared.push(offset),
            TensorKind::Personal => own.push(offset),
            TensorKind::Frozen => frozen.push((tensor, offset)),
        }
    }
    Ok(SubmissionPlacement {
        shared: Placement { offsets: shared },
        personal: personal.then_some(Placement { offsets: own }),
        frozen,
    })
}

/// Checks that the frozen tensors in a submission's file have the model's values; `fixed` is the file of the fixed tensors, with
/// this placement of them.
///
/// # Errors
/// Returns an error that names the first tensor that differs.
pub fn check_frozen(
    submission: (&SubmissionPlacement, &dyn Source),
    schema: &Schema,
    fixed: (&Placement, &dyn Source),
) -> Result<(), TensorError> {
    let offsets = schema.fixed().iter().zip(&fixed.0.offsets);
    let mut offsets = offsets.map(|(tensor, offset)| (&tensor.name, *offset));
    for (tensor, offset) in &submission.0.frozen {
        // Both lists ascend by name.
        let own = offsets
            .find(|(name, _)| **name == tensor.name)
            .map(|(_, offset)| offset);
        let same = own.map(|own| same((submission.1, *offset), (fixed.1, own), tensor_bytes(tensor)));
        if !same.transpose()?.unwrap_or(false) {
            return Err(TensorError::bad(format!(
                "tensor {:?} is frozen, and its values are not the model's: do not train it, or leave it out",
                tensor.name
            )));
        }
    }
    Ok(())
}

/// Returns true if two files have the same bytes from these offsets on.
fn same(one: (&dyn Source, u64), other: (&dyn Source, u64), bytes: u64) -> io::Result<bool> {
    let (mut left, mut right) = (vec![0; COMPARED_BYTES], vec![0; COMPARED_BYTES]);
    for start in (0..bytes).step_by(COMPARED_BYTES) {
        let length = (bytes - start).min(COMPARED_BYTES as u64) as usize;
        let (left, right) = (&mut left[..length], &mut right[..length]);
        one.0.read_at(one.1 + start, left)?;
        other.0.read_at(other.1 + start, right)?;
        if left != right {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use ndarray::Array1;

    use super::*;
    use crate::record::Dtype;
    use crate::tensor::{check_weights, to_safetensors};

    fn schema() -> Schema {
        use TensorKind::{Frozen, Personal, Shared};
        let kinds = [
            ("bn.a", Personal),
            ("bn.b", Personal),
            ("emb", Frozen),
            ("pos", Frozen),
            ("w", Shared),
        ];
        Schema::of_kinds(kinds.map(|(name, kind)| {
            let tensor = TensorSpec {
                name: name.into(),
                dtype: Dtype::F32,
                shape: vec![100_000],
            };
            (tensor, kind)
        }))
    }

    fn file(tensors: &[(&str, f32)]) -> Vec<u8> {
        let arrays = tensors
            .iter()
            .map(|(name, value)| (*name, Array1::from_elem(100_000, *value)));
        let arrays: Vec<_> = arrays.collect();
        to_safetensors(arrays.iter().map(|(name, array)| (*name, array.view())))
    }

    #[test]
    fn a_submission_has_the_shared_tensors_and_what_it_likes_of_the_frozen_ones() {
        let schema = schema();
        let few = file(&[("w", 1.0)]);
        let placed = place_submission(&schema, &few).unwrap();
        assert_eq!((placed.personal, placed.frozen), (None, vec![]));
        assert_eq!(placed.shared, check_weights(&schema, &few).unwrap());
        let most = file(&[("bn.a", 5.0), ("bn.b", 6.0), ("pos", 7.0), ("w", 1.0)]);
        let placed = place_submission(&schema, &most).unwrap();
        let value = |offset: u64| f32::from_le_bytes(most[offset as usize..][..4].try_into().unwrap());
        assert_eq!(
            placed.shared.offsets.iter().map(|at| value(*at)).collect::<Vec<_>>(),
            [1.0]
        );
        let personal = placed.personal.unwrap().offsets;
        assert_eq!(personal.iter().map(|at| value(*at)).collect::<Vec<_>>(), [5.0, 6.0]);
        assert_eq!(
            (placed.frozen[0].0.name.as_str(), value(placed.frozen[0].1)),
            ("pos", 7.0)
        );
    }

    #[test]
    fn a_missing_or_unknown_tensor_is_named() {
        let refused = |tensors: &[(&str, f32)]| place_submission(&schema(), &file(tensors)).unwrap_err().to_string();
        assert!(refused(&[("emb", 1.0)]).contains("\"w\" is missing"));
        let error = refused(&[("bn.b", 1.0), ("w", 1.0)]);
        assert!(
            error.contains("\"bn.a\" is missing"),
            "all personal ones or none: {error}"
        );
        assert!(refused(&[("w", 1.0), ("x", 1.0)]).contains("\"x\""));
    }

    #[test]
    fn a_frozen_tensor_with_other_values_is_named() {
        let schema = schema();
        let fixed = file(&[("bn.a", 0.0), ("bn.b", 0.0), ("emb", 3.0), ("pos", 7.0)]);
        let placement = check_weights(schema.fixed(), &fixed).unwrap();
        let check = |tensors: &[(&str, f32)]| {
            let file = file(tensors);
            let placed = place_submission(&schema, &file).unwrap();
            check_frozen((&placed, &file), &schema, (&placement, &fixed))
        };
        check(&[("w", 1.0)]).unwrap();
        check(&[("emb", 3.0), ("pos", 7.0), ("w", 1.0)]).unwrap();
        let error = check(&[("emb", 3.0), ("pos", 7.5), ("w", 1.0)])
            .unwrap_err()
            .to_string();
        assert!(error.contains("\"pos\" is frozen"), "{error}");
    }
}
