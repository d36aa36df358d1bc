//! Safetensors files of tensors in memory, written and read piece by piece: beside the tensors there is only one piece.

#![warn(clippy::indexing_slicing, reason = "this file reads foreign bytes")]

use std::collections::{BTreeMap, VecDeque};
use std::io;

use super::array::Elements;
use super::header::{HEADER_BYTES_MAX, read_header};
use super::layout::{LENGTH_BYTES, tensor_bytes};
use super::{Layout, Source, Tensor, TensorError, TensorView, Tensors};
use crate::record::TensorSpec;

/// Elements of a tensor in one piece: at most 1 MiB, with elements of 8 bytes.
const PIECE_ELEMENTS: usize = 1 << 17;

/// Makes the safetensors file of these tensors: the canonical one, which is the same for every order of them. Of tensors with the same name the last
/// one counts.
///
/// ```
/// use ndarray::array;
/// use qres_fed::tensor::{Tensor, read_safetensors, to_safetensors};
///
/// let weight = array![[1.0f32, 2.0], [3.0, 4.0]];
/// // A view in another order: the file has the elements of its rows.
/// let file = to_safetensors([("weight", weight.t()), ("bias", array![[0.5f32]].view())]);
/// let tensors = read_safetensors(&file)?;
/// assert_eq!(tensors["weight"], Tensor::of(array![[1.0f32, 3.0], [2.0, 4.0]]));
/// # Ok::<(), qres_fed::tensor::TensorError>(())
/// ```
pub fn to_safetensors<'a, N: Into<String>, V: Into<TensorView<'a>>>(
    tensors: impl IntoIterator<Item = (N, V)>,
) -> Vec<u8> {
    let pieces = Pieces::of(tensors);
    let mut file = Vec::with_capacity(usize::try_from(pieces.total_bytes()).unwrap_or(0));
    pieces.for_each(|piece| file.extend_from_slice(&piece));
    file
}

/// Reads a safetensors file, the inverse of [`to_safetensors`].
///
/// # Errors
/// Returns an error if the bytes are no safetensors file. It does not check that floats are finite.
pub fn read_safetensors(file: &[u8]) -> Result<Tensors, TensorError> {
    let mut reader = TensorReader::new(file.len() as u64);
    reader.push(file)?;
    reader.finish()
}

/// Iterator over the pieces of the canonical safetensors file of tensors in memory, each of at most 1 MiB but the first one, which is
/// the header. A tensor that does not lie in row-major order is copied, one tensor at a time.
pub struct Pieces<'a> {
    total_bytes: u64,
    header: Option<Vec<u8>>,
    rest: VecDeque<TensorView<'a>>,
    /// The first tensor of the rest in row-major order, if it is in another order.
    copied: Option<Tensor>,
    /// The next element of that tensor.
    next: usize,
}

impl<'a> Pieces<'a> {
    /// Makes the pieces of these tensors.
    pub fn of<N: Into<String>, V: Into<TensorView<'a>>>(tensors: impl IntoIterator<Item = (N, V)>) -> Self {
        let pair = |(name, view): (N, V)| (name.into(), view.into());
        let tensors: BTreeMap<String, TensorView<'a>> = tensors.into_iter().map(pair).collect();
        let schema: Vec<TensorSpec> = tensors.iter().map(|(name, view)| view.spec(name)).collect();
        let layout = Layout::of(&schema);
        Self {
            total_bytes: layout.file_bytes(),
            header: Some(layout.header().to_vec()),
            rest: tensors.into_values().collect(),
            copied: None,
            next: 0,
        }
    }

    /// Returns the length of the whole file.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }
}

