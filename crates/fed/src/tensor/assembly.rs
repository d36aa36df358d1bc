//! The whole file of a model with frozen or personal tensors, put together from the files that hold its parts.

use std::io;
use std::sync::Arc;

use super::layout::Slot;
use super::{Layout, Source};
use crate::record::{Schema, TensorKind};

/// Plan of the canonical file of all tensors of a model, whose bytes are in other files.
#[derive(Debug, Clone)]
pub struct Assembly {
    layout: Layout,
    /// The place of each tensor's bytes, in the order of the layout's slots.
    places: Vec<Place>,
}

/// The place of a tensor's bytes: offsets in the canonical files of the parts.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// In the weights of a checkpoint.
    Shared(u64),
    /// In the file of the fixed tensors.
    Frozen(u64),
    /// In the file of a trainer's personal tensors; in the file of the fixed tensors while the trainer has none.
    Personal { own: u64, first: u64 },
}

impl Assembly {
    /// Makes the plan for a (checked) schema.
    pub fn of(schema: &Schema) -> Self {
        let (shared, fixed) = (Layout::of(schema), Layout::of(schema.fixed()));
        let own = Layout::of(&schema.of_kind(TensorKind::Personal));
        let (mut shared, mut fixed, mut own) = (shared.slots().iter(), fixed.slots().iter(), own.slots().iter());
        let next = |slots: &mut std::slice::Iter<'_, Slot>| slots.next().map_or(0, |slot| slot.offset);
        let (mut whole, mut places) = (vec![], vec![]);
        for (tensor, kind) in schema.all() {
            whole.push(tensor.clone());
            places.push(match kind {
                TensorKind::Shared => Place::Shared(next(&mut shared)),
                TensorKind::Frozen => Place::Frozen(next(&mut fixed)),
                TensorKind::Personal => Place::Personal {
                    own: next(&mut own),
                    first: next(&mut fixed),
                },
            });
        }
        Self {
            layout: Layout::of(&whole),
            places,
        }
    }

    /// Returns the length of the whole file, in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.layout.file_bytes()
    }
}

/// The whole file of a model, as one trainer gets it.
#[derive(Debug)]
pub struct Assembled<S> {
    /// The plan of the file.
    pub assembly: Arc<Assembly>,
    /// The weights of a checkpoint: the canonical file of the shared tensors.
    pub weights: S,
    /// The canonical file of the frozen and personal tensors.
    pub fixed: S,
    /// The canonical file of the trainer's personal tensors; `None` while it has none.
    pub own: Option<S>,
}

impl<S: Source> Source for Assembled<S> {
    fn len(&self) -> u64 {
        self.assembly.file_bytes()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let (mut at, mut into) = (offset, into);
        while !into.is_empty() {
            let read = self.read_part(at, into)?;
            at += read as u64;
            into = into.split_at_mut(read).1;
        }
        Ok(())
    }
}

impl<S: Source> Assembled<S> {
    /// Reads bytes of the header or of one tensor; returns their number, which is not 0.
    fn read_part(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let layout = &self.assembly.layout;
        let header = layout.header();
        if let Some(rest) = usize::try_from(at)
            .ok()
            .and_then(|at| header.get(at..))
            .filter(|rest| !rest.is_empty())
        {
            let length = rest.len().min(into.len());
            into[..length].copy_from_slice(&rest[..length]);
            return Ok(length);
        }
        // The last slot that begins here or before: empty tensors come before it.
        let index = layout.slots().partition_point(|slot| slot.offset <= at).checked_sub(1);
        let found = index.and_then(|index| Some((layout.slots().get(index)?, self.assembly.places.get(index)?)));
        let (slot, place) = found.ok_or(io::ErrorKind::UnexpectedEof)?;
        let skipped = at - slot.offset;
        let length = slot.bytes.saturating_sub(skipped).min(into.len() as u64) as usize;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (file, from) = match (place, &self.own) {
            (Place::Shared(from), _) => (&self.weights, from),
            (Place::Personal { own, .. }, Some(file)) => (file, own),
            (Place::Frozen(from) | Place::Personal { first: from, .. }, _) => (&self.fixed, from),
        };
        file.read_at(from + skipped, &mut into[..length])?;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array1;

    use super::*;
    use crate::record::{Dtype, TensorSpec};
    use crate::tensor::{Tensor, Tensors, read_safetensors, to_safetensors};

    const KINDS: [(&str, TensorKind, usize); 7] = [
        ("a", TensorKind::Personal, 3),
        ("b", TensorKind::Shared, 2),
        ("c", TensorKind::Frozen, 0),
        ("d", TensorKind::Frozen, 5),
        ("e", TensorKind::Shared, 0),
        ("f", TensorKind::Shared, 4),
        ("g", TensorKind::Personal, 1),
    ];

    fn schema() -> Schema {
        Schema::of_kinds(KINDS.map(|(name, kind, length)| {
            let tensor = TensorSpec {
                name: name.into(),
                dtype: Dtype::F32,
                shape: vec![length as u64],
            };
            (tensor, kind)
        }))
    }

    /// Tensors of these kinds whose values are the place of the tensor's name, and `plus`.
    fn tensors(kinds: &[TensorKind], plus: f32) -> Tensors {
        let wanted = KINDS
            .iter()
            .enumerate()
            .filter(|(_, (_, kind, _))| kinds.contains(kind));
        let tensor = |(i, (name, _, length)): (usize, &(&str, _, usize))| {
            let values = Array1::from_shape_fn(*length, |at| i as f32 * 10.0 + at as f32 + plus);
            ((*name).to_owned(), Tensor::of(values))
        };
        wanted.map(tensor).collect()
    }

    fn assembled(own: Option<f32>) -> Assembled<Vec<u8>> {
        use TensorKind::{Frozen, Personal, Shared};
        Assembled {
            assembly: Arc::new(Assembly::of(&schema())),
            weights: to_safetensors(&tensors(&[Shared], 0.0)),
            fixed: to_safetensors(&tensors(&[Frozen, Personal], 0.0)),
            own: own.map(|plus| to_safetensors(&tensors(&[Personal], plus))),
        }
    }

    #[test]
    fn the_file_is_the_canonical_one_of_all_tensors_with_the_trainers_own() {
        use TensorKind::{Frozen, Personal, Shared};
        for own in [None, Some(0.5)] {
            let file = assembled(own);
            let mut whole = tensors(&[Shared, Frozen], 0.0);
            whole.extend(tensors(&[Personal], own.unwrap_or(0.0)));
            let mut bytes = vec![0; file.len() as usize];
            file.read_at(0, &mut bytes).unwrap();
            assert_eq!(bytes, to_safetensors(&whole), "{own:?}");
            assert_eq!(read_safetensors(&bytes).unwrap(), whole);
        }
    }

    #[test]
    fn every_range_of_the_file_is_read_alike() {
        let file = assembled(Some(0.5));
        let mut bytes = vec![0; file.len() as usize];
        file.read_at(0, &mut bytes).unwrap();
        for from in 0..bytes.len() {
            for length in [1, 3, 16, bytes.len() - from] {
                let mut part = vec![0; length.min(bytes.len() - from)];
                file.read_at(from as u64, &mut part).unwrap();
                assert_eq!(part, bytes[from..from + part.len()], "{length} from {from}");
            }
        }
        let error = file.read_at(file.len() - 1, &mut [0; 2]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
