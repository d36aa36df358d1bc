//! The numbers that are sorted.

use super::unrolled;
use crate::aggregation::row::Row;
use crate::codec::Element;

/// f32 have networks of their own; f64, which few models have, do without, because each network costs the compiler time.
pub(crate) trait Number: Element {
    /// Sorts each coordinate's numbers into `out`. Returns false if there is no network for that many rows.
    fn sort(rows: &[Row<Self>], out: &mut [Row<Self>]) -> bool;
    /// Finds the one or two numbers in the middle. Returns false if there is no network for that many rows.
    fn middle(rows: &[Row<Self>], low: &mut Row<Self>, high: &mut Row<Self>) -> bool;
}

impl Number for f32 {
    fn sort(rows: &[Row<Self>], out: &mut [Row<Self>]) -> bool {
        unrolled::sort(rows, out)
    }
    fn middle(rows: &[Row<Self>], low: &mut Row<Self>, high: &mut Row<Self>) -> bool {
        unrolled::middle(rows, low, high)
    }
}

impl Number for f64 {
    fn sort(_: &[Row<Self>], _: &mut [Row<Self>]) -> bool {
        false
    }
    fn middle(_: &[Row<Self>], _: &mut Row<Self>, _: &mut Row<Self>) -> bool {
        false
    }
}