impl Iterator for Pieces<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if let Some(header) = self.header.take() {
            return Some(header);
        }
        loop {
            let first = self.rest.front()?;
            let left = first.elements().saturating_sub(self.next);
            if left == 0 {
                self.rest.pop_front();
                (self.copied, self.next) = (None, 0);
                continue;
            }
            let range = self.next..self.next + left.min(PIECE_ELEMENTS);
            let mut piece = Vec::with_capacity(range.len() * first.dtype().bytes());
            let written = match &self.copied {
                Some(copied) => copied.view().write(range.clone(), &mut piece),
                None => first.write(range.clone(), &mut piece),
            };
            if written {
                self.next = range.end;
                return Some(piece);
            }
            self.copied = Some(first.in_rows());
        }
    }
}

/// Reads a safetensors file whose bytes come one after another, e.g. from a node, into its tensors: beside them it holds the header and
/// at most a part of one element.
pub struct TensorReader {
    total: u64,
    position: u64,
    header: Vec<u8>,
    /// True once the header is read.
    begun: bool,
    /// The tensors that are still to come, in the order of the file.
    coming: VecDeque<TensorSpec>,
    current: Option<(TensorSpec, Elements)>,
    /// The first bytes of an element.
    part: Vec<u8>,
    tensors: Tensors,
}

impl TensorReader {
    /// Makes a reader for a file of this length.
    pub fn new(total_bytes: u64) -> Self {
        Self {
            total: total_bytes,
            position: 0,
            header: vec![],
            begun: false,
            coming: VecDeque::new(),
            current: None,
            part: vec![],
            tensors: Tensors::new(),
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// Returns an error if the bytes so far are not the beginning of a safetensors file of that length, or if memory has no room for
    /// a tensor.
    pub fn push(&mut self, mut data: &[u8]) -> Result<(), TensorError> {
        self.position = self.position.saturating_add(data.len() as u64);
        while !self.begun && !data.is_empty() {
            self.take_header(&mut data)?;
        }
        while !data.is_empty() {
            self.take_elements(&mut data)?;
            self.finish_whole()?;
        }
        Ok(())
    }

    /// Takes bytes of the header, and reads the header once all of it is here.
    fn take_header(&mut self, data: &mut &[u8]) -> Result<(), TensorError> {
        let length = self.header.first_chunk().map(|length| u64::from_le_bytes(*length));
        if let Some(length) = length.filter(|length| *length > HEADER_BYTES_MAX.min(self.total)) {
            return Err(TensorError::bad(format!(
                "safetensors file: a header of {length} bytes: no safetensors, or longer than {HEADER_BYTES_MAX}"
            )));
        }
        let needed = LENGTH_BYTES + length.unwrap_or(0);
        let missing = (needed - self.header.len() as u64) as usize;
        let (own, rest) = data.split_at(data.len().min(missing));
        self.header.extend_from_slice(own);
        *data = rest;
        if length.is_none() || own.len() < missing {
            return Ok(());
        }
        let prefix = Prefix {
            bytes: &self.header,
            total: self.total,
        };
        // The data of a file have no holes (`read_header` checks it), so the order is all that the offsets say.
        let (schema, placement) = read_header(&prefix, HEADER_BYTES_MAX)?;
        let mut coming: Vec<_> = placement.offsets.into_iter().zip(schema).collect();
        coming.sort_by(|a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));
        self.coming = coming.into_iter().map(|(_, spec)| spec).collect();
        self.begun = true;
        self.begin_next()?;
        self.finish_whole()
    }

    fn begin_next(&mut self) -> Result<(), TensorError> {
        let Some(spec) = self.coming.pop_front() else {
            return Ok(());
        };
        let count = spec.elements().and_then(|count| usize::try_from(count).ok());
        let elements = count.and_then(|count| Elements::with_room(spec.dtype, count));
        let elements = elements.ok_or_else(|| {
            let (name, shape) = (&spec.name, &spec.shape);
            TensorError::bad(format!("tensor {name:?}: memory has no room for the shape {shape:?}"))
        })?;
        self.current = Some((spec, elements));
        Ok(())
    }

    /// Takes bytes of the current tensor.
    fn take_elements(&mut self, data: &mut &[u8]) -> Result<(), TensorError> {
        let Some((spec, elements)) = &mut self.current else {
            return Err(TensorError::bad("safetensors file: bytes behind its last tensor"));
        };
        let width = spec.dtype.bytes();
        let here = (elements.len() * width + self.part.len()) as u64;
        let missing = tensor_bytes(spec).saturating_sub(here);
        let (mut own, rest) = data.split_at((data.len() as u64).min(missing) as usize);
        *data = rest;
        let bad = || {
            TensorError::bad(format!(
                "tensor {:?}: an element that its dtype does not have",
                spec.name
            ))
        };
        if !self.part.is_empty() {
            let (more, after) = own.split_at(own.len().min(width - self.part.len()));
            self.part.extend_from_slice(more);
            own = after;
            if self.part.len() < width {
                return Ok(());
            }
            elements.extend(&self.part).ok_or_else(bad)?;
            self.part.clear();
        }
        let (whole, part) = own.split_at(own.len() / width * width);
        elements.extend(whole).ok_or_else(bad)?;
        self.part.extend_from_slice(part);
        Ok(())
    }

    /// Keeps the current tensor if it is whole, and the empty ones after it.
    fn finish_whole(&mut self) -> Result<(), TensorError> {
        let whole = |(spec, elements): &mut (TensorSpec, Elements)| spec.elements() == Some(elements.len() as u64);
        while let Some((spec, elements)) = self.current.take_if(whole) {
            // A shape whose elements have room is one of `usize`.
            let shape: Vec<usize> = spec.shape.iter().map(|size| *size as usize).collect();
            let bad = || TensorError::bad(format!("tensor {:?}: the shape {shape:?} is too large", spec.name));
            let tensor = elements.tensor(&shape).ok_or_else(bad)?;
            self.tensors.insert(spec.name, tensor);
            self.begin_next()?;
        }
        Ok(())
    }

    /// Returns the tensors.
    ///
    /// # Errors
    /// Returns an error if the file has not come whole.
    pub fn finish(self) -> Result<Tensors, TensorError> {
        match self.begun && self.current.is_none() {
            true => Ok(self.tensors),
            false => Err(TensorError::bad(format!(
                "safetensors file: {} of {} bytes, the file is cut off or no safetensors",
                self.position, self.total
            ))),
        }
    }
}

/// The beginning of a file whose length is known.
struct Prefix<'a> {
    bytes: &'a [u8],
    total: u64,
}

