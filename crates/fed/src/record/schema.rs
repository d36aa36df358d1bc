//! Schemas: the names, element types and shapes of a model's tensors.

use std::ops::Deref;
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};

use super::{SpecError, is_name};
use crate::id::BlobId;

/// Largest number of tensors in a schema. Llama-405B has about 1,100; 65,536 leaves room and bounds the spec at a few MiB.
pub const TENSORS_MAX: usize = 65_536;
/// Largest number of dimensions of one tensor.
const DIMENSIONS_MAX: usize = 16;
/// Largest length of a tensor's name, in bytes.
pub(crate) const TENSOR_NAME_BYTES_MAX: usize = 512;
/// Largest size of one model, in bytes: 16 TiB, far above any model and far below an overflow of u64.
const MODEL_BYTES_MAX: u64 = 1 << 44;

/// Types of a tensor's elements, as safetensors names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Dtype {
    F64 = 0,
    F32 = 1,
    F16 = 2,
    Bf16 = 3,
    I64 = 4,
    I32 = 5,
    I16 = 6,
    I8 = 7,
    U64 = 8,
    U32 = 9,
    U16 = 10,
    U8 = 11,
    Bool = 12,
}

impl Dtype {
    /// Returns the bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// Returns true for floats, which are averaged. All other types travel losslessly and follow the integer rule.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::Bf16)
    }

    /// Returns the name that safetensors gives the type.
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::I64 => "I64",
            Self::I32 => "I32",
            Self::I16 => "I16",
            Self::I8 => "I8",
            Self::U64 => "U64",
            Self::U32 => "U32",
            Self::U16 => "U16",
            Self::U8 => "U8",
            Self::Bool => "BOOL",
        }
    }

    /// Returns the dtype of a safetensors name (the inverse of [`Dtype::name`]), or `None` for a type that models cannot
    /// have here (FP8, for example).
    pub fn from_name(name: &str) -> Option<Self> {
        use Dtype::*;
        [F64, F32, F16, Bf16, I64, I32, I16, I8, U64, U32, U16, U8, Bool]
            .into_iter()
            .find(|d| d.name() == name)
    }
}

/// A tensor of a [`Schema`], without its data.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TensorSpec {
    /// The tensor's name, unique within the schema.
    pub name: String,
    /// Type of the elements.
    pub dtype: Dtype,
    /// Sizes of the dimensions, row-major. `[]` is a scalar; a size of 0 makes the tensor empty.
    pub shape: Vec<u64>,
}

impl TensorSpec {
    /// Returns the number of elements, or `None` if it overflows u64.
    pub fn elements(&self) -> Option<u64> {
        // A dimension of 0 makes the product 0 even if the product of the others overflows.
        if self.shape.contains(&0) {
            return Some(0);
        }
        self.shape.iter().try_fold(1u64, |product, &d| product.checked_mul(d))
    }
}

/// The part that a tensor has in the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum TensorKind {
    /// Rounds change the tensor: it is trained, coded and aggregated.
    Shared = 0,
    /// The tensor keeps its first values and is never sent again.
    Frozen = 1,
    /// Each trainer has its own values, which do not leave its node.
    Personal = 2,
}

/// A model's tensors, ascending by name. It derefs to the shared ones alone, because rounds see no others.
///
/// Clones share the lists: the registry of models, the round machine and every view hold the model's spec, and 65,536
/// tensors take 8 MiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    shared: Arc<[TensorSpec]>,
    /// The frozen and the personal tensors.
    fixed: Arc<Fixed>,
}

/// Tensors that rounds do not change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Fixed {
    tensors: Vec<TensorSpec>,
    /// The kind of each tensor: frozen or personal.
    kinds: Vec<TensorKind>,
}

impl Schema {
    /// Makes the schema of these tensors and their kinds, which ascend by name within each kind.
    pub fn of_kinds(tensors: impl IntoIterator<Item = (TensorSpec, TensorKind)>) -> Self {
        let (mut shared, mut fixed) = (vec![], Fixed::default());
        for (tensor, kind) in tensors {
            match kind {
                TensorKind::Shared => shared.push(tensor),
                TensorKind::Frozen | TensorKind::Personal => {
                    fixed.tensors.push(tensor);
                    fixed.kinds.push(kind);
                }
            }
        }
        Self {
            shared: shared.into(),
            fixed: fixed.into(),
        }
    }

