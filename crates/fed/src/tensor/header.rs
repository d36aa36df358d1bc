//! The header of a safetensors file, which is untrusted until it is checked.
//!
//! The format (<https://huggingface.co/docs/safetensors>) is eight bytes, a little-endian length n; n bytes of JSON, an
//! object of `name: {dtype, shape, data_offsets}` and perhaps `__metadata__`; then the data, without holes. The header is
//! read here and not with the `safetensors` crate, because that crate keeps the last of two tensors of one name and does
//! not say which tensor is wrong. The tests compare the two.

#![warn(clippy::indexing_slicing, reason = "this file reads foreign bytes")]

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::layout::LENGTH_BYTES;
use super::{Layout, Placement, Source, TensorError, finite, wrapper};
use crate::record::{Dtype, TENSOR_NAME_BYTES_MAX, TENSORS_MAX, TensorSpec, is_printable};

#[cfg(test)]
mod tests;

/// Largest length of a header, in bytes; the reference implementation has the same limit.
pub(super) const HEADER_BYTES_MAX: u64 = 100_000_000;
/// Factor by which a file's header may be longer than the schema's canonical header. A name that is written in ASCII alone
/// takes up to three times its bytes (`\u00e9` for two bytes), and white space comes in addition.
const LOOSE: u64 = 4;
/// Bytes that a header may have in addition to its tensors: tools keep the settings of a training in `__metadata__`.
const METADATA_BYTES: u64 = 1 << 20;
/// Largest number of dimensions of a tensor; a spec has the same limit.
pub(crate) const DIMENSIONS_MAX: usize = 16;

/// Reads a safetensors file's header and returns the schema, ascending by name. Lengths, holes, overlaps, dtypes and
/// duplicate names are all checked.
pub fn read_schema(file: &dyn Source) -> Result<Vec<TensorSpec>, TensorError> {
    Ok(read_header(file, HEADER_BYTES_MAX)?.0)
}

/// Reads a safetensors file's header of at most `bytes_max` bytes. Returns the schema and the tensors' [`Placement`]. The
/// data are not read: [`super::check_finite`] checks them.
pub fn read_header(file: &dyn Source, bytes_max: u64) -> Result<(Vec<TensorSpec>, Placement), TensorError> {
    let entries = entries(file, Bound::Setting(bytes_max.min(HEADER_BYTES_MAX)))?;
    let offsets = entries.iter().map(|entry| entry.offset).collect();
    let schema = entries.into_iter().map(|entry| entry.spec).collect();
    Ok((schema, Placement { offsets }))
}

/// Returns the length of the header's JSON, in bytes, as the file states it.
pub fn header_bytes(file: &dyn Source) -> Result<u64, TensorError> {
    if file.len() < LENGTH_BYTES {
        return Err(TensorError::bad(format!(
            "safetensors file: {} bytes, the header's length alone takes {LENGTH_BYTES}: the file is cut \
             off or no safetensors",
            file.len()
        )));
    }
    let mut length = [0; LENGTH_BYTES as usize];
    file.read_at(0, &mut length)?;
    Ok(u64::from_le_bytes(length))
}

/// Checks a safetensors file's header as [`place`] does and then, block by block, that every float is finite. The tensors
/// may stand in the file in any order.
pub fn check_weights(schema: &[TensorSpec], file: &dyn Source) -> Result<Placement, TensorError> {
    let placement = place(schema, file)?;
    finite::check(schema, file, &placement)?;
    Ok(placement)
}

/// Checks a safetensors file's header against a schema and returns the tensors' [`Placement`]. The data are not read, and
/// neither is a header that is far longer than the schema needs.
pub fn place(schema: &[TensorSpec], file: &dyn Source) -> Result<Placement, TensorError> {
    place_in(schema, &entries(file, Bound::of(schema))?)
}

/// Compares the entries of a file with a schema and returns the tensors' [`Placement`].
pub(super) fn place_in(schema: &[TensorSpec], found: &[Entry]) -> Result<Placement, TensorError> {
    let mut offsets = Vec::with_capacity(schema.len());
    let mut at = found.iter().peekable();
    // Both lists ascend by name, so one pass finds the missing, the unknown and the differing tensors.
    for expected in schema {
        let name = &expected.name;
        if let Some(other) = at.next_if(|entry| entry.spec.name < *name) {
            return Err(unknown(&other.spec.name, schema, found));
        }
        let Some(entry) = at.next_if(|entry| entry.spec.name == *name) else {
            let remedy = wrapped(schema, found).unwrap_or_else(|| "send all of them".to_owned());
            return Err(TensorError::bad(format!(
                "tensor {name:?} is missing: the model has {} tensors, the file {}: {remedy}",
                schema.len(),
                found.len()
            )));
        };
        if entry.spec.dtype != expected.dtype {
            return Err(TensorError::bad(format!(
                "tensor {name:?}: dtype {} expected, {} found: send the model's own schema",
                expected.dtype.name(),
                entry.spec.dtype.name()
            )));
        }
        if entry.spec.shape != expected.shape {
            return Err(TensorError::bad(format!(
                "tensor {name:?}: shape {:?} expected, {:?} found: send the model's own schema",
                expected.shape, entry.spec.shape
            )));
        }
        offsets.push(entry.offset);
    }
    match at.next() {
        Some(other) => Err(unknown(&other.spec.name, schema, found)),
        None => Ok(Placement { offsets }),
    }
}