impl Source for Prefix<'_> {
    fn len(&self) -> u64 {
        self.total
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.bytes.read_at(offset, into)
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};
    use ndarray::{Array, Array1, Array2, ArrayD, IxDyn, array, s};

    use super::*;

    fn sample() -> Tensors {
        let of = |name: &str, tensor| (name.to_owned(), tensor);
        [
            of("f64", Tensor::of(array![[1.0f64, -0.0], [f64::MIN_POSITIVE, 1e300]])),
            of(
                "f32",
                Tensor::of(Array::from_shape_fn((3, 5), |(i, j)| (i * 5 + j) as f32)),
            ),
            of("f16", Tensor::of(array![f16::from_f32(0.5)])),
            of("bf16", Tensor::of(array![bf16::from_f32(-2.0), bf16::ONE])),
            of("i64", Tensor::of(array![i64::MIN])),
            of("i32", Tensor::of(array![-7i32])),
            of("i16", Tensor::of(array![[[300i16]]])),
            of("i8", Tensor::of(array![-128i8, 127])),
            of("u64", Tensor::of(array![u64::MAX])),
            of("u32", Tensor::of(array![7u32])),
            of("u16", Tensor::of(array![65_535u16])),
            of("u8", Tensor::of(array![255u8])),
            of("bool", Tensor::of(array![true, false, true])),
            of("none", Tensor::of(Array2::<f32>::zeros((0, 3)))),
            of("scalar", Tensor::of(ArrayD::from_elem(IxDyn(&[]), 4.0f32))),
        ]
        .into()
    }

    /// The crate of the format's authors reads what is written here, and the other way round.
    #[test]
    fn every_dtype_is_what_the_reference_reads() {
        let tensors = sample();
        let file = to_safetensors(&tensors);
        let reference = safetensors::SafeTensors::deserialize(&file).unwrap();
        assert_eq!(reference.len(), tensors.len());
        for (name, tensor) in &tensors {
            let theirs = reference.tensor(name).unwrap();
            assert_eq!(theirs.shape(), tensor.shape(), "{name}");
            assert_eq!(format!("{:?}", theirs.dtype()), tensor.dtype().name(), "{name}");
        }
        let written = safetensors::serialize(reference.tensors(), None).unwrap();
        assert_eq!(
            read_safetensors(&written).unwrap(),
            tensors,
            "another order in the file"
        );
        assert_eq!(read_safetensors(&file).unwrap(), tensors);
    }

    #[test]
    fn a_file_may_come_in_pieces_of_any_length() {
        let tensors = sample();
        let file = to_safetensors(&tensors);
        for size in [1, 7, 64, file.len()] {
            let mut reader = TensorReader::new(file.len() as u64);
            for piece in file.chunks(size) {
                reader.push(piece).unwrap();
                assert!(reader.part.len() < 8, "the elements are in their arrays at once");
            }
            assert_eq!(reader.finish().unwrap(), tensors, "{size}");
        }
        let empty = to_safetensors(&Tensors::new());
        assert_eq!(read_safetensors(&empty).unwrap(), Tensors::new());
    }

    #[test]
    fn a_view_in_any_order_is_written_in_rows() {
        let whole = Array::from_shape_fn((600, 500), |(i, j)| (1000 * i + j) as f32);
        let views = [
            ("t", whole.t()),
            ("s", whole.slice(s![..;2, ..;-3])),
            ("w", whole.view()),
        ];
        let read = read_safetensors(&to_safetensors(views)).unwrap();
        for (name, view) in views {
            assert_eq!(read[name].array::<f32>().unwrap(), view.into_dyn(), "{name}");
        }
    }

    #[test]
    fn no_piece_is_longer_than_a_message() {
        let large = Array1::<f64>::zeros(300_000);
        let pieces: Vec<_> = Pieces::of([("w", large.view())]).collect();
        assert!(pieces.iter().all(|piece| piece.len() <= 1 << 20));
        assert_eq!(pieces.concat(), to_safetensors([("w", large.view())]));
        assert_eq!(pieces.len(), 1 + 3);
    }

    #[test]
    fn another_dtype_and_a_cut_file_are_errors_that_say_so() {
        let tensors = sample();
        let error = tensors["f64"].array::<f32>().unwrap_err().to_string();
        assert!(error.contains("F32 expected, F64 found"), "{error}");
        let file = to_safetensors(&tensors);
        for cut in [0, 5, 8, 40, file.len() - 1] {
            assert!(read_safetensors(&file[..cut]).is_err(), "{cut}");
            let mut reader = TensorReader::new(file.len() as u64);
            reader.push(&file[..cut]).unwrap();
            let error = reader.finish().unwrap_err().to_string();
            assert!(error.contains(&format!("{cut} of {}", file.len())), "{error}");
        }
        let long = [&file[..], &[0]].concat();
        assert!(read_safetensors(&long).is_err());
        let mut bad = to_safetensors([("flag", array![true].view())]);
        *bad.last_mut().unwrap() = 2;
        assert!(read_safetensors(&bad).unwrap_err().to_string().contains("flag"));
        let mut reader = TensorReader::new(u64::MAX);
        assert!(reader.push(&[0xff; 64]).is_err(), "a header of 2^64 bytes");
        let json = br#"{"w":{"dtype":"F64","shape":[1152921504606846975],"data_offsets":[0,9223372036854775800]}}"#;
        let huge = [&(json.len() as u64).to_le_bytes()[..], json].concat();
        let mut reader = TensorReader::new(huge.len() as u64 + 9_223_372_036_854_775_800);
        let error = reader.push(&huge).unwrap_err().to_string();
        assert!(error.contains("\"w\": memory has no room"), "{error}");
    }
}