    /// Returns the frozen and the personal tensors, ascending by name: those of [`Spec::fixed`](super::Spec::fixed).
    pub fn fixed(&self) -> &[TensorSpec] {
        &self.fixed.tensors
    }

    /// Returns the tensors of one kind, ascending by name.
    pub fn of_kind(&self, wanted: TensorKind) -> Vec<TensorSpec> {
        let wanted = self.all().filter(|(_, kind)| *kind == wanted);
        wanted.map(|(tensor, _)| tensor.clone()).collect()
    }

    /// Returns all tensors with their kinds, ascending by name.
    pub fn all(&self) -> impl Iterator<Item = (&TensorSpec, TensorKind)> {
        let mut shared = self.shared.iter().peekable();
        let mut fixed = self.fixed.tensors.iter().zip(&self.fixed.kinds).peekable();
        std::iter::from_fn(move || {
            let next = shared.peek().map(|tensor| &tensor.name);
            match fixed.next_if(|(tensor, _)| next.is_none_or(|next| tensor.name < *next)) {
                Some((tensor, kind)) => Some((tensor, *kind)),
                None => shared.next().map(|tensor| (tensor, TensorKind::Shared)),
            }
        })
    }

    /// Returns the number of all tensors.
    pub fn count(&self) -> usize {
        self.shared.len() + self.fixed.tensors.len()
    }
}

impl Deref for Schema {
    type Target = [TensorSpec];

    fn deref(&self) -> &[TensorSpec] {
        &self.shared
    }
}

impl From<Vec<TensorSpec>> for Schema {
    fn from(tensors: Vec<TensorSpec>) -> Self {
        Self {
            shared: tensors.into(),
            fixed: Arc::default(),
        }
    }
}

impl FromIterator<TensorSpec> for Schema {
    fn from_iter<I: IntoIterator<Item = TensorSpec>>(tensors: I) -> Self {
        tensors.into_iter().collect::<Vec<_>>().into()
    }
}

impl<'a> IntoIterator for &'a Schema {
    type Item = &'a TensorSpec;
    type IntoIter = std::slice::Iter<'a, TensorSpec>;

    fn into_iter(self) -> Self::IntoIter {
        self.shared.iter()
    }
}

impl BorshSerialize for Schema {
    fn serialize<W: std::io::Write>(&self, writer: &mut W) -> std::io::Result<()> {
        u32::try_from(self.count())
            .map_err(std::io::Error::other)?
            .serialize(writer)?;
        self.all()
            .try_for_each(|(tensor, kind)| (tensor, kind).serialize(writer))
    }
}

impl BorshDeserialize for Schema {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let count = read_count(reader)?;
        let tensors = (0..count).map(|_| <(TensorSpec, TensorKind)>::deserialize_reader(reader));
        Ok(Self::of_kinds(tensors.collect::<std::io::Result<Vec<_>>>()?))
    }
}

/// Reads a list of tensors. A tensor of 9 encoded bytes takes 56 bytes in memory, so a list of more than [`TENSORS_MAX`] is
/// refused before its tensors are read.
pub(crate) fn read_tensors<R: std::io::Read>(reader: &mut R) -> std::io::Result<Vec<TensorSpec>> {
    let count = read_count(reader)?;
    (0..count).map(|_| TensorSpec::deserialize_reader(reader)).collect()
}

fn read_count<R: std::io::Read>(reader: &mut R) -> std::io::Result<usize> {
    let count = u32::deserialize_reader(reader)? as usize;
    if count > TENSORS_MAX {
        let problem = format!("{count} tensors, at most {TENSORS_MAX} are possible");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, problem));
    }
    Ok(count)
}

/// Rule for a tensor's name, for error texts.
pub(crate) const TENSOR_NAME_RULE: &str = "1 to 512 bytes, printable characters only, not __metadata__";

/// Returns true if a tensor can have this name: it keeps [`TENSOR_NAME_RULE`].
pub(crate) fn is_tensor_name(name: &str) -> bool {
    is_name(name, TENSOR_NAME_BYTES_MAX) && name != "__metadata__"
}

fn tensors_error<T>(problem: String) -> Result<T, SpecError> {
    Err(SpecError {
        field: "tensors",
        problem,
    })
}

