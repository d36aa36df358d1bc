//! Tensors in memory, as arrays of `ndarray`: the form in which trainers, learners and tests hold them. A node's own work goes
//! through files batch by batch instead.

use std::collections::BTreeMap;
use std::ops::Range;

use half::{bf16, f16};
use ndarray::{ArrayD, ArrayView, ArrayViewD, Dimension, IxDyn};

use super::TensorError;
use crate::record::{Dtype, TensorSpec};

/// Tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;

/// A number that is an element of tensors.
pub trait Scalar: Copy + PartialEq + Send + Sync + 'static {
    /// The element type's name in files and schemas.
    const DTYPE: Dtype;
    /// Makes a tensor of an array.
    fn tensor(array: ArrayD<Self>) -> Tensor;
    /// Makes a view of a tensor of a view of an array.
    fn view(array: ArrayViewD<'_, Self>) -> TensorView<'_>;
    /// Returns the array of a tensor; `None` if its elements have another type.
    fn array(tensor: &Tensor) -> Option<ArrayViewD<'_, Self>>;
    /// Reads the number from its bytes in a file; `None` for a number of bytes that is not the dtype's, and for a boolean that is
    /// neither 0 nor 1.
    fn read(bytes: &[u8]) -> Option<Self>;
    /// Appends the number's bytes, little-endian.
    fn write(self, out: &mut Vec<u8>);
}

macro_rules! dtypes {
    ($($variant:ident($scalar:ty) $dtype:literal: $read:expr, $write:expr;)*) => {
        /// A tensor in memory: an array in any order of its elements, of one of the dtypes that a model can have.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Tensor {
            $(#[doc = concat!("A tensor of the dtype ", $dtype, ".")] $variant(ArrayD<$scalar>),)*
        }

        /// A borrowed tensor.
        #[derive(Debug, Clone)]
        pub enum TensorView<'a> {
            $(#[doc = concat!("A view of a tensor of the dtype ", $dtype, ".")] $variant(ArrayViewD<'a, $scalar>),)*
        }

        impl Tensor {
            /// Returns the element type.
            pub fn dtype(&self) -> Dtype {
                match self {
                    $(Self::$variant(_) => <$scalar>::DTYPE,)*
                }
            }

            /// Returns the sizes of the dimensions.
            pub fn shape(&self) -> &[usize] {
                match self {
                    $(Self::$variant(array) => array.shape(),)*
                }
            }

            /// Returns a view of all of the tensor.
            pub fn view(&self) -> TensorView<'_> {
                match self {
                    $(Self::$variant(array) => TensorView::$variant(array.view()),)*
                }
            }
        }

        impl TensorView<'_> {
            /// Returns the element type.
            pub(super) fn dtype(&self) -> Dtype {
                match self {
                    $(Self::$variant(_) => <$scalar>::DTYPE,)*
                }
            }

            /// Returns the number of elements.
            pub(super) fn elements(&self) -> usize {
                match self {
                    $(Self::$variant(array) => array.len(),)*
                }
            }

            /// Returns the tensor's place in a schema, under a name.
            pub(super) fn spec(&self, name: &str) -> TensorSpec {
                let (dtype, shape) = match self {
                    $(Self::$variant(array) => (<$scalar>::DTYPE, array.shape()),)*
                };
                TensorSpec {
                    name: name.to_owned(),
                    dtype,
                    shape: shape.iter().map(|size| *size as u64).collect(),
                }
            }

            /// Appends the bytes of a range of elements, in row-major order. Returns false, and appends nothing, if the array is
            /// in another order in memory.
            pub(super) fn write(&self, elements: Range<usize>, out: &mut Vec<u8>) -> bool {
                match self {
                    $(Self::$variant(array) => match array.as_slice().and_then(|all| all.get(elements)) {
                        Some(elements) => elements.iter().for_each(|element| element.write(out)),
                        None => return false,
                    },)*
                }
                true
            }

            /// Returns the tensor with its elements in row-major order, as a copy.
            pub(super) fn in_rows(&self) -> Tensor {
                match self {
                    $(Self::$variant(array) => Tensor::$variant(array.as_standard_layout().into_owned()),)*
                }
            }
        }

        /// Elements of a tensor whose bytes come one after another.
        #[derive(Debug)]
        pub(super) enum Elements {
            $($variant(Vec<$scalar>),)*
        }

        impl Elements {
            /// Makes room for this many elements; `None` if memory has not so much.
            pub fn with_room(dtype: Dtype, count: usize) -> Option<Self> {
                Some(match dtype {
                    $(Dtype::$variant => {
                        let mut elements = Vec::new();
                        elements.try_reserve_exact(count).ok()?;
                        Self::$variant(elements)
                    })*
                })
            }

            /// Returns the number of elements so far.
            pub fn len(&self) -> usize {
                match self {
                    $(Self::$variant(elements) => elements.len(),)*
                }
            }

            /// Appends the elements of these bytes, which are whole elements; `None` if one of them is no element of the dtype.
            pub fn extend(&mut self, bytes: &[u8]) -> Option<()> {
                match self {
                    $(Self::$variant(elements) => {
                        for element in bytes.chunks_exact(<$scalar>::DTYPE.bytes()) {
                            elements.push(<$scalar>::read(element)?);
                        }
                    })*
                }
                Some(())
            }

            /// Returns the tensor of this shape; `None` if it has another number of elements.
            pub fn tensor(self, shape: &[usize]) -> Option<Tensor> {
                Some(match self {
                    $(Self::$variant(elements) => {
                        Tensor::$variant(ArrayD::from_shape_vec(IxDyn(shape), elements).ok()?)
                    })*
                })
            }
        }

        $(
            impl Scalar for $scalar {
                const DTYPE: Dtype = Dtype::$variant;
                fn tensor(array: ArrayD<Self>) -> Tensor {
                    Tensor::$variant(array)
                }
                fn view(array: ArrayViewD<'_, Self>) -> TensorView<'_> {
                    TensorView::$variant(array)
                }
                fn array(tensor: &Tensor) -> Option<ArrayViewD<'_, Self>> {
                    match tensor {
                        Tensor::$variant(array) => Some(array.view()),
                        _ => None,
                    }
                }
                fn read(bytes: &[u8]) -> Option<Self> {
                    $read(bytes.try_into().ok()?)
                }
                fn write(self, out: &mut Vec<u8>) {
                    out.extend_from_slice(&$write(self));
                }
            }
        )*
    };
}