fn unknown(name: &str, schema: &[TensorSpec], found: &[Entry]) -> TensorError {
    let remedy = wrapped(schema, found).unwrap_or_else(|| "send the model's own tensors and no others".to_owned());
    TensorError::bad(format!(
        "tensor {name:?} is not one of the model's {}: {remedy}",
        schema.len()
    ))
}

fn wrapped(schema: &[TensorSpec], found: &[Entry]) -> Option<String> {
    let names: Vec<_> = found.iter().map(|entry| entry.spec.name.as_str()).collect();
    wrapper::difference(schema, &names)
}

/// A tensor as a file's header places it.
pub(super) struct Entry {
    /// The tensor's name, dtype and shape.
    pub spec: TensorSpec,
    /// Offset of the tensor's first byte in the file.
    offset: u64,
}

/// Limit on a header's length.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bound {
    /// A limit in bytes that the caller sets.
    Setting(u64),
    /// A limit that follows from a schema whose canonical header has so many bytes.
    Schema(u64),
}

impl Bound {
    /// Returns the limit for files of this schema.
    pub(super) fn of(schema: &[TensorSpec]) -> Self {
        Self::Schema(Layout::of(schema).header().len() as u64)
    }

    fn bytes(self) -> u64 {
        match self {
            Self::Setting(bytes) => bytes,
            Self::Schema(canonical) => HEADER_BYTES_MAX.min(LOOSE * canonical + METADATA_BYTES),
        }
    }

    /// Returns the origin of the [`Bound`] and the remedy, for error texts.
    fn remedy(self) -> String {
        match self {
            Self::Setting(_) => "header_bytes_max: write the file without __metadata__, or raise it".into(),
            Self::Schema(canonical) => format!(
                "{LOOSE} times the model's own header of {canonical} bytes, and {METADATA_BYTES} for __metadata__: write the \
                 file without it"
            ),
        }
    }
}

/// Reads and checks the entries of a header, and returns them ascending by name.
pub(super) fn entries(file: &dyn Source, bound: Bound) -> Result<Vec<Entry>, TensorError> {
    let json = read_json(file, bound)?;
    let data_at = LENGTH_BYTES + json.len() as u64;
    let text = std::str::from_utf8(&json)
        .map_err(|error| TensorError::bad(format!("safetensors header: not UTF-8 ({error})")))?;
    // The format requires the brace as the first byte; JSON alone would allow white space before it.
    if !text.starts_with('{') {
        return Err(TensorError::bad(
            "safetensors header: does not begin with '{': is this a safetensors file?",
        ));
    }
    let mut parser = serde_json::Deserializer::from_str(text);
    let mut raw = HeaderSeed
        .deserialize(&mut parser)
        .and_then(|raw| parser.end().map(|()| raw))
        .map_err(|error| TensorError::bad(format!("safetensors header: {error}")))?;
    check_coverage(&mut raw, file.len() - data_at)?;
    raw.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(raw
        .into_iter()
        .map(|(name, info)| Entry {
            spec: TensorSpec {
                name,
                dtype: info.dtype,
                shape: info.shape.0,
            },
            offset: data_at + info.data_offsets.0,
        })
        .collect())
}

fn read_json(file: &dyn Source, bound: Bound) -> Result<Vec<u8>, TensorError> {
    let length = header_bytes(file)?;
    let limit = HEADER_BYTES_MAX.min(file.len() - LENGTH_BYTES);
    if length > limit {
        return Err(TensorError::bad(format!(
            "safetensors header: {length} bytes announced, at most {limit} are possible ({HEADER_BYTES_MAX} at most, \
             in a file of {}): the file is cut off or no safetensors",
            file.len()
        )));
    }
    if length > bound.bytes() {
        return Err(TensorError::bad(format!(
            "safetensors header: {length} bytes announced, at most {} are taken ({})",
            bound.bytes(),
            bound.remedy()
        )));
    }
    let mut json = vec![0; length as usize];
    file.read_at(LENGTH_BYTES, &mut json)?;
    Ok(json)
}

