//! The header of a coded update: the step and the tables.

use super::table::{SYMBOLS_MAX, Table};

/// Most tables of an update: each needs 32 KiB in a decoder.
pub const TABLES_MAX: usize = 8;
/// Bytes of the shortest header, without a table.
pub const HEADER_MIN: usize = 1 + 8;
/// Bytes of the longest header.
pub const HEADER_MAX: usize = HEADER_MIN + TABLES_MAX * (4 + 2 * 2 * SYMBOLS_MAX);

/// What all chunks of an update have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// The step: a position p is decoded as p × step. 0 if there is no table.
    pub step: f64,
    /// The tables, at most [`TABLES_MAX`].
    pub tables: Vec<Table>,
}

impl Header {
    /// The header of an update that is zero or not coded.
    pub fn empty() -> Self {
        Self {
            step: 0.0,
            tables: vec![],
        }
    }

    /// Returns the number of tables (u8), the step (f64), and the tables.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![self.tables.len() as u8];
        out.extend_from_slice(&self.step.to_le_bytes());
        self.tables.iter().for_each(|table| table.write(&mut out));
        out
    }

    /// Reads a header at the beginning of `bytes` and returns it and its length, or what is wrong with it.
    pub fn read(bytes: &[u8]) -> Result<(Self, usize), &'static str> {
        let Some(([count, step @ ..], mut rest)) = bytes.split_first_chunk::<9>() else {
            return Err("it is cut off");
        };
        let (count, step) = (usize::from(*count), f64::from_le_bytes(*step));
        if count > TABLES_MAX {
            return Err("it has more than 8 tables");
        }
        // A step of 0 goes with no table, and with nothing else.
        if !step.is_finite() || step.is_sign_negative() || (step == 0.0) != (count == 0) {
            return Err("its step is no positive number");
        }
        let mut tables = Vec::with_capacity(count);
        for _ in 0..count {
            tables.push(Table::read(&mut rest).ok_or("a table is cut off, or its frequencies do not add up")?);
        }
        Ok((Self { step, tables }, bytes.len() - rest.len()))
    }
}