dtypes! {
    F64(f64) "F64": |bytes| Some(f64::from_le_bytes(bytes)), f64::to_le_bytes;
    F32(f32) "F32": |bytes| Some(f32::from_le_bytes(bytes)), f32::to_le_bytes;
    F16(f16) "F16": |bytes| Some(f16::from_le_bytes(bytes)), f16::to_le_bytes;
    Bf16(bf16) "BF16": |bytes| Some(bf16::from_le_bytes(bytes)), bf16::to_le_bytes;
    I64(i64) "I64": |bytes| Some(i64::from_le_bytes(bytes)), i64::to_le_bytes;
    I32(i32) "I32": |bytes| Some(i32::from_le_bytes(bytes)), i32::to_le_bytes;
    I16(i16) "I16": |bytes| Some(i16::from_le_bytes(bytes)), i16::to_le_bytes;
    I8(i8) "I8": |bytes| Some(i8::from_le_bytes(bytes)), i8::to_le_bytes;
    U64(u64) "U64": |bytes| Some(u64::from_le_bytes(bytes)), u64::to_le_bytes;
    U32(u32) "U32": |bytes| Some(u32::from_le_bytes(bytes)), u32::to_le_bytes;
    U16(u16) "U16": |bytes| Some(u16::from_le_bytes(bytes)), u16::to_le_bytes;
    U8(u8) "U8": |bytes| Some(u8::from_le_bytes(bytes)), u8::to_le_bytes;
    Bool(bool) "BOOL": |[byte]: [u8; 1]| (byte <= 1).then_some(byte == 1), |flag| [u8::from(flag)];
}

impl Tensor {
    /// Makes a tensor of an array of any number of dimensions.
    pub fn of<T: Scalar, D: Dimension>(array: ndarray::Array<T, D>) -> Self {
        T::tensor(array.into_dyn())
    }

    /// Returns the tensor's array.
    ///
    /// # Errors
    /// Returns an error if its elements have another type; the error names both types.
    pub fn array<T: Scalar>(&self) -> Result<ArrayViewD<'_, T>, TensorError> {
        T::array(self).ok_or_else(|| {
            TensorError::bad(format!(
                "dtype {} expected, {} found",
                T::DTYPE.name(),
                self.dtype().name()
            ))
        })
    }
}

impl<'a, T: Scalar, D: Dimension> From<ArrayView<'a, T, D>> for TensorView<'a> {
    fn from(array: ArrayView<'a, T, D>) -> Self {
        T::view(array.into_dyn())
    }
}

impl<'a> From<&'a Tensor> for TensorView<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        tensor.view()
    }
}