/// Checks that every byte of the data belongs to exactly one tensor and that each range has the length that dtype and shape
/// need.
fn check_coverage(raw: &mut [(String, Info)], data_bytes: u64) -> Result<(), TensorError> {
    raw.sort_by_key(|(_, info)| info.data_offsets);
    let mut end = 0;
    for (name, info) in raw {
        let (from, to) = info.data_offsets;
        if from != end || to < from {
            return Err(TensorError::bad(format!(
                "tensor {name:?}: data_offsets [{from}, {to}] expected to begin at {end}: tensors must follow \
                 each other without holes or overlaps"
            )));
        }
        let needed = bytes(info.dtype, &info.shape.0).ok_or_else(|| {
            TensorError::bad(format!(
                "tensor {name:?}: shape {:?} of {} overflows: no file is that long",
                info.shape.0,
                info.dtype.name()
            ))
        })?;
        if to - from != needed {
            return Err(TensorError::bad(format!(
                "tensor {name:?}: {needed} bytes expected for shape {:?} of {}, data_offsets [{from}, {to}] give {}",
                info.shape.0,
                info.dtype.name(),
                to - from
            )));
        }
        end = to;
    }
    if end != data_bytes {
        return Err(TensorError::bad(format!(
            "safetensors file: the header places {end} bytes of data, {data_bytes} follow it: the file is cut off or \
             has bytes that belong to no tensor"
        )));
    }
    Ok(())
}

fn bytes(dtype: Dtype, shape: &[u64]) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape
        .iter()
        .try_fold(dtype.bytes() as u64, |product, &d| product.checked_mul(d))
}

/// A tensor's entry as it stands in the JSON.
#[derive(Deserialize)]
struct Info {
    #[serde(deserialize_with = "dtype")]
    dtype: Dtype,
    shape: Shape,
    data_offsets: (u64, u64),
}

fn dtype<'de, D: Deserializer<'de>>(from: D) -> Result<Dtype, D::Error> {
    let name = std::borrow::Cow::<'de, str>::deserialize(from)?;
    Dtype::from_name(&name).ok_or_else(|| {
        let name: String = name.chars().take(32).collect();
        D::Error::custom(format!(
            "dtype {name:?} is not carried: F64, F32, F16, BF16, I64, I32, I16, I8, U64, U32, U16, U8 and BOOL are: \
             convert it first"
        ))
    })
}

/// A shape; its reading stops with an error when it would exceed [`DIMENSIONS_MAX`] dimensions.
struct Shape(Vec<u64>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a shape of at most {DIMENSIONS_MAX} dimensions")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Shape, A::Error> {
        let mut shape = Vec::new();
        while let Some(dimension) = from.next_element()? {
            if shape.len() == DIMENSIONS_MAX {
                return Err(A::Error::custom(format!("more than {DIMENSIONS_MAX} dimensions")));
            }
            shape.push(dimension);
        }
        Ok(Shape(shape))
    }
}

/// Reader of the header's object. It keeps the entries in the order in which they stand and refuses a name that comes
/// twice.
struct HeaderSeed;

impl<'de> DeserializeSeed<'de> for HeaderSeed {
    type Value = Vec<(String, Info)>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for HeaderSeed {
    type Value = Vec<(String, Info)>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors by name")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        let mut names = BTreeSet::new();
        while let Some(name) = from.next_key::<String>()? {
            check_name(&name).map_err(A::Error::custom)?;
            if !names.insert(name.clone()) {
                return Err(A::Error::custom(format!("tensor {name:?} comes twice")));
            }
            if name == "__metadata__" {
                from.next_value::<IgnoredAny>()?;
                continue;
            }
            if entries.len() == TENSORS_MAX {
                return Err(A::Error::custom(format!("more than {TENSORS_MAX} tensors")));
            }
            let info = from
                .next_value::<Info>()
                .map_err(|error| A::Error::custom(format!("tensor {name:?}: {error}")))?;
            entries.push((name, info));
        }
        Ok(entries)
    }
}

/// Checks a name by a spec's rule for tensor names. The key `__metadata__` passes; the caller skips it, because it is no
/// tensor.
fn check_name(name: &str) -> Result<(), String> {
    let start = || name.chars().take(64).collect::<String>();
    if name.is_empty() || name.len() > TENSOR_NAME_BYTES_MAX {
        return Err(format!(
            "tensor {:?}: a name of {} bytes, 1 to {TENSOR_NAME_BYTES_MAX} are possible",
            start(),
            name.len()
        ));
    }
    match name.chars().find(|c| !is_printable(*c)) {
        Some(c) => Err(format!(
            "tensor {:?}: U+{:04X} in its name: only printable characters are possible, rename the tensor",
            start(),
            u32::from(c)
        )),
        None => Ok(()),
    }
}
