//! The integer rule: the elementwise maximum. Booleans count as 0 and 1, so their maximum is "or".

use crate::record::Dtype;

/// Runs `$body` for a dtype that is no float, with `$t` as its Rust type.
macro_rules! with_integer {
    ($dtype:expr, |$t:ident| $body:expr) => {
        match $dtype {
            Dtype::I64 => {
                type $t = i64;
                $body
            }
            Dtype::I32 => {
                type $t = i32;
                $body
            }
            Dtype::I16 => {
                type $t = i16;
                $body
            }
            Dtype::I8 => {
                type $t = i8;
                $body
            }
            Dtype::U64 => {
                type $t = u64;
                $body
            }
            Dtype::U32 => {
                type $t = u32;
                $body
            }
            Dtype::U16 => {
                type $t = u16;
                $body
            }
            Dtype::U8 | Dtype::Bool => {
                type $t = u8;
                $body
            }
            other => unreachable!("{} is a float", other.name()),
        }
    };
}

/// Sets `best` to `max(best, x)`, element by element.
pub(super) fn keep_largest(dtype: Dtype, best: &mut [u8], x: &[u8]) {
    with_integer!(dtype, |T| {
        const W: usize = size_of::<T>();
        for (best, x) in best.as_chunks_mut::<W>().0.iter_mut().zip(x.as_chunks::<W>().0) {
            *best = T::from_le_bytes(*best).max(T::from_le_bytes(*x)).to_le_bytes();
        }
    });
}

/// Sets `out` to the middle of the values, element by element: the larger of the two in the middle if their number is even.
pub(super) fn middle(dtype: Dtype, values: &[&[u8]], out: &mut [u8]) {
    with_integer!(dtype, |T| {
        const W: usize = size_of::<T>();
        let values: Vec<&[[u8; W]]> = values.iter().map(|bytes| bytes.as_chunks::<W>().0).collect();
        let mut column = Vec::with_capacity(values.len());
        for (i, out) in out.as_chunks_mut::<W>().0.iter_mut().enumerate() {
            column.clear();
            column.extend(values.iter().map(|value| T::from_le_bytes(value[i])));
            let half = column.len() / 2;
            *out = column.select_nth_unstable(half).1.to_le_bytes();
        }
    });
}

/// Writes `base + delta` to `out`, wrapping. Booleans are added modulo 2, which is "exclusive or": a difference of booleans
/// is an "exclusive or" too.
pub(super) fn add(dtype: Dtype, base: &[u8], delta: &[u8], out: &mut [u8]) {
    if dtype == Dtype::Bool {
        for (out, (base, delta)) in out.iter_mut().zip(base.iter().zip(delta)) {
            *out = base ^ delta;
        }
        return;
    }
    with_integer!(dtype, |T| {
        const W: usize = size_of::<T>();
        let pairs = base.as_chunks::<W>().0.iter().zip(delta.as_chunks::<W>().0);
        for (out, (base, delta)) in out.as_chunks_mut::<W>().0.iter_mut().zip(pairs) {
            *out = T::from_le_bytes(*base)
                .wrapping_add(T::from_le_bytes(*delta))
                .to_le_bytes();
        }
    });
}