pub(super) fn check_tensor_count(count: usize) -> Result<(), SpecError> {
    match count {
        1..=TENSORS_MAX => Ok(()),
        _ => tensors_error(format!("{count} tensors given, 1 to {TENSORS_MAX} are possible")),
    }
}

/// Checks the kinds of a schema's tensors against the blob of the fixed ones.
pub(super) fn check_kinds(shared: usize, fixed: usize, blob: Option<&BlobId>) -> Result<(), SpecError> {
    if shared == 0 && fixed > 0 {
        return tensors_error(format!(
            "all {fixed} are frozen or personal: there is nothing to train together"
        ));
    }
    match (fixed, blob) {
        (0, Some(_)) => Err(SpecError {
            field: "fixed",
            problem: "given, but no tensor is frozen or personal".into(),
        }),
        (1.., None) => Err(SpecError {
            field: "fixed",
            problem: format!("missing: {fixed} tensors are frozen or personal"),
        }),
        _ => Ok(()),
    }
}

/// Checks a tensor that follows the tensor named `previous`. `total` is the bytes of all tensors before it; the result is
/// the bytes including it.
pub(super) fn check_tensor(previous: Option<&str>, total: u64, tensor: &TensorSpec) -> Result<u64, SpecError> {
    let name = &tensor.name;
    if !is_tensor_name(name) {
        let start: String = name.chars().take(160).collect();
        return tensors_error(format!("{start:?} is no tensor name: {TENSOR_NAME_RULE}"));
    }
    if previous.is_some_and(|previous| previous >= name.as_str()) {
        return tensors_error(format!("{name:?} comes twice or out of order: names ascend"));
    }
    let bytes = tensor
        .elements()
        .and_then(|n| n.checked_mul(tensor.dtype.bytes() as u64));
    match bytes.and_then(|b| b.checked_add(total)) {
        Some(sum) if sum <= MODEL_BYTES_MAX && tensor.shape.len() <= DIMENSIONS_MAX => Ok(sum),
        _ => tensors_error(format!(
            "{name:?}: a model has at most {MODEL_BYTES_MAX} bytes, a tensor {DIMENSIONS_MAX} dimensions"
        )),
    }
}

#[cfg(test)]
impl std::ops::DerefMut for Schema {
    fn deref_mut(&mut self) -> &mut [TensorSpec] {
        Arc::make_mut(&mut self.shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str) -> TensorSpec {
        TensorSpec {
            name: name.into(),
            dtype: Dtype::F32,
            shape: vec![1],
        }
    }

    #[test]
    fn clones_share_one_list() {
        let schema: Schema = (0..TENSORS_MAX)
            .map(|i| tensor(&format!("layer.{i:05}.weight")))
            .collect();
        assert!(std::ptr::eq(schema.as_ptr(), schema.clone().as_ptr()));
        let read = Schema::try_from_slice(&borsh::to_vec(&schema).unwrap()).unwrap();
        assert_eq!(read, schema);
        let plain: Vec<_> = schema.iter().map(|tensor| (tensor, 0u8)).collect();
        assert_eq!(borsh::to_vec(&schema).unwrap(), borsh::to_vec(&plain).unwrap());
    }

    #[test]
    fn all_tensors_ascend_by_name_and_the_rounds_see_the_shared_ones() {
        use TensorKind::{Frozen, Personal, Shared};
        let kinds = [
            ("a", Frozen),
            ("b", Shared),
            ("c", Personal),
            ("d", Frozen),
            ("e", Shared),
            ("f", Personal),
        ];
        let schema = Schema::of_kinds(kinds.map(|(name, kind)| (tensor(name), kind)));
        let names = |tensors: &[TensorSpec]| tensors.iter().map(|t| t.name.clone()).collect::<String>();
        assert_eq!(names(&schema), "be");
        assert_eq!(names(schema.fixed()), "acdf");
        assert_eq!(names(&schema.of_kind(Personal)), "cf");
        assert_eq!(schema.count(), 6);
        let all: Vec<_> = schema
            .all()
            .map(|(tensor, kind)| (tensor.name.as_str(), kind))
            .collect();
        assert_eq!(all, kinds);
        let bytes = borsh::to_vec(&schema).unwrap();
        assert_eq!(Schema::try_from_slice(&bytes).unwrap(), schema);
        let mut unknown = bytes;
        *unknown.last_mut().unwrap() = 3;
        Schema::try_from_slice(&unknown).unwrap_err();
    }
}
